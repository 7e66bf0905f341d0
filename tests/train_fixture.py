"""A small dataset on the open hand and small options, for the tests of training.

Run as a script it is a training run: ``python train_fixture.py DATA OUT OPTIONS_AS_JSON``.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from splice_fixture import Hands, bank, hands

from interaction_prior.representations import Representation
from interaction_prior.training import TrainOptions, TrainSummary, train_prior

SMALL = TrainOptions(
    representation=Representation("mano", "6d", with_translation=True),
    latents=8,
    hidden=32,
    batch=16,
    learning_rate=1e-3,
    steps=60,
    log_every=5,
    validate_every=20,
    checkpoint_every=20,
)


def dataset(folder: Path, train: int = 150, val: int = 30, source: str = "drawn") -> Path:
    """Pairs of drawn hands, a split each."""
    counts = {"train": train, "val": val}
    return bank(folder, *(Hands(source, "both", split, n) for split, n in counts.items() if n))


def train(data: Path | list[Path], out: Path, **changed: Any) -> TrainSummary:
    """A run with `SMALL`, `changed`."""
    folders = [data] if isinstance(data, Path) else data
    options = replace(SMALL, **{k: v for k, v in changed.items() if k not in _CALL})
    call = {k: v for k, v in changed.items() if k in _CALL}
    return train_prior(folders, out, options, hands(), **{"log": lambda line: None, **call})


_CALL = ("log", "progress", "device", "provenance")


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), Path(sys.argv[2]), **json.loads(sys.argv[3]))
