"""A prior as one file: safetensors, its tensors and, as JSON in the header, what they mean.

Comes in: a `PriorRecord`. Goes out: `prior.safetensors`, written whole or not at all, read without
running anything. A file that is none of ours, newer, or damaged is a `DataError` naming it.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from interaction_prior.prior.network import Architecture
from interaction_prior.representations import Normalisation, Representation
from twohand500k.errors import DataError

FORMAT = 1
PRIOR_FILE = "prior.safetensors"
_KEY = "interaction_prior"


@dataclass(frozen=True, eq=False)
class PriorRecord:
    """Everything a prior is.

    weights: the network's state. hand_model: {"name", "right_sha256", "left_sha256"} that MANO
    parameters and skins belong to. latents: {"mean", "covariance"}, the aggregate posterior over
    the training set, where it was measured. training: what it was trained on and how, for the card
    (options, data hashes, step, losses, rotation and its distribution).
    """

    architecture: Architecture
    representation: Representation
    normalisation: Normalisation
    weights: Mapping[str, Tensor]
    hand_model: Mapping[str, str]
    latents: Mapping[str, Tensor] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def write_prior(path: str | Path, record: PriorRecord) -> None:
    """Write a prior to `path`; DataError when the disk refuses."""
    write_tensors(Path(path), *prior_contents(record))


def read_prior(path: str | Path) -> PriorRecord:
    """Read a prior. DataError for a file that is missing, damaged, newer or of something else."""
    path = Path(path)
    tensors, header = read_tensors(path)
    if "architecture" not in header or "representation" not in header:
        raise DataError(f"{path} is no prior: its header names no architecture")
    try:
        return prior_from(tensors, header)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error} is missing or not as written") from error


def prior_contents(record: PriorRecord) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a prior's file."""
    header = {
        "format": FORMAT,
        "architecture": dataclasses.asdict(record.architecture),
        "representation": dataclasses.asdict(record.representation),
        "hand_model": dict(record.hand_model),
        "training": dict(record.training),
    }
    tensors = {
        **{f"network.{name}": tensor for name, tensor in record.weights.items()},
        "normalisation.mean": record.normalisation.mean,
        "normalisation.scale": record.normalisation.scale,
        **{f"latents.{name}": tensor for name, tensor in record.latents.items()},
    }
    return tensors, header


def prior_from(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> PriorRecord:
    """Back from `prior_contents`. Raises KeyError or TypeError for what is missing or strange."""

    def group(name: str) -> dict[str, Tensor]:
        return {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}

    return PriorRecord(
        architecture=Architecture(**header["architecture"]),
        representation=Representation(**header["representation"]),
        normalisation=Normalisation(tensors["normalisation.mean"], tensors["normalisation.scale"]),
        weights=group("network."),
        hand_model=header["hand_model"],
        latents=group("latents."),
        training=header["training"],
    )


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """A safetensors file with a JSON header, there whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = save(whole, metadata={_KEY: json.dumps(header, sort_keys=True)})
        # Not save_file: it makes files that others may not read.
        partial.write_bytes(content)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot write {path}: {reason}") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote: tensors on the CPU, and the header."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}") from error
    if not isinstance(header, dict) or "format" not in header:
        raise DataError(f"{path} is no file of interaction_prior: its header says nothing of it")
    if header["format"] > FORMAT:
        raise DataError(
            f"{path} has format {header['format']}, newer than the format {FORMAT} that this "
            "interaction_prior reads: upgrade it"
        )
    return tensors, header
