"""What a prior draws of itself, held against the data: a term beside equation 4, ours.

A VAE precise enough to give a hand back to millimetres is nearly a change of coordinates: its
codes fill a thin part of the latent space, a draw from N(0, I) falls beside it, and equation 4
never asks what the decoder makes of such a draw. Here it is asked. Every step decodes some draws
and adds

    w_l (D(pairs) + 4 D(hands)) + w_p (overlap + fingers in the own hand + limits)

D is the energy distance (Szekely and Rizzo, "Energy statistics", 2013) between the draws and the
batch, zero for equal distributions: of the 42 joints in the right palm's frame, and of each hand's
21 in its own, as root mean square distances in centimetres. Overlap, of the hands and of a hand
with itself, and limits are those of `hands.plausible`: squared depths (cm2) and squared excesses in
units of 0.1 rad, summed over a pair; limits for ``mano`` alone, overlap of the two hands for priors
with translation. Without D the draws would be
driven to a few poses far apart; with it they may not leave the data.

The latents drawn are the noise that the step draws for the posterior anyway. Processes of a
distributed run compare their own shares, so there D differs from that of the joint batch.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from interaction_prior.hands import HandLayer
from interaction_prior.hands.plausible import PlausibleHands
from interaction_prior.representations import Normalisation, Representation
from interaction_prior.training.options import TrainOptions
from twohand500k.conventions import LEFT, N_JOINTS, RIGHT, WRIST
from twohand500k.hand import HandPair

_INDEX_KNUCKLE, _MIDDLE_KNUCKLE = 5, 9
# A hand by itself varies less than the place of two: its distance is counted more.
_HANDS_COUNT = 4.0
_CM = 100.0
_LIMIT_RAD = 0.1
# Draws of a step; and of them, those whose flesh is compared ball against ball, the dearest part.
_DRAWS = 256
_OVERLAPPED = 64


class DrawsLoss:
    """``loss(decode, noise, x)``: the term above for draws decoded, beside a normalised batch."""

    def __init__(
        self,
        hands: HandPair,
        representation: Representation,
        normalisation: Normalisation,
        device: torch.device,
        *,
        likeness: float,
        plausibility: float,
    ) -> None:
        self.layer = HandLayer(hands).to(device)
        self.plausible = PlausibleHands(hands).to(device)
        self.representation, self.normalisation = representation, normalisation
        self.likeness, self.plausibility = likeness, plausibility

    def __call__(self, decode: Callable[[Tensor], Tensor], noise: Tensor, x: Tensor) -> Tensor:
        """decode: latents (n, d_z) to normalised vectors; noise (b, d_z), x (b, D) of the batch."""
        raw = self.normalisation.undone(decode(noise[:_DRAWS]).float())
        x = x[:_DRAWS]
        joints, place = self._points(raw)
        total = raw.new_zeros(())
        if self.likeness:
            with torch.no_grad():
                real = self._features(*self._points(self.normalisation.undone(x)))
            pairs, hands = (
                energy_distance(a, b)
                for a, b in zip(self._features(joints, place), real, strict=True)
            )
            total = total + self.likeness * (pairs + _HANDS_COUNT * hands)
        if self.plausibility:
            total = total + self.plausibility * self._implausibility(raw, joints, place)
        return total

    def _points(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (n, 2, 21, 3) from each wrist and the place (n, 3), zero where it is not known."""
        joints = self.representation.joints(self.layer, raw)
        if self.representation.with_translation:
            return joints, self.representation.place(raw)
        return joints, joints.new_zeros(len(joints), 3)

    def _features(self, joints: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Of pairs (n, 126) and of hands (n, 126), cm, such that a distance is a joint's rms."""
        right, left = joints[:, RIGHT], joints[:, LEFT]
        pair = torch.cat([right, left + place[:, None]], dim=1) @ palm_frame(right)
        mirror = joints.new_tensor([-1.0, 1.0, 1.0])
        alone = torch.stack([right, left * mirror], dim=1)
        alone = alone @ palm_frame(alone)
        per_joint = _CM / math.sqrt(2 * N_JOINTS)
        return pair.flatten(1) * per_joint, alone.flatten(1) * per_joint

    def _implausibility(self, raw: Tensor, joints: Tensor, place: Tensor) -> Tensor:
        depth = self.plausible.self_overlap(joints[:_OVERLAPPED])
        total = (_CM * depth).square().sum((-1, -2, -3)).mean()
        if self.representation.name == "mano":
            excess = self.plausible.limit_excess(self.representation.rotations(raw)[0])
            total = total + (excess / _LIMIT_RAD).square().sum((-1, -2, -3)).mean()
        if self.representation.with_translation:
            depth = self.plausible.overlap(joints[:_OVERLAPPED], place[:_OVERLAPPED])
            total = total + (_CM * depth).square().sum((-1, -2)).mean()
        return total


def draws_loss(
    hands: HandPair, options: TrainOptions, normalisation: Normalisation, device: torch.device
) -> DrawsLoss | None:
    """The term these options ask for, if any."""
    if not options.draws:
        return None
    return DrawsLoss(
        hands, options.representation, normalisation, device,
        likeness=options.likeness, plausibility=options.plausibility,
    )  # fmt: skip


def palm_frame(joints: Tensor) -> Tensor:
    """Axes (..., 3, 3), in columns, of palms (..., 21, 3): x along the middle metacarpal, z out.

    Of a right hand, or a mirrored left one; points @ frame are in it.
    """
    wrist = joints[..., WRIST, :]
    x = normalize(joints[..., _MIDDLE_KNUCKLE, :] - wrist, dim=-1)
    aside = joints[..., _INDEX_KNUCKLE, :] - wrist
    z = normalize(torch.linalg.cross(x, aside, dim=-1), dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x, dim=-1), z], dim=-1)


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """2 E|a - b| - E|a - a'| - E|b - b'| of two sets (n, d), (m, d), unbiased: about 0 if alike."""
    n, m = len(a), len(b)
    within_a = _distances(a, a).sum() / (n * (n - 1))
    within_b = _distances(b, b).sum() / (m * (m - 1))
    return 2.0 * _distances(a, b).mean() - within_a - within_b


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j| (n, m), with a gradient where they are equal."""
    squared = a.square().sum(-1)[:, None] + b.square().sum(-1) - 2.0 * a @ b.T
    return (squared.clamp_min(0.0) + 1e-8).sqrt()
