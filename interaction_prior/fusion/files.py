"""A trained image network as one file: `recon.safetensors`, with the prior it decodes by inside.

Comes in: a `ReconRecord`. Goes out: a file that needs no other, read without running anything. A
file that is none of ours, newer or damaged is a DataError naming it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from interaction_prior.fusion.network import ReconArchitecture
from interaction_prior.prior.files import (
    PriorRecord,
    prior_contents,
    prior_from,
    read_tensors,
    write_tensors,
)
from twohand500k.errors import DataError

FORMAT = 1
RECON_FILE = "recon.safetensors"


@dataclass(frozen=True, eq=False)
class ReconRecord:
    """Everything an image network is.

    weights: the network's state, without the prior's. hand_model: {"name", "right_sha256",
    "left_sha256"}. prior: None for the variant without. training: what it was trained on and how.
    """

    architecture: ReconArchitecture
    weights: Mapping[str, Tensor]
    hand_model: Mapping[str, str]
    prior: PriorRecord | None
    training: Mapping[str, Any] = field(default_factory=dict)


def write_recon(path: str | Path, record: ReconRecord) -> None:
    """Write a network to `path`; DataError when the disk refuses."""
    tensors = {f"recon.{name}": tensor for name, tensor in record.weights.items()}
    header: dict[str, Any] = {
        "format": FORMAT,
        "kind": "recon",
        "recon_architecture": asdict(record.architecture),
        "hand_model": dict(record.hand_model),
        "training": dict(record.training),
        "prior": None,
    }
    if record.prior is not None:
        inside, header["prior"] = prior_contents(record.prior)
        tensors |= {f"prior.{name}": tensor for name, tensor in inside.items()}
    write_tensors(Path(path), tensors, header)


def read_recon(path: str | Path) -> ReconRecord:
    """Read a network. DataError for a file that is missing, damaged, newer or of something else."""
    path = Path(path)
    tensors, header = read_tensors(path)
    if header.get("kind") != "recon":
        raise DataError(f"{path} is no image network of `twohand train-recon`")

    def group(name: str) -> dict[str, Tensor]:
        return {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}

    try:
        inside = header["prior"]
        return ReconRecord(
            architecture=ReconArchitecture(**header["recon_architecture"]),
            weights=group("recon."),
            hand_model=header["hand_model"],
            prior=None if inside is None else prior_from(group("prior."), inside),
            training=header["training"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error} is missing or not as written") from error
