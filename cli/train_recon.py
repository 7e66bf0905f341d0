"""`twohand train-recon`: image datasets and a prior in, a run folder with an image network out."""

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
    from interaction_prior.prior import InteractionPrior
    from interaction_prior.recon_training import ReconOptions, ReconPlan
    from interaction_prior.training import TrainSummary

# The paper's Table 2; `interaction_prior.fusion.variants` has what they mean, a test holds the two
# together: --help must not need torch.
VARIANTS: Mapping[str, str] = {
    "no-feature": "a: low-level features F alone, no heatmaps, no masks",
    "no-saliency": "b: without the saliency maps M",
    "no-iah": "c: without the heatmaps H",
    "all-in-one": "d: one heatmap for all joints",
    "joint-wise": "e: 42 heatmaps of one joint each, no neighbours",
    "gaussian": "f: equation 1 with Gaussians",
    "no-prior": "g: an MLP to MANO instead of the prior's decoder",
    "resnet50": "h: a ResNet-50 instead of the ViT",
    "hrnet32": "i: an HRNet-W32 instead of the ViT (needs timm)",
    "joints": "j: a prior of 3D joints",
    "vertices": "k: a prior of 3D vertices",
    "full": "l: the paper's",
}
# Options of the command that are `ReconOptions`' own under another name.
_NAMES = {"lr": "learning_rate", "warmup": "warmup_steps"}
_FIELDS = (
    "variant", "network", "weights", "batch", "lr", "feature_steps", "recon_steps", "schedule",
    "plateau_factor", "plateau_patience", "warmup", "orientation", "split", "seed",
    "precision", "channels_last", "compile", "resident", "validated", "log_every",
    "validate_every", "checkpoint_every",
)  # fmt: skip
_AUGMENTATION = ("flip", "rotation_deg", "scale", "shift")


def _epilog() -> str:
    width = max(map(len, VARIANTS)) + 2
    lines = [f"  {name:{width}}{meaning}" for name, meaning in VARIANTS.items()]
    return "\b\nVariants, rows a-l of the paper's Table 2:\n" + "\n".join(lines)


@click.command("train-recon", context_settings={"max_content_width": 100}, epilog=_epilog())
@click.option("--data", "folders", type=click.Path(path_type=Path), multiple=True, required=True,
              help="An image dataset of `twohand render`. May be repeated.")  # fmt: skip
@options.out_dir
@click.option("--prior", "prior", metavar="open|RUN", default="open", show_default=True,
              help="Whose decoder is used: the one that ships, or a run of train-prior. Not read "
              "for --variant no-prior.")  # fmt: skip
@click.option("--variant", type=click.Choice(list(VARIANTS)), metavar="NAME",
              help="Which network, see below.  [preset: full]")  # fmt: skip
@click.option("--preset", type=click.Choice(["paper", "tiny"]), default="paper",
              show_default=True,
              help="What options not given are: the paper's, or small enough to learn on a CPU in "
              "minutes.")  # fmt: skip
@click.option("--features", type=click.Path(path_type=Path), metavar="RUN",
              help="Begin with another run's features, not with a first phase.")  # fmt: skip
@click.option("--network", type=click.Choice(["paper", "tiny"]),
              help="Sizes of the networks and pictures: 256 or 128 pixels.  "
              "[preset: paper, tiny]")  # fmt: skip
@click.option("--weights", metavar="none|imagenet|DIR",
              help="Of the backbone at the start.  [preset: imagenet, none]")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "all"]),
              help="Which samples: 'all' leaves none to validate on.  [preset: train]")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1),
              help="Pictures in a step, of all processes together.  [preset: 64, 16]")  # fmt: skip
@click.option("--lr", type=float, callback=positive,
              help="Adam's learning rate.  [preset: 1e-4, 1e-3]")  # fmt: skip
@click.option("--feature-steps", type=click.IntRange(min=0),
              help="Of the first phase: features alone.  [preset: 500000, 3000]")  # fmt: skip
@click.option("--recon-steps", type=click.IntRange(min=1),
              help="Of the second phase: end to end.  [preset: by epochs, 3000]")  # fmt: skip
@click.option("--recon-epochs", type=float, callback=positive,
              help="The second phase in epochs.  [preset: 150]")  # fmt: skip
@click.option("--schedule", type=click.Choice(["plateau", "cosine"]),
              help="Of the second phase's rate: fixed for two thirds of it, then lowered on a "
              "plateau; or falling to nothing.  [preset: plateau, cosine]")  # fmt: skip
@click.option("--plateau-factor", type=click.FloatRange(0, 1, min_open=True),
              help="What a plateau multiplies the rate by.  [preset: 0.1]")  # fmt: skip
@click.option("--plateau-patience", type=click.IntRange(min=0),
              help="Validations without progress that are waited for.  [preset: 5]")  # fmt: skip
@click.option("--warmup", type=click.IntRange(min=0),
              help="Steps in which the rate rises, in each phase.  [preset: 0, 50]")  # fmt: skip
@click.option("--orientation", type=click.Choice(["view", "camera"]),
              help="Whose frame hands are turned in: a camera's that looks straight at the crop, "
              "which is resampled so; or that of the whole picture's.  [preset: view]")  # fmt: skip
@click.option("--augment/--no-augment", default=None,
              help="Turn, mirror, move, recolour, blur pictures.  [preset: yes]")  # fmt: skip
@click.option("--rotation-deg", type=click.FloatRange(0, 180),
              help="How far pictures are turned either way.  [preset: 180, 30]")  # fmt: skip
@click.option("--flip", type=click.FloatRange(0, 1),
              help="Share of pictures mirrored, sides swapped.  [preset: 0.5]")  # fmt: skip
@click.option("--scale", type=click.FloatRange(min=0),
              help="How much larger or smaller, at most.  [preset: 0.15]")  # fmt: skip
@click.option("--shift", type=click.FloatRange(min=0),
              help="How far moved, in sides of the picture.  [preset: 0.06]")  # fmt: skip
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]),
              help="Of the network's products.  [preset: float32]")  # fmt: skip
@click.option("--channels-last/--channels-first", default=None,
              help="How pictures lie in memory.  [preset: channels last]")  # fmt: skip
@click.option("--compile/--no-compile", default=None,
              help="torch.compile: CUDA graphs on a GPU, C++ on a CPU.  [preset: no]")  # fmt: skip
@click.option("--resident", type=click.Choice(["auto", "yes", "no"]),
              help="Keep the pictures on the device, or stream them from their shards.  "
              "[preset: auto]")  # fmt: skip
@click.option("--validated", type=click.IntRange(min=1),
              help="Held-out pictures looked at while training, at most.  "
              "[preset: 1024, 256]")  # fmt: skip
@click.option("--log-every", type=click.IntRange(min=1), help="Steps a line.  [preset: 100, 25]")
@click.option("--validate-every", type=click.IntRange(min=1), help="[preset: 5000, 1000]")
@click.option("--checkpoint-every", type=click.IntRange(min=1), help="[preset: 5000, 500]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: torch's]")
@options.hand_model
@options.seed
@options.dry_run
@options.as_json
@options.quiet
def train_recon(**given: Any) -> None:
    """Train the network from an image to the prior (the paper's sections 3.1 and 3.3).

    First its features, then all of it end to end through the prior's frozen decoder. The same
    command again resumes, exactly; Ctrl-C saves. Several GPUs or machines:
    torchrun --nproc-per-node N -m twohand500k.cli train-recon …
    """
    if given["recon_steps"] and given["recon_epochs"]:
        raise click.UsageError("--recon-steps and --recon-epochs are one thing: give one")
    if given["features"] is not None and given["feature_steps"]:
        raise click.UsageError("--features takes over a first phase: no --feature-steps with it")
    if given["augment"] is False and any(given[name] is not None for name in _AUGMENTATION):
        raise click.UsageError("--no-augment changes nothing: no --flip, --scale, … with it")
    if given["seed"] < 0:
        raise click.UsageError("--seed is not below 0")
    need_torch("transformers")
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

    from interaction_prior.recon_training import plan_recon
    from interaction_prior.recon_training import train_recon as train
    from interaction_prior.training import Provenance
    from interaction_prior.training.allocation import keep_freed_memory

    keep_freed_memory()
    if given["threads"]:
        torch.set_num_threads(given["threads"])
    device = device_of(given["device"])
    chosen = _options(given)
    hands: HandPair = load_hands(given["hand_model"])
    prior = _prior(given["prior"], chosen, hands, device)
    if given["dry_run"]:
        plan = plan_recon(
            given["folders"], chosen, hands, prior, features=given["features"], device=device
        )
        if rank == 0:
            click.echo(json.dumps(_plan_json(plan)) if given["as_json"] else _plan_text(plan))
        return
    quiet = given["quiet"] or rank > 0

    def log(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    with Shown(not quiet, "train-recon", "pictures", _held_out) as shown:
        summary = train(
            given["folders"], given["out"], chosen, hands, prior,
            features=given["features"], device=device, log=log, progress=shown,
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


def _prior(
    where: str, chosen: "ReconOptions", hands: HandPair, device: str
) -> "InteractionPrior | None":
    from interaction_prior.prior import InteractionPrior

    if chosen.variant == "no-prior":
        return None
    return InteractionPrior.load(where, hands=hands, device=device)


def _options(given: dict[str, Any]) -> "ReconOptions":
    """The preset with what was given put over it."""
    from interaction_prior.images import NONE
    from interaction_prior.recon_training import PRESETS

    base = PRESETS[given["preset"]]
    said = {name: given[name] for name in _FIELDS if given[name] is not None}
    if given["recon_epochs"]:
        said |= {"recon_epochs": given["recon_epochs"], "recon_steps": None}
    amount = {name: given[name] for name in _AUGMENTATION if given[name] is not None}
    augmentation = NONE if given["augment"] is False else replace(base.augmentation, **amount)
    return replace(
        base,
        augmentation=augmentation,
        **{_NAMES.get(name, name): value for name, value in said.items()},
    )


def _held_out(figures: Mapping[str, Any]) -> str:
    if figures.get("mpjpe_mm") is None:
        return f"peaks off by {figures['peak_px']:.1f} px"
    return f"{figures['mpjpe_mm']:.2f} mm"


def _plan_json(plan: "ReconPlan") -> dict[str, Any]:
    return {
        "pictures": dict(plan.pictures),
        "validation_pictures": plan.validation_pictures,
        "size": plan.size,
        "parameters": plan.parameters,
        "feature_parameters": plan.feature_parameters,
        "steps": plan.options.steps,
        "set_bytes": plan.set_bytes,
        "resident": plan.resident,
        "step_seconds": list(plan.step_seconds),
        "seconds": plan.seconds,
        "options": plan.options.to_json(),
    }


def _plan_text(plan: "ReconPlan") -> str:
    o = plan.options
    datasets = ", ".join(f"{name} {n:,}" for name, n in plan.pictures)
    where = "kept on the device" if plan.resident else "streamed from their shards"
    first, second = (1e3 * seconds for seconds in plan.step_seconds)
    return "\n".join(
        [
            f"would train {o.variant} on {sum(n for _, n in plan.pictures):,} pictures "
            f"({datasets}), {plan.validation_pictures:,} held out",
            f"{plan.size} pixels: {plan.set_bytes / 2**20:,.1f} MiB in all, {where}",
            f"{plan.parameters:,} parameters, {plan.feature_parameters:,} of them the features'",
            f"{o.feature_steps:,} steps of features, {o.steps - o.feature_steps:,} end to end, of "
            f"{o.batch} pictures, Adam at {o.learning_rate:g}, {o.schedule}",
            f"about {duration(plan.seconds)} at {first:.0f} and {second:.0f} ms a step"
            + (" (not compiled)" if o.compile else ""),
        ]
    )


def _told(summary: "TrainSummary") -> str:
    if summary.was_finished:
        return f"{summary.folder} was already finished; nothing was done"
    final = summary.final
    lines = []
    if final:
        skin = "" if final["mpvpe_mm"] is None else f", MPVPE {final['mpvpe_mm']:.2f} mm"
        lines.append(
            f"held out ({final['pictures']:,} pictures, root9_scaled): MPJPE "
            f"{final['mpjpe_mm']:.2f} mm{skin}, tau off by {final['tau_mm']:.1f} mm"
        )
    resumed = f", from step {summary.resumed_from:,}" if summary.resumed_from else ""
    lines.append(
        f"{summary.folder}: {summary.steps:,} steps, {summary.samples_seen:,} pictures seen in "
        f"{duration(summary.seconds)}{resumed}"
    )
    return "\n".join(lines)
