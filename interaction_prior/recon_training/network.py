"""The network that options ask for, and what files say of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interaction_prior.fusion import (
    RECON_FILE,
    ReconArchitecture,
    ReconNetwork,
    ReconRecord,
    read_recon,
)
from interaction_prior.prior import InteractionPrior
from interaction_prior.recon_training.options import ReconOptions
from interaction_prior.training.facts import hand_model_facts, on_cpu
from twohand500k.errors import DataError
from twohand500k.hand import HandPair


def architecture_of(options: ReconOptions) -> ReconArchitecture:
    """Sizes and variant."""
    return ReconArchitecture(variant=options.variant, sizes=options.network)


def picture_size(options: ReconOptions) -> int:
    """S of the pictures it takes."""
    return architecture_of(options).size


def network_facts(options: ReconOptions) -> dict[str, Any]:
    """What a checkpoint's network must agree in."""
    return asdict(architecture_of(options))


def feature_facts(options: ReconOptions) -> dict[str, Any]:
    """What another run's features must agree in."""
    return asdict(architecture_of(options).features)


def first_network(
    options: ReconOptions,
    prior: InteractionPrior | None,
    hands: HandPair,
) -> ReconNetwork:
    """The first network of a seed, the same on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return ReconNetwork(architecture_of(options), prior, hands, options.weights)


def recon_record(
    network: ReconNetwork, hands: HandPair, training: Mapping[str, Any]
) -> ReconRecord:
    """The trained network as its file holds it."""
    return ReconRecord(
        architecture=network.architecture,
        weights=on_cpu(network.state_dict()),
        hand_model=hand_model_facts(hands),
        prior=None if network.prior is None else network.prior.record,
        training=training,
    )


def prior_sha256(prior: InteractionPrior) -> str:
    """Hash of a prior's weights and of what turns its vectors into hands."""
    record = prior.record
    arrays = {
        **record.weights,
        "mean": record.normalisation.mean,
        "scale": record.normalisation.scale,
    }
    digest = hashlib.sha256(str(record.representation).encode())
    digest.update(sha256_of(arrays).encode())
    return digest.hexdigest()


def sha256_of(tensors: Mapping[str, Tensor]) -> str:
    """Hash of named tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_prior(options: ReconOptions, prior: InteractionPrior | None, hands: HandPair) -> None:
    """Raises DataError unless the prior is one for that variant and those hands."""
    if options.variant == "no-prior":
        return
    if prior is None:
        raise DataError(f"the variant {options.variant} decodes with a prior, and none was given")
    model = prior.record.hand_model
    if (model["right_sha256"], model["left_sha256"]) != (hands.right.sha256, hands.left.sha256):
        raise DataError(
            f"the prior is on the hand model {model['name']!r} ({model['right_sha256'][:12]}…), "
            f"the pictures' hands on {hands.right.name!r} ({hands.right.sha256[:12]}…): choose a "
            "prior trained on the pictures' hand model"
        )
    wanted = options.variant if options.variant in ("joints", "vertices") else "mano"
    if prior.representation.name != wanted:
        raise DataError(
            f"the variant {options.variant} wants a prior of {wanted}, this one is of "
            f"{prior.representation}: `twohand train-prior --representation {wanted}` makes one"
        )


def trained_network(
    run: str | Path, hands: HandPair, device: torch.device
) -> tuple[ReconNetwork, ReconOptions]:
    """A finished run's network on the device, in use, and the options it was trained with.

    Raises DataError for a run that is not finished, or on other hands.
    """
    record = read_recon(Path(run) / RECON_FILE)
    theirs = (record.hand_model["right_sha256"], record.hand_model["left_sha256"])
    if theirs != (hands.right.sha256, hands.left.sha256):
        raise DataError(
            f"{run} was trained on the hand model {record.hand_model['name']!r} "
            f"({theirs[0][:12]}…), not on {hands.right.name!r} ({hands.right.sha256[:12]}…)"
        )
    prior = None if record.prior is None else InteractionPrior(record.prior, hands, device)
    network = ReconNetwork(record.architecture, prior, hands)
    network.load_state_dict(dict(record.weights))
    options = ReconOptions.from_json(record.training["options"])
    return network.to(device).eval().requires_grad_(False), options
