"""A run of the image network between two steps, as a file, and the features that phase one ends in.

Files are those of `training.checkpoint`: safetensors with a hash of their content. What a step
draws follows from its number, so the network, Adam's moments, the plateau and the number are the
whole state; the frozen prior is not part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from interaction_prior.prior.files import FORMAT, read_tensors, write_tensors
from interaction_prior.recon_training.plateau import Plateau
from interaction_prior.training.checkpoint import group, read_state, write_state
from twohand500k.errors import DataError

FEATURES_FILE = "features.safetensors"
_COMMAND = "train-recon"
_KIND, _FEATURES_KIND = "recon checkpoint", "features"


@dataclass(frozen=True, eq=False)
class ReconCheckpoint:
    """After `step` steps that took `seconds`.

    weights: the network's state. moments: Adam's, of the phase's parameters. window (k, terms):
    loss terms of the steps since the last line of the metrics. network: facts that the run's own
    must equal (`check_is_of`). All on the CPU.
    """

    step: int
    seconds: float
    network: Mapping[str, Any]
    plateau: Plateau
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    window: Tensor


def write_recon_checkpoint(folder: Path, c: ReconCheckpoint) -> Path:
    """Write it into `folder`; the newest three stay."""
    tensors = {
        **{f"network.{name}": tensor for name, tensor in c.weights.items()},
        **{f"adam.{name}": tensor for name, tensor in c.moments.items()},
        "window": c.window,
    }
    header = {
        "kind": _KIND,
        "seconds": c.seconds,
        "network": dict(c.network),
        "plateau": c.plateau.to_json(),
    }
    return write_state(folder, c.step, tensors, header)


def read_recon_checkpoint(path: Path) -> ReconCheckpoint:
    """Raises DataError for a file that is damaged or no checkpoint."""
    tensors, header = read_state(path, _KIND, _COMMAND)
    try:
        return ReconCheckpoint(
            step=header["step"],
            seconds=header["seconds"],
            network=header["network"],
            plateau=Plateau(**header["plateau"]),
            weights=group(tensors, "network."),
            moments=group(tensors, "adam."),
            window=tensors["window"],
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error} is missing or not as written") from error


def check_is_of(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raises DataError, naming what differs, unless a file's network is the run's."""
    for key in sorted({*theirs, *ours}):
        if theirs.get(key) != ours.get(key):
            raise DataError(
                f"{path} is of a network with {key} = {theirs.get(key)!r}, the run trains one "
                f"with {key} = {ours.get(key)!r}: choose another --out, or the options it was "
                "trained with"
            )


def write_features(
    path: Path, weights: Mapping[str, Tensor], options: Mapping[str, Any], steps: int
) -> None:
    """The feature network's weights after phase one, for runs that begin with them."""
    header = {"format": FORMAT, "kind": _FEATURES_KIND, "options": dict(options), "steps": steps}
    write_tensors(path, weights, header)


def read_features(where: str | Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Feature weights of a run folder, or of its `features.safetensors`.

    Raises DataError where there are none, or of a feature network with other options.
    """
    path = Path(where)
    if path.is_dir():
        path = path / FEATURES_FILE
        if not path.exists():
            raise DataError(
                f"{where} holds no {FEATURES_FILE}: its first phase is not finished, or it began "
                "with another run's features; name that one"
            )
    tensors, header = read_tensors(path)
    if header.get("kind") != _FEATURES_KIND:
        raise DataError(f"{path} holds no features of `twohand {_COMMAND}`")
    check_is_of(path, header["options"], options)
    return tensors
