"""How unlikely a prior finds a pair: a number for other people's fitting.

Comes in: MANO parameters of pairs. Goes out: an energy, lower for likelier pairs, differentiable in
all of them; the two-hand counterpart of VPoser's |z|^2 (Pavlakos et al., SMPL-X, CVPR 2019):

    E(x) = 1/2 |z|^2 + lambda_3 |x - dec(z)|^2,   z = the encoder's mean

in nats: but for a constant, -log p(x, z) of the model that equation 4 trains, so it may be added
to somebody's own negative log-likelihood as it is. |z|^2 alone is blind to a pair that the decoder
cannot make. What else was measured is in docs/prior.md. An AE's codes follow no standard normal:
there |z|^2 is measured by the normal fitted to the training set's codes.

A pair is a pair wherever it looks. For a prior trained on pairs turned any way the energy is that
of the pair in its right wrist's frame, so it does not change when the pair is turned; a prior
trained without rotation sees the frame it is given, which must be its data's.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.prior.files import PriorRecord
from twohand500k.conventions import N_BETAS, N_MANO_JOINTS, RIGHT
from twohand500k.errors import DataError

if TYPE_CHECKING:
    from interaction_prior.prior.prior import InteractionPrior


@dataclass(frozen=True, eq=False)
class CodeNormal:
    """The normal that codes follow: mean (d_z,), precision = C^-1 (d_z, d_z)."""

    mean: Tensor
    precision: Tensor

    @staticmethod
    def of(record: PriorRecord) -> "CodeNormal":
        """Of a VAE the standard normal of its loss; of an AE the one fitted to its codes.

        Raises DataError for an AE that holds no fit.
        """
        n = record.architecture.latents
        if record.architecture.model == "vae":
            return CodeNormal(torch.zeros(n), torch.eye(n))
        if "covariance" not in record.latents:
            raise DataError("this AE holds no fit of its codes: nothing says which are likely")
        precision = torch.linalg.inv(record.latents["covariance"].double())
        return CodeNormal(record.latents["mean"].float(), precision.float())

    def to(self, device: torch.device) -> "CodeNormal":
        """The same on another device."""
        return CodeNormal(self.mean.to(device), self.precision.to(device))


def pair_energy(
    prior: "InteractionPrior", pose: Tensor, betas: Tensor, place: Tensor | None
) -> Tensor:
    """Energy (...) in nats of pairs: pose (..., 2, 16, 3), betas (..., 2, 10), place (..., 3).

    Raises DataError where place is missing and the prior knows it, or given and the prior does
    not: nothing is passed over in silence.
    """
    _check(prior, pose, betas, place)
    if place is None:
        place = pose.new_zeros(*pose.shape[:-3], 3)
    representation = prior.representation
    x = representation.vectors(prior.layer, pose, betas, place)
    if turns_freely(prior.record):
        Q = matrix_from_axis_angle(pose[..., RIGHT, 0, :]).mT
        x = representation.turned(x, Q)
    return vector_energy(prior, x)


def vector_energy(prior: "InteractionPrior", x: Tensor) -> Tensor:
    """Energy (...) in nats of raw vectors (..., D), in the frame they are in."""
    normalised = prior.normalisation.applied(x)
    z = prior.network.encode(normalised)[0]
    error = (prior.network.decode(z) - normalised).square().sum(-1)
    off = z - prior.codes.mean
    codes = 0.5 * ((off @ prior.codes.precision) * off).sum(-1)
    return codes + error_weight(prior.record) * error


def error_weight(record: PriorRecord) -> float:
    """lambda_3 on the squared error summed over a vector, as the prior was trained; else 100."""
    options = record.training.get("options", {})
    weight = float(options.get("weight", 100.0))
    averaged = options.get("reduction", "sum") == "mean"
    return weight / record.representation.dim if averaged else weight


def turns_freely(record: PriorRecord) -> bool:
    """Whether the prior was trained on pairs turned any way; without a word of it, it was."""
    return bool(record.training.get("rotation", {}).get("kind", "uniform") == "uniform")


def _check(prior: "InteractionPrior", pose: Tensor, betas: Tensor, place: Tensor | None) -> None:
    for name, tensor, tail in (
        ("pose", pose, (2, N_MANO_JOINTS, 3)),
        ("betas", betas, (2, N_BETAS)),
        *([] if place is None else [("place", place, (3,))]),
    ):
        if tuple(tensor.shape[-len(tail) :]) != tail:
            raise DataError(f"{name} ends in {tuple(tensor.shape)}, not in {tail}")
    knows = prior.representation.with_translation
    if knows and place is None:
        raise DataError(
            f"a prior of {prior.representation} knows where the left hand is: give place, "
            "wrist_left - wrist_right in metres"
        )
    if not knows and place is not None:
        raise DataError(
            f"a prior of {prior.representation} knows nothing of the left hand's place: leave "
            "place out, or train one with --with-translation"
        )


def to_prior(prior: "InteractionPrior", value: Tensor) -> Tensor:
    """Somebody's tensor on the prior's device, float32; gradients pass."""
    return torch.as_tensor(value).to(prior.device, torch.float32)
