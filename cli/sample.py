"""`twohand sample`: a trained prior in, a dataset of the pairs it draws out."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.cores import available_cores
from twohand500k.drawn import DrawnPairs, DrawOptions, draw_samples
from twohand500k.drawn.run import MAX_RESIDUAL_MM, SHARD_SIZE, units_of
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.pipeline import RunSummary
from twohand500k.shards.files import sha256_of_file

if TYPE_CHECKING:
    from interaction_prior.prior import InteractionPrior

# Draws decoded at a time, always as many: a product over other rows may differ in its last bit.
_DECODED = 4096


@click.command(context_settings={"max_content_width": 100})
@click.option("--prior", "where", required=True, metavar="RUN|FILE|open",
              help="A run folder of train-prior, its prior.safetensors, or the one that "
              "ships.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), required=True, help="Pairs to draw.")
@options.out_dir
@click.option("--temperature", type=click.FloatRange(min=0), default=1.0, show_default=True,
              help="Scales the latents' deviation from their mean.")  # fmt: skip
@click.option("--latents", type=click.Choice(["standard", "fitted"]), default="standard",
              show_default=True,
              help="Drawn from the standard normal, or from a normal fitted to the training "
              "set's codes (an autoencoder has only that).")  # fmt: skip
@click.option("--max-residual", "max_residual_mm", type=click.FloatRange(min=0),
              default=MAX_RESIDUAL_MM, show_default=True,
              help="Of a prior of joints or vertices: mean distance to the nearest hand beyond "
              "which a draw is refused, mm.")  # fmt: skip
@options.hand_model
@click.option("--shard-size", type=click.IntRange(min=1), default=SHARD_SIZE, show_default=True,
              help="Draws per work unit, the most samples in a shard.")  # fmt: skip
@options.judge
@options.seed
@options.workers
@options.dry_run
@options.as_json
@options.quiet
def sample(**given: Any) -> None:
    """Draw pairs from a trained prior, as an ordinary dataset.

    Draws that break joint limits or overlap are kept as they are: physics-fix takes the overlap
    out, report shows it. A larger --count begins with the same pairs. The same command again
    resumes.
    """
    _need_torch()
    hands = load_hands(given["hand_model"])
    draw, about = _plan(given, hands)
    chosen = DrawOptions(
        count=given["count"],
        max_residual_mm=given["max_residual_mm"],
        described=about.described,
        shard_size=given["shard_size"],
    )
    if given["dry_run"]:
        _say_plan(about, chosen, given["as_json"])
        return
    summary = draw_samples(
        draw,
        hands,
        given["out"],
        chosen,
        source=about.source,
        take=about.sha256[:12],
        inputs={"prior.safetensors": about.sha256},
        seed=given["seed"],
        history=about.history,
        workers=given["workers"] or available_cores(),
        progress=not given["quiet"],
        judging=options.judging(hands) if given["judge"] else None,
    )
    if given["as_json"]:
        told = dataclasses.asdict(summary) | {
            "folder": str(summary.folder),
            "stats": summary.stats.to_json(),
        }
        click.echo(json.dumps(told, indent=1, allow_nan=False))
    else:
        click.echo(_table(summary))


@dataclass(frozen=True)
class PriorDraws:
    """Draw `first` to `last` of a prior, in any process; a `twohand500k.drawn` Draw.

    sha256: of the file, so that a prior trained anew under a run's feet is noticed. stem: what
    every sample id begins with.
    """

    file: Path
    sha256: str
    hands: HandPair
    seed: int
    latents: str
    temperature: float
    stem: str

    def __call__(self, first: int, last: int) -> DrawnPairs:
        blocks = range(first // _DECODED, (last - 1) // _DECODED + 1)
        decoded = [_decoded(self, block) for block in blocks]
        rows = slice(first - blocks[0] * _DECODED, last - blocks[0] * _DECODED)
        return DrawnPairs(
            np.array([f"{self.stem}/{draw:09d}" for draw in range(first, last)]),
            **{name: np.concatenate([d[name] for d in decoded])[rows] for name in decoded[0]},
        )


# The prior of this process, and the block decoded last: chunks ask for neighbours.
_loaded: dict[str, "InteractionPrior"] = {}
_block: dict[tuple[Any, ...], dict[str, np.ndarray]] = {}


def _decoded(draws: PriorDraws, block: int) -> dict[str, np.ndarray]:
    """Block `block` of `_DECODED` draws in numpy, and their place."""
    key = (draws.sha256, draws.seed, draws.latents, draws.temperature, block)
    if key not in _block:
        _block.clear()
        _block[key] = _decode(draws, block)
    return _block[key]


def _decode(draws: PriorDraws, block: int) -> dict[str, np.ndarray]:
    import torch

    prior = _prior(draws)
    seed = hashlib.sha256(f"{draws.seed}:latents:{block}".encode()).digest()
    threads = torch.get_num_threads()
    # A product split over another number of threads may differ in its last bit.
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            pairs = prior.sample(
                _DECODED,
                seed=int.from_bytes(seed[:8], "big") >> 1,
                latents=draws.latents,  # type: ignore[arg-type]
                temperature=draws.temperature,
            )
            names = {"mano": ("pose", "betas")}.get(pairs.representation.name)
            fields = names or (pairs.representation.name,)
            return {name: getattr(pairs, name).numpy() for name in (*fields, "place")}
    finally:
        torch.set_num_threads(threads)


def _prior(draws: PriorDraws) -> "InteractionPrior":
    from interaction_prior import InteractionPrior

    if draws.sha256 not in _loaded:
        if sha256_of_file(draws.file) != draws.sha256:
            raise DataError(
                f"{draws.file} is another prior than when this run began: choose another --out"
            )
        _loaded.clear()
        _loaded[draws.sha256] = InteractionPrior.load(draws.file, hands=draws.hands)
    return _loaded[draws.sha256]


@dataclass(frozen=True)
class _About:
    """What a run records of its prior."""

    source: str
    sha256: str
    representation: str
    described: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]


def _plan(given: dict[str, Any], hands: HandPair) -> tuple[PriorDraws, _About]:
    """Open the prior. DataError for one that is none, of other hands, or that draws no pairs."""
    from interaction_prior import InteractionPrior
    from interaction_prior.prior.prior import prior_file

    where = given["where"]
    prior = InteractionPrior.load(where, hands=hands)
    representation = prior.representation
    if not representation.with_translation:
        raise DataError(
            f"a sample of {where} is no interaction: it is a prior of {representation}, which "
            "holds how two hands are held and not where they are; train one with "
            "--with-translation"
        )
    # Before anything is written: latents that this prior does not have.
    prior.draw_latents(1, latents=given["latents"], temperature=given["temperature"])
    file = prior_file(where).absolute()
    sha256 = sha256_of_file(file)
    name = _name(where, file)
    # Ids of other priors, seeds or latents stay apart when datasets are merged.
    told = [sha256, str(given["seed"]), given["latents"], repr(float(given["temperature"]))]
    key = hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]
    draws = PriorDraws(
        file, sha256, hands, given["seed"], given["latents"], given["temperature"],
        stem=f"prior-{name}/{key}",
    )  # fmt: skip
    described = {
        "representation": str(representation),
        "model": prior.model,
        "latents": given["latents"],
        "temperature": given["temperature"],
    }
    about = _About(
        f"prior:{name}", sha256, str(representation), described, _history(prior.training)
    )
    return draws, about


def _name(where: str, file: Path) -> str:
    """What a prior is called: the run's folder, or the file where it has another name."""
    if where == "open":
        return "open"
    name = file.resolve().parent.name if file.name == "prior.safetensors" else file.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "prior"


def _history(training: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """How the prior was trained, as a stage that its samples went through."""
    if not training:
        return ()
    chosen = dict(training.get("options") or {})
    record = {
        "stage": "train-prior",
        "version": (training.get("versions") or {}).get("twohand500k", ""),
        "seed": chosen.get("seed", 0),
        "options": chosen | {"data": training.get("data", []), "steps": training.get("steps")},
        "inputs": {"data": training["data_sha256"]} if "data_sha256" in training else {},
    }
    return (record,)


def _say_plan(about: _About, chosen: DrawOptions, as_json: bool) -> None:
    units = len(units_of(chosen, {}))
    told = {
        "pairs": chosen.count,
        "source": about.source,
        "prior_sha256": about.sha256,
        **chosen.described,
        "work_units": units,
    }
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(
            f"would draw {chosen.count:,} pairs of {about.source} ({about.representation}, "
            f"{about.sha256[:12]}…), {chosen.described['latents']} latents at temperature "
            f"{chosen.described['temperature']:g}, in {units} work units"
        )


def _table(summary: RunSummary) -> str:
    counts = summary.stats.counts
    residual = summary.stats.summaries["fit_residual_m"]
    excess = summary.stats.summaries["limit_violation_rad"]
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in summary.rejected_per_reason.items())
    lines = [f"{summary.n_kept:,} pairs kept of {summary.n_in:,}; refused: {reasons or 'none'}"]
    # Parameters are nothing that anything was fitted to.
    if residual.n and residual.largest > 0:
        lines.append(
            f"hands fitted to what was drawn: {1e3 * residual.total / residual.n:.2f} mm off on "
            f"average, {1e3 * residual.largest:.2f} at most; {counts['hands not converged']:,} of "
            f"{counts['hands']:,} not converged"
        )
    if excess.n:
        lines.append(
            f"over joint limits: {np.degrees(excess.total / excess.n):.2f} degrees on average, "
            f"{np.degrees(excess.largest):.1f} at most"
        )
    lines += options.judged_lines(summary)
    if summary.was_finished:
        lines.append(f"{summary.folder} was already finished; nothing was done")
    else:
        lines.append(
            f"{summary.folder}: {summary.units} shards in {summary.seconds:.1f} s"
            + (f", {summary.reused} of them from an earlier run" if summary.reused else "")
        )
    return "\n".join(lines)


def _need_torch() -> None:
    try:
        import safetensors
        import torch  # noqa: F401
    except ImportError as error:
        raise DataError(
            f'a prior needs {error.name}, which is not installed: pip install "twohand500k[train]"'
        ) from error
    del safetensors
