"""Facts of a run for its record: data, hands, libraries, device, and each session of it."""

import contextlib
import datetime
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interaction_prior.training.distributed import Processes
from interaction_prior.training.run_folder import RunFolder
from interaction_prior.training.summary import Provenance
from twohand500k.hand import HandPair

_LIBRARIES = ("twohand500k", "torch", "numpy", "safetensors", "transformers")


def dataset_facts(
    folders: Sequence[str | Path],
    dataset: np.ndarray,
    weights: Sequence[float] = (),
    licences: Sequence[Sequence[str]] = (),
) -> list[dict[str, Any]]:
    """What a run is trained on: names alone, no paths of anybody's machine.

    dataset (N,): which folder each sample is of. weights: the share of the draws of each; without,
    every sample counts once.
    """
    samples = [int((dataset == k).sum()) for k in range(len(folders))]
    weights = weights or samples
    facts: list[dict[str, Any]] = [
        {"folder": Path(folder).resolve().name, "samples": n, "weight": weight / sum(weights)}
        for folder, n, weight in zip(folders, samples, weights, strict=True)
    ]
    for fact, terms in zip(facts, licences, strict=False):
        fact["licences"] = list(terms)
    return facts


def hand_model_facts(hands: HandPair) -> dict[str, str]:
    """The hand model that parameters belong to."""
    return {
        "name": hands.right.name,
        "right_sha256": hands.right.sha256,
        "left_sha256": hands.left.sha256,
    }


def library_versions() -> dict[str, str]:
    """Of what trains."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def device_name(device: torch.device) -> str:
    """As people call it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies, or views of what is there already."""
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def write_session(
    folder: RunFolder,
    processes: Processes,
    provenance: Provenance,
    log: Callable[[str], None],
    *,
    step: int,
    resident: bool,
    facts: Mapping[str, Any],
    draws_on_device: bool = True,
) -> None:
    """This session's entry in `run.json`; what differs from the last one is said aloud.

    step: that it goes on from. facts: of the run. draws_on_device: whether another device draws
    other numbers.
    """
    session = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "from_step": step,
        "command": provenance.command,
        "git_revision": provenance.git_revision,
        "versions": {**provenance.versions, **library_versions()},
        "device": device_name(processes.device),
        "processes": processes.size,
        "threads": torch.get_num_threads(),
        "resident": resident,
    }
    before = folder.last_session()
    changed = [
        f"{key} {before[key]!r}, now {session[key]!r}"
        for key in ("device", "processes", "threads")
        if before and before[key] != session[key]
    ]
    if changed and step:
        log(
            f"earlier steps were taken with {'; '.join(changed)}: the run goes on, equal to an "
            "undisturbed one within rounding only"
            + (" and with other draws" if draws_on_device and "device" in changed[0] else "")
        )
    folder.write_run(facts, session)
