"""How implausible a pair of hands is, cheaply and with gradients: joint limits, and flesh in flesh.

For training and fitting, where the judge on closed skins (exact, without gradients, milliseconds a
pair) cannot stand. Limits are the toolkit's own table, in the same anatomical angles; flesh is a
row of balls along each bone as thick as the skin about it (`twohand500k.hand.capsules`). What is
reported of a prior is measured by the judge, never by this.
"""

import numpy as np
import torch
from torch import Tensor, nn

from twohand500k.conventions import JOINT_PARENTS, TIP_JOINTS
from twohand500k.hand import HandPair
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.capsules import BONES, PHALANGES, bone_radii

# Balls along a bone, as fractions of its length.
_ALONG = (0.15, 0.5, 0.85)
# Balls of two hands whose skins just touch reach this far into each other (m): fingers are not
# round. Measured on repaired pairs, of which nine in ten stay below it.
MARGIN_M = 0.002


class PlausibleHands(nn.Module):
    """Limits and overlap of pairs posed by a `HandLayer`; buffers only."""

    frames: Tensor
    limits: Tensor
    radii: Tensor
    apart: Tensor

    def __init__(self, hands: HandPair) -> None:
        super().__init__()
        anatomy = [Anatomy.of(hands[side]) for side in (0, 1)]
        radii = np.stack([bone_radii(hands[side], np.zeros(10)) for side in (0, 1)])
        for name, array in {
            "frames": np.stack([a.A for a in anatomy]),
            "limits": np.stack([a.limits for a in anatomy]),
            "radii": np.repeat(radii, len(_ALONG), axis=1),
        }.items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32), persistent=False)
        self.register_buffer("apart", torch.tensor(_never_within_another()), persistent=False)

    def angles(self, R: Tensor) -> Tensor:
        """Flexion, abduction, twist (..., 2, 15, 3) rad of local rotations (..., 2, 16, 3, 3)."""
        E = self.frames.transpose(-1, -2) @ R[..., 1:, :, :] @ self.frames
        # Away from 90 degrees of abduction, where the other two angles are one.
        flexion = torch.atan2(-E[..., 1, 2], _away_from_zero(E[..., 2, 2], E[..., 1, 2]))
        twist = torch.atan2(-E[..., 0, 1], _away_from_zero(E[..., 0, 0], E[..., 0, 1]))
        abduction = torch.asin(E[..., 0, 2].clamp(-1 + 1e-6, 1 - 1e-6))
        return torch.stack([flexion, abduction, twist], dim=-1)

    def limit_excess(self, R: Tensor) -> Tensor:
        """How far each angle (..., 2, 15, 3) lies outside its limits, radians, 0 within."""
        angles = self.angles(R)
        return (self.limits[..., 0] - angles).relu() + (angles - self.limits[..., 1]).relu()

    def overlap(self, joints: Tensor, place: Tensor) -> Tensor:
        """How deep (..., 60, 60) m each ball of the right hand lies in each of the left, 0 apart.

        joints (..., 2, 21, 3) m, each hand from its wrist; place (..., 3), wrist_left -
        wrist_right. The first `MARGIN_M` is free.
        """
        centres = self.balls(joints)
        right, left = centres[..., 0, :, :], centres[..., 1, :, :] + place[..., None, :]
        reach = self.radii[0][:, None] + self.radii[1][None, :] - MARGIN_M
        return (reach - _distances(right, left)).relu()

    def self_overlap(self, joints: Tensor) -> Tensor:
        """How deep (..., 2, 60, 60) m the balls of a hand lie in those of its other fingers.

        joints (..., 2, 21, 3) m. Zero for balls that belong together, and each two told once. No
        margin: of hands that the judge finds clean, hardly any two balls touch.
        """
        centres = self.balls(joints)
        reach = self.radii[:, :, None] + self.radii[:, None, :]
        return (reach - _distances(centres, centres)).relu() * self.apart

    def balls(self, joints: Tensor) -> Tensor:
        """Centres (..., 2, 60, 3) m of the balls along the bones of joints (..., 2, 21, 3) m."""
        start = joints[..., [JOINT_PARENTS[b] for b in BONES], :]
        bone = joints[..., list(BONES), :] - start
        # A tip joint lies on the skin: its bone's last ball ends there.
        shorter = torch.ones(len(BONES), dtype=joints.dtype, device=joints.device)
        shorter[[t - 1 for t in TIP_JOINTS]] = 0.75
        along = torch.tensor(_ALONG, dtype=joints.dtype, device=joints.device)
        steps = (along[:, None] * shorter).T[..., None]  # (20, 3, 1)
        return (start[..., :, None, :] + steps * bone[..., :, None, :]).flatten(-3, -2)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j| (..., n, m), with a gradient where they are equal."""
    gap = a[..., :, None, :] - b[..., None, :, :]
    return (gap.square().sum(-1) + 1e-12).sqrt()


def _never_within_another() -> np.ndarray:
    """Which two balls (60, 60), the later one second, are of different fingers and not both palm.

    The bones of the palm lie side by side in one flesh, and so do the bones of a finger.
    """
    bone = np.repeat(np.arange(len(BONES)), len(_ALONG))
    finger = bone // 4
    phalanx = np.isin(BONES[bone], PHALANGES)
    different = finger[:, None] != finger[None, :]
    return np.triu(different & (phalanx[:, None] | phalanx[None, :]))


def _away_from_zero(x: Tensor, other: Tensor) -> Tensor:
    """x, kept off the point where atan2 has no gradient."""
    return torch.where((x.abs() < 1e-9) & (other.abs() < 1e-9), torch.full_like(x, 1e-6), x)
