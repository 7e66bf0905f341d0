"""`Checkpoint`: a run between two steps, as a file, from which it goes on to the last bit.

What a step draws follows from its number (`data.Batches`), so the network, Adam's moments and the
number are the whole state. Files are safetensors with a hash of their content in the header;
the newest three stay. A damaged one is said aloud and the one before it taken.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from interaction_prior.prior import Architecture
from interaction_prior.prior.files import FORMAT, read_tensors, write_tensors
from interaction_prior.representations import Normalisation, Representation
from twohand500k.errors import DataError

KEPT = 3
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """After `step` steps that took `seconds`.

    weights: the network's state. moments: Adam's (`steps.Stepper.moments`). window (k, 3): loss
    terms of the steps since the last line of the metrics. All on the CPU.
    """

    step: int
    seconds: float
    architecture: Architecture
    representation: Representation
    normalisation: Normalisation
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    window: Tensor

    def check_is_of(self, path: Path, architecture: Architecture, of: Representation) -> None:
        """Raises DataError unless it belongs to that network and representation."""
        if self.representation != of:
            raise DataError(
                f"{path} is a checkpoint of {self.representation}, the run trains {of}: choose "
                "another --out"
            )
        if self.architecture != architecture:
            theirs, ours = asdict(self.architecture), asdict(architecture)
            key = next(key for key in ours if ours[key] != theirs[key])
            raise DataError(
                f"{path} is a checkpoint of a network with {key} = {theirs[key]}, the run trains "
                f"one with {key} = {ours[key]}: choose another --out"
            )


def checkpoint_name(step: int) -> str:
    """File name of the checkpoint after `step` steps."""
    return f"step-{step:08d}.safetensors"


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write it into `folder`, whole or not at all, and let go of all but the newest three."""
    c = checkpoint
    tensors = {
        **{f"network.{name}": tensor for name, tensor in c.weights.items()},
        **{f"adam.{name}": tensor for name, tensor in c.moments.items()},
        "normalisation.mean": c.normalisation.mean,
        "normalisation.scale": c.normalisation.scale,
        "window": c.window,
    }
    header = {
        "kind": "checkpoint",
        "seconds": c.seconds,
        "architecture": asdict(c.architecture),
        "representation": asdict(c.representation),
    }
    return write_state(folder, c.step, tensors, header)


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises DataError for a file that is damaged or no checkpoint."""
    tensors, header = read_state(path, "checkpoint", "train-prior")
    try:
        return Checkpoint(
            step=header["step"],
            seconds=header["seconds"],
            architecture=Architecture(**header["architecture"]),
            representation=Representation(**header["representation"]),
            normalisation=Normalisation(
                tensors["normalisation.mean"], tensors["normalisation.scale"]
            ),
            weights=group(tensors, "network."),
            moments=group(tensors, "adam."),
            window=tensors["window"],
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error} is missing or not as written") from error


def latest_checkpoint(
    folder: Path, architecture: Architecture, of: Representation, log: Callable[[str], None]
) -> Checkpoint | None:
    """The newest good checkpoint in `folder`, None if there is none (`latest_state`).

    DataError also where it is of another network or representation.
    """
    found = latest_state(folder, read_checkpoint, log)
    if found is None:
        return None
    path, checkpoint = found
    checkpoint.check_is_of(path, architecture, of)
    return checkpoint


# Files of any run's state


def write_state(
    folder: Path, step: int, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> Path:
    """Write a run's state after `step` steps, whole or not at all; the newest three stay."""
    path = folder / checkpoint_name(step)
    facts = {"format": FORMAT, "step": step, "sha256": _sha256(tensors)}
    write_tensors(path, tensors, {**header, **facts})
    for old in _files(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def read_state(path: Path, kind: str, command: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_state` wrote. Raises DataError for a file that is damaged or of another kind."""
    tensors, header = read_tensors(path)
    if header.get("kind") != kind:
        raise DataError(f"{path} is no checkpoint of `twohand {command}`")
    if header.get("sha256") != _sha256(tensors):
        raise DataError(f"{path} is damaged: its content is not what was written")
    return tensors, header


def group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def latest_state(
    folder: Path, read: Callable[[Path], T], log: Callable[[str], None]
) -> tuple[Path, T] | None:
    """The newest good file in `folder` and what is in it, None if there is none.

    Damaged ones are passed over, said to `log`. DataError if all are damaged.
    """
    faults = []
    for path in _files(folder):
        try:
            return path, read(path)
        except DataError as fault:
            log(f"{fault}; the one before it is taken")
            faults.append(str(fault))
    if faults:
        raise DataError(
            f"no checkpoint in {folder} can be read ({faults[0]}): delete that folder to begin "
            "anew, or choose another --out"
        )
    return None


def _files(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _sha256(tensors: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
