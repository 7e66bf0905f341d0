"""A small image network in training, for the tests: options, priors, one call.

Run as a script it is a training run: ``python train_recon_fixture.py DATA OUT OPTIONS_AS_JSON``.
"""

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from splice_fixture import hands

from interaction_prior.prior import Architecture, InteractionPrior, PriorNetwork
from interaction_prior.recon_training import PRESETS, train_recon
from interaction_prior.training import TrainSummary

# Two steps of features, four end to end, a line each.
SMALL = replace(
    PRESETS["tiny"],
    batch=4,
    feature_steps=2,
    recon_steps=4,
    warmup_steps=0,
    log_every=1,
    validate_every=2,
    checkpoint_every=2,
    validated=2,
)


@cache
def prior(seed: int = 0, coarse: bool = False) -> InteractionPrior:
    """The prior that ships, a twin of it for another seed, or one that decodes to nothing."""
    record = InteractionPrior.load("open").record
    if coarse:
        torch.manual_seed(seed)
        network = PriorNetwork(Architecture(record.representation.dim, "vae", 2, 8))
        record = replace(
            record, architecture=network.architecture, weights=network.state_dict(), latents={}
        )
    elif seed:
        record = replace(record, weights={k: w * (1 + 1e-6) for k, w in record.weights.items()})
    return InteractionPrior(record, hands(), "cpu")


def train(data: Path | list[Path], out: Path, **changed: Any) -> TrainSummary:
    """A run with `SMALL`, `changed`."""
    folders = [data] if isinstance(data, Path) else data
    call = {"log": lambda line: None} | {k: v for k, v in changed.items() if k in _CALL}
    options = replace(SMALL, **{k: v for k, v in changed.items() if k not in (*_CALL, "prior")})
    of = changed.get("prior", None if options.variant == "no-prior" else prior())
    return train_recon(folders, out, options, hands(), of, **call)


_CALL = ("log", "progress", "device", "provenance", "features")


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), Path(sys.argv[2]), **json.loads(sys.argv[3]))
