"""`twohand evaluate` of a prior: held-out pairs in, numbers, pictures and a page out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from twohand500k.cli.evaluate_outputs import as_text, folder_for, save_image
from twohand500k.cores import available_cores
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.shards.files import disk_error, json_bytes, write_whole

if TYPE_CHECKING:
    from interaction_prior import InteractionPrior
    from interaction_prior.data import Pairs
    from interaction_prior.evaluation import Measured
    from interaction_prior.evaluation.html import Picture
    from twohand500k.cli.draws import JudgedDraws

Log = Callable[[str], None]

_FORMAT = 1
# Strips drawn, pairs decoded along each, and samples on the sheet.
_STRIPS, _STEPS, _SHEET = 3, 7, 16


def evaluate_prior(run: str, given: dict[str, Any], log: Log) -> None:
    """Measure a prior, write numbers, pictures and the page, and say what was found.

    given: the command's options. Raises DataError for a run that is none or data of one pair.
    """
    import torch

    from interaction_prior import InteractionPrior
    from interaction_prior.data import read_pairs
    from interaction_prior.evaluation import measure
    from interaction_prior.evaluation.page import page

    hands = load_hands(given["hand_model"])
    prior = InteractionPrior.load(run, hands=hands)
    pairs = read_pairs(given["folders"], hands, given["split"])
    if len(pairs) < 2:
        raise DataError(f"split {given['split']!r} holds one pair: figures over pairs take two")
    out = folder_for(given["out"])
    seed = given["seed"]
    with torch.inference_mode():
        log(f"reconstructing {len(pairs):,} pairs")
        measured = measure(prior, pairs, seed=seed)
        found = _Samples(prior, pairs, given, log).figures()
        evaluation = {
            "format": _FORMAT,
            "prior": _described(run, prior),
            "data": {
                "folders": [Path(folder).resolve().name for folder in given["folders"]],
                "split": given["split"],
                "pairs": len(pairs),
                "sha256": pairs.sha256(),
                "hand_model": hands.right.name,
            },
            "seed": seed,
            "reconstruction": {k: v for k, v in measured.figures.items() if k != "latents"},
            "latents": measured.figures["latents"],
            "samples": found.figures,
        }
        pictures: list[Picture] = []
        if given["pictures"]:
            log("drawing pictures")
            try:
                pictures = _pictures(prior, hands, measured, found, out, seed)
            except OSError as error:
                raise disk_error(error, out) from error
    text = page(evaluation, pictures)
    write_whole(out / "evaluation.html", text.encode())
    # Last: where it lies, the rest does.
    write_whole(out / "evaluation.json", json_bytes(evaluation))
    if given["as_json"]:
        click.echo(json.dumps(evaluation, allow_nan=False))
    else:
        click.echo(_told(evaluation))
        click.echo(f"look at: {out / 'evaluation.html'}")


@dataclass(frozen=True, eq=False)
class _Found:
    """figures: for evaluation.json, None where nothing was drawn. sets: draws by their latents."""

    figures: dict[str, Any] | None
    sets: dict[str, "JudgedDraws"]


@dataclass(frozen=True)
class _Samples:
    """The prior's draws beside the data: both judged, both held to the split's pairs."""

    prior: "InteractionPrior"
    pairs: "Pairs"
    given: dict[str, Any]
    log: Log

    def figures(self) -> _Found:
        from twohand500k.cli.draws import (
            drawn_of,
            drawn_of_data,
            judge_draws,
            likeness_figures,
            plausibility_figures,
        )

        count, seed = self.given["samples"], self.given["seed"]
        if not count:
            return _Found(None, {})
        prior, hands = self.prior, self.prior.hands
        workers = self.given["workers"] or available_cores()
        placed = prior.representation.with_translation
        sets = {}
        for latents in kinds_of_latents(prior):
            self.log(f"judging {count:,} draws, {latents} latents")
            drawn = drawn_of(prior.sample(count, seed=seed, latents=latents), latents)  # type: ignore[arg-type]
            sets[latents] = judge_draws(drawn, hands, workers=workers)
        rng = np.random.default_rng(seed)
        chosen = self.pairs.select(rng.permutation(len(self.pairs))[:count])
        self.log(f"judging {len(chosen):,} pairs of the data")
        data = judge_draws(drawn_of_data(chosen, placed=placed), hands, workers=workers)
        reference = data_features(self.pairs, hands)
        training, reason = self._training()
        train = None if training is None else data_features(training, hands)
        n = min([len(reference), *(len(s.features) for s in sets.values())])
        n = n if train is None else min(n, len(train))

        def likeness(features: np.ndarray) -> dict[str, Any]:
            return likeness_figures(features, reference, n, placed=placed, seed=seed)

        figures = {
            "count": count,
            "placed": placed,
            "sets": {
                name: {
                    "plausibility": plausibility_figures(draws),
                    "likeness": likeness(draws.features),
                }
                for name, draws in sets.items()
            },
            "data": plausibility_figures(data),
            "floor": None if train is None else likeness(train),
            "floor_reason": reason,
        }
        return _Found(figures, sets)

    def _training(self) -> tuple["Pairs | None", str]:
        """Pairs of split ``train`` to hold the split against; why there are none."""
        from interaction_prior.data import read_pairs

        if self.given["split"] in ("train", "all"):
            return None, f"split {self.given['split']!r} holds the training pairs themselves"
        try:
            return read_pairs(self.given["folders"], self.prior.hands, "train"), ""
        except DataError as error:
            return None, str(error)


def data_features(pairs: "Pairs", hands: HandPair) -> np.ndarray:
    """The report's features (N, 126) of a dataset's pairs."""
    from twohand500k.cli.draws import drawn_of_data, features_of
    from twohand500k.drawn import fit_drawn

    drawn = drawn_of_data(pairs, placed=True)
    return features_of(drawn, fit_drawn(drawn, hands), hands)


def kinds_of_latents(prior: "InteractionPrior") -> list[str]:
    """How this prior's latents can be drawn; an AE's only from a fit.

    Raises DataError for an AE whose file holds none.
    """
    kinds = ["standard"] if prior.model == "vae" else []
    if "mean" in prior.record.latents:
        kinds.append("fitted")
    if not kinds:
        raise DataError(
            "this AE's file holds no fit of its codes, so nothing can be drawn from it: "
            "--samples 0 measures the rest"
        )
    return kinds


def _described(run: str, prior: "InteractionPrior") -> dict[str, Any]:
    path = Path(run)
    name = path.resolve().parent.name if path.is_file() else path.resolve().name
    return {
        "name": run if run == "open" else name,
        "representation": str(prior.representation),
        "model": prior.model,
        "dim": prior.representation.dim,
        "latents": prior.latents,
        "hidden": prior.record.architecture.hidden,
        "steps": prior.training.get("steps"),
        "trained_on": prior.training.get("data_sha256"),
    }


# Pictures


def _pictures(
    prior: "InteractionPrior",
    hands: HandPair,
    measured: "Measured",
    found: _Found,
    out: Path,
    seed: int,
) -> list["Picture"]:
    """Write all pictures as PNG and PDF; what of them goes on the page."""
    from interaction_prior.evaluation import pictures as draw
    from interaction_prior.evaluation.html import Picture

    shown: list[Picture] = []
    figures = measured.figures
    latents: list[Any] = list(found.sets)
    for section, name, figure, caption in (
        ("reconstruction", "errors", draw.errors_figure(figures),
         "Error of each joint, both hands, pairs as training draws them."),
        ("reconstruction", "wrist-angle", draw.wrist_angle_figure(figures),
         "Near half a turn (180°). Left: error of a hand by its wrist's angle. Right: pairs 4° "
         "apart are encoded, the mean of their codes is decoded: an error there is a jump of the "
         "codes."),
        ("latents", "latents", draw.latents_figure(figures), "Each latent's share."),
        ("latents", "map", draw.map_figure(prior, measured, latents[0], seed=seed) if latents
         else None,
         "Codes of held-out pairs, drawn from their posteriors, and the prior's own draws, laid "
         "out together. Where they do not mix, the decoder is asked for what it never saw."),
    ):  # fmt: skip
        if figure is not None:
            draw.save_figure(figure, out, name)
            shown.append(Picture(section, caption, (out / f"{name}.png").read_bytes()))
    for section, name, image, caption in (
        ("latents", "strips", _strips(prior, hands, measured, seed),
         "Between two held-out pairs along the straight line of their codes; both pairs "
         "themselves stand at the ends. Red: overlap." + _side_by_side(prior)),
        ("samples", "samples", _sheet(found, hands),
         "The first draws, as they come. Red: overlap." + _side_by_side(prior)),
    ):  # fmt: skip
        if image is not None:
            save_image(image, out, name)
            png = (out / f"{name}.png").read_bytes()
            shown.append(Picture(section, caption, png, wide=name == "strips"))
    return shown


def _side_by_side(prior: "InteractionPrior") -> str:
    if prior.representation.with_translation:
        return ""
    return " The prior knows no place: hands are set side by side for the eye."


def _strips(
    prior: "InteractionPrior", hands: HandPair, measured: "Measured", seed: int
) -> np.ndarray | None:
    """Rows of pairs from one held-out pair to another, through the latents."""
    import torch

    from twohand500k.cli.draws import drawn_of, judge_draws
    from twohand500k.pictures import contact_sheet

    x = measured.x_unrotated
    ends = np.random.default_rng(seed).permutation(len(x))[: 2 * _STRIPS]
    tiles: list[np.ndarray] = []
    labels: list[str] = []
    for first, last in zip(ends[0::2], ends[1::2], strict=False):
        a, b = x[int(first)], x[int(last)]
        between = prior.interpolate(a, b, steps=_STEPS).x
        row = prior.pairs(torch.cat([a[None], between, b[None]]))
        draws = judge_draws(drawn_of(row, "strip"), hands)
        tiles += _tiles(draws, hands, range(len(row)), (190, 190), one_camera=True)
        steps = [f"z at {k / (_STEPS - 1):.2f}" for k in range(_STEPS)]
        labels += [
            f"{label}\n{told}"
            for label, told in zip(["data", *steps, "data"], _told_of_each(draws), strict=True)
        ]
    return contact_sheet(tiles, labels, columns=_STEPS + 2)


def _sheet(found: _Found, hands: HandPair) -> np.ndarray | None:
    """The first samples: of the standard normal, of an AE from the fit."""
    from twohand500k.pictures import contact_sheet

    if not found.sets:
        return None
    name, draws = next(iter(found.sets.items()))
    rows = range(min(_SHEET, len(draws.drawn)))
    tiles = _tiles(draws, hands, rows, (240, 240), one_camera=False)
    told = _told_of_each(draws)
    labels = [told[k] for k in rows]
    return contact_sheet(tiles, labels, columns=4, title=f"{name} latents")


def _tiles(
    draws: "JudgedDraws",
    hands: HandPair,
    rows: Sequence[int],
    size: tuple[int, int],
    *,
    one_camera: bool,
) -> list[np.ndarray]:
    """A picture of each pair; a grey tile where a hand is none. one_camera: the same for all."""
    from twohand500k.drawn.plausibility import skins_of
    from twohand500k.pictures import draw_pair, pair_cameras

    place = draws.drawn.place
    if place is None:
        # For the eye: beside each other, thumbs apart, as far as two hands are broad.
        place = np.tile([0.0, 0.0, 0.12], (len(draws.drawn), 1))
    states = {
        row: (skins[0], skins[1])
        for row in rows
        if np.isfinite(skins := skins_of(draws.fitted, place, hands, row)).all()
    }
    aspect = size[0] / size[1]
    shared = (
        pair_cameras(hands, list(states.values()), aspect)[0] if one_camera and states else None
    )
    tiles = []
    for row in rows:
        if row not in states:
            tiles.append(np.full((size[1], size[0], 3), 225, dtype=np.uint8))
            continue
        camera = shared or pair_cameras(hands, [states[row]], aspect)[0]
        tiles.append(draw_pair(hands, states[row], camera, size))
    return tiles


def _told_of_each(draws: "JudgedDraws") -> list[str]:
    """Overlap and the larger excess over a limit, a line a pair."""
    told = []
    excess = np.degrees(draws.plausibility.limit_violation)
    for row, volume in enumerate(1e6 * draws.plausibility.penetration_volume):
        if not draws.fitted.known[row].all():
            told.append("no hand")
            continue
        overlap = "" if np.isnan(volume) else f"{volume:.2f} cm³, "
        told.append(f"{overlap}{excess[row].max():.0f}° over")
    return told


# What is said


def _told(evaluation: dict[str, Any]) -> str:
    from interaction_prior.evaluation.page import (
        about,
        reconstruction_table,
        sample_tables,
        title,
    )

    latents = evaluation["latents"]
    kl = "" if latents["kl_nats"] is None else f", KL {latents['kl_nats']:.1f} nats"
    return "\n\n".join(
        [
            f"{evaluation['prior']['name']}: {title(evaluation)}. {about(evaluation)}",
            as_text(reconstruction_table(evaluation)),
            f"{latents['active']} of {latents['latents']} latents active{kl}",
            *map(as_text, sample_tables(evaluation)),
        ]
    )
