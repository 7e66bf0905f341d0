"""`twohand train-prior`: datasets in, a run folder with a trained interaction prior out."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twohand500k.cli import options
from twohand500k.cli.training import (
    Shown,
    device_of,
    duration,
    need_torch,
    positive,
    terms_of,
    typed_command,
)
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.pipeline.provenance import git_revision, versions

if TYPE_CHECKING:
    from interaction_prior.training import TrainingPlan, TrainOptions, TrainSummary

# Options of the command that are `TrainOptions`' own under another name.
_NAMES = {"lr": "learning_rate", "lambda_": "weight", "warmup": "warmup_steps"}
_FIELDS = (
    "normalisation", "unit_mm", "likeness", "plausibility", "model", "latents", "hidden", "init",
    "lambda_", "reduction", "batch", "lr",
    "steps", "epochs", "schedule", "warmup", "split", "rotation", "swap", "seed", "precision",
    "compile", "resident", "log_every", "validate_every", "checkpoint_every",
)  # fmt: skip


def _all_positive(
    ctx: click.Context, param: click.Parameter, values: tuple[float, ...]
) -> tuple[float, ...]:
    """Each above 0, and finite."""
    for value in values:
        positive(ctx, param, value)
    return values


@click.command("train-prior", context_settings={"max_content_width": 100})
@click.option("--data", "folders", type=click.Path(path_type=Path), multiple=True, required=True,
              help="A dataset of interactions. May be repeated.")  # fmt: skip
@click.option("--weight", "weights", type=float, multiple=True, callback=_all_positive,
              help="Share of the draws of each --data, in their order.  "
              "[default: every pair counts once]")  # fmt: skip
@options.out_dir
@click.option("--preset", type=click.Choice(["paper", "large-batch", "open"]), default="paper",
              show_default=True,
              help="What options not given are: the paper's, the same loss sooner, or as the "
              "prior that ships was made, for drawing from it.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "all"]),
              help="Which samples: 'all' leaves none to validate on.  [preset: train]")  # fmt: skip
@click.option("--representation", type=click.Choice(["joints", "vertices", "mano"]),
              help="What a pair is to the network.  [preset: mano]")  # fmt: skip
@click.option("--rotation-form", type=click.Choice(["axis-angle", "6d"]),
              help="Of mano's rotations.  [preset: 6d]")  # fmt: skip
@click.option("--with-translation/--no-translation", default=None,
              help="Whether the left hand's place is part of it: only then samples are "
              "interactions.  [preset: no, no, yes]")  # fmt: skip
@click.option("--model", type=click.Choice(["vae", "ae"]), help="[preset: vae]")
@click.option("--normalisation", type=click.Choice(["geometric", "block", "zscore", "none"]),
              help="What the squared error is measured in.  [preset: geometric]")  # fmt: skip
@click.option("--unit-mm", type=float, callback=positive,
              help="geometric: the movement of the joints that counts as 1.  "
              "[preset: 5]")  # fmt: skip
@click.option("--likeness", type=click.FloatRange(min=0),
              help="Weight of the prior's own draws being like the data.  "
              "[preset: 0, 0, 1000]")  # fmt: skip
@click.option("--plausibility", type=click.FloatRange(min=0),
              help="Weight of the draws' overlap and limits.  [preset: 0, 0, 15]")  # fmt: skip
@click.option("--hidden", type=click.IntRange(min=1),
              help="Width of hidden layers.  [preset: 512]")  # fmt: skip
@click.option("--latents", type=click.IntRange(min=1), help="d_z.  [preset: 128]")
@click.option("--init", type=click.Choice(["he", "pca"]),
              help="First weights: random, or the best linear VAE.  [preset: pca]")  # fmt: skip
@click.option("--lambda", "lambda_", type=float, callback=positive,
              help="Weight of the squared error.  [preset: 100]")  # fmt: skip
@click.option("--reduction", type=click.Choice(["sum", "mean"]),
              help="Of the squared error over a vector's numbers.  [preset: sum]")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1),
              help="Pairs in a step, of all processes together.  "
              "[preset: 64, 512, 256]")  # fmt: skip
@click.option("--lr", type=float, callback=positive,
              help="Adam's learning rate.  [preset: 1e-5, 1e-3, 7e-4]")  # fmt: skip
@click.option("--schedule", type=click.Choice(["constant", "cosine"]),
              help="Of the rate.  [preset: constant, cosine, cosine]")  # fmt: skip
@click.option("--warmup", type=click.IntRange(min=0),
              help="Steps in which the rate rises.  [preset: 0, 200, 200]")  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(min=1), help="The budget.  [preset: 200000, 30000, 12000]"
)
@click.option("--epochs", type=float, callback=positive, help="The budget, instead of --steps.")
@click.option("--rotation", type=click.Choice(["uniform", "none"]),
              help="One random rotation for both hands.  [preset: uniform]")  # fmt: skip
@click.option("--swap/--no-swap", default=None,
              help="Mirror half of the pairs, sides swapped.  [preset: yes]")  # fmt: skip
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]),
              help="Of the network's products.  [preset: float32]")  # fmt: skip
@click.option("--compile/--no-compile", default=None,
              help="torch.compile: CUDA graphs on a GPU, C++ on a CPU.  [preset: no]")  # fmt: skip
@click.option("--resident", type=click.Choice(["auto", "yes", "no"]),
              help="Keep the set on the device, or stream it.  [preset: auto]")  # fmt: skip
@click.option("--log-every", type=click.IntRange(min=1), help="Steps a line.  [preset: 100]")
@click.option("--validate-every", type=click.IntRange(min=1), help="[preset: 2000]")
@click.option("--checkpoint-every", type=click.IntRange(min=1), help="[preset: 2000]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: torch's]")
@options.hand_model
@options.seed
@options.dry_run
@options.as_json
@options.quiet
def train_prior(**given: Any) -> None:
    """Train the interaction prior on datasets of interactions (the paper's section 3.2).

    The same command again resumes, exactly; Ctrl-C saves. Several GPUs or machines:
    torchrun --nproc-per-node N -m twohand500k.cli train-prior …
    """
    if given["steps"] and given["epochs"]:
        raise click.UsageError("--steps and --epochs are two ways to say one thing: give one")
    if given["weights"] and len(given["weights"]) != len(given["folders"]):
        raise click.UsageError(
            f"{len(given['weights'])} --weight for {len(given['folders'])} --data: give one each"
        )
    if given["seed"] < 0:
        raise click.UsageError("--seed is not below 0")
    need_torch()
    from interaction_prior.training.distributed import rank

    try:
        _train(given, rank())
    except (DataError, KeyboardInterrupt) as end:
        # All processes of torchrun end alike; one tells why.
        if rank():
            sys.exit(1 if isinstance(end, DataError) else 130)
        raise


def _train(given: dict[str, Any], rank: int) -> None:
    import torch

    from interaction_prior.training import Provenance, plan_training
    from interaction_prior.training import train_prior as train
    from interaction_prior.training.allocation import keep_freed_memory

    keep_freed_memory()
    if given["threads"]:
        torch.set_num_threads(given["threads"])
    device = device_of(given["device"])
    chosen = _options(given)
    hands: HandPair = load_hands(given["hand_model"])
    if given["dry_run"]:
        plan = plan_training(given["folders"], chosen, hands, device=device)
        if rank == 0:
            click.echo(json.dumps(_plan_json(plan)) if given["as_json"] else _plan_text(plan))
        return
    quiet = given["quiet"] or rank > 0

    def log(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    with Shown(not quiet, "train-prior", "pairs", _held_out) as shown:
        summary = train(
            given["folders"], given["out"], chosen, hands,
            device=device, log=log, progress=shown,
            provenance=Provenance(
                git_revision(), versions(), typed_command(),
                [terms_of(folder) for folder in given["folders"]],
            ),
        )  # fmt: skip
    if rank == 0:
        click.echo(
            json.dumps(asdict(summary) | {"folder": str(summary.folder)}, allow_nan=False)
            if given["as_json"]
            else _told(summary)
        )


def _options(given: dict[str, Any]) -> "TrainOptions":
    """The preset with what was given put over it."""
    from interaction_prior.training import PRESETS

    base = PRESETS[given["preset"]]
    said = {name: given[name] for name in _FIELDS if given[name] is not None}
    form = {
        "name": given["representation"],
        "rotation": given["rotation_form"],
        "with_translation": given["with_translation"],
    }
    form = {name: value for name, value in form.items() if value is not None}
    return replace(
        base,
        representation=replace(base.representation, **form),
        dataset_weights=given["weights"],
        **{_NAMES.get(name, name): value for name, value in said.items()},
    )


def _held_out(figures: Mapping[str, Any]) -> str:
    return f"{figures['mpjpe_mm']:.2f} mm"


def _plan_json(plan: "TrainingPlan") -> dict[str, Any]:
    return {
        "pairs": dict(plan.pairs),
        "validation_pairs": plan.validation_pairs,
        "dim": plan.options.representation.dim,
        "parameters": plan.parameters,
        "steps": plan.options.steps,
        "epochs": plan.epochs,
        "set_bytes": plan.set_bytes,
        "resident": plan.resident,
        "step_seconds": plan.step_seconds,
        "seconds": plan.seconds,
        "options": plan.options.to_json(),
    }


def _plan_text(plan: "TrainingPlan") -> str:
    o = plan.options
    datasets = ", ".join(f"{name} {n:,}" for name, n in plan.pairs)
    where = "kept on the device" if plan.resident else "streamed from a file"
    return "\n".join(
        [
            f"would train on {plan.n_pairs:,} pairs ({datasets}), {plan.validation_pairs:,} held "
            "out",
            f"{o.representation}: {o.representation.dim} numbers a pair, "
            f"{plan.set_bytes / 2**20:,.1f} MiB in all, {where}",
            f"{o.model}, {o.latents} latents, hidden {o.hidden}: {plan.parameters:,} parameters",
            f"{o.steps:,} steps of {o.batch} ({plan.epochs:,.1f} epochs), Adam at "
            f"{o.learning_rate:g}, {o.schedule}",
            f"about {duration(plan.seconds)} at {1e3 * plan.step_seconds:.1f} ms a step"
            + (" (not compiled)" if o.compile else ""),
        ]
    )


def _told(summary: "TrainSummary") -> str:
    if summary.was_finished:
        return f"{summary.folder} was already finished; nothing was done"
    final = summary.final
    lines = []
    if final:
        kl = "" if final["kl"] is None else f"KL {final['kl']:.1f} nats, "
        lines.append(
            f"held out ({final['pairs']:,} pairs, posterior mean): MPJPE {final['mpjpe_mm']:.2f} "
            f"mm, {kl}error {final['error']:.4g}, {final['active']} active latents"
        )
    resumed = f", from step {summary.resumed_from:,}" if summary.resumed_from else ""
    lines.append(
        f"{summary.folder}: {summary.steps:,} steps, {summary.samples_seen:,} pairs seen in "
        f"{duration(summary.seconds)}{resumed}"
    )
    return "\n".join(lines)
