"""MPJPE and MPVPE under the protocols papers use: a number means nothing without its alignment.

Joints are regressed from the skin, with a named set of fingertips; each hand is brought to a root,
scaled or not, or fitted whole. `root9_scaled` is IntagHand's (`apps/eval_interhand.py`) and the
paper's: root joint 9 (the middle finger's base), predictions scaled by the true over the predicted
length of the bone 9-0, vertices with the same root and scale. Plain numpy in metres.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from twohand500k.conventions import OPENPOSE_FROM_MANO21, RIGHT, TIP_SETS, WRIST
from twohand500k.hand import HandPair

_MIDDLE = 9
_MM = 1e3
Alignment = Literal["root", "root and bone", "similarity", "right root"]


@dataclass(frozen=True)
class Protocol:
    """alignment: "root", each hand by its own; "root and bone", scaled by the bone 9-0 too;
    "similarity", rotated, scaled and moved to fit best; "right root", both hands by the right
    hand's. root: a joint of the 21. tips: a key of `TIP_SETS`.
    """

    meaning: str
    alignment: Alignment
    root: int = WRIST
    tips: str = "smplx"


PROTOCOLS: Mapping[str, Protocol] = {
    "root9_scaled": Protocol(
        "each hand from its joint 9, scaled by its bone 9-0; the paper's and IntagHand's",
        "root and bone", _MIDDLE, "intaghand",
    ),
    "root9": Protocol("each hand from its joint 9, not scaled", "root", _MIDDLE, "intaghand"),
    "wrist": Protocol("each hand from its wrist, not scaled; InterNet's", "root"),
    "wrist_scaled": Protocol("each hand from its wrist, scaled by its bone 9-0", "root and bone"),
    "procrustes": Protocol("each hand rotated, scaled and moved to fit; PA", "similarity"),
    "right_wrist": Protocol("both hands from the right wrist; needs tau", "right root"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PoseErrors:
    """mpjpe_mm, mpvpe_mm (N, 2) of right and left, joint_mm (N, 2, 21); NaN where not known."""

    mpjpe_mm: np.ndarray
    mpvpe_mm: np.ndarray
    joint_mm: np.ndarray


def errors(protocol: str, predicted: np.ndarray, true: np.ndarray, hands: HandPair) -> PoseErrors:
    """Of skins (N, 2, V, 3) m. For `right_wrist` they stand in one frame, otherwise as they like.

    Raises ValueError for a protocol that is not known.
    """
    p = _protocol(protocol)
    said, real = (regressed_joints(x, hands, p.tips) for x in (predicted, true))
    move = _alignment(p, said, real)
    joint = _MM * np.linalg.norm(move(said) - real, axis=-1)
    vertex = _MM * np.linalg.norm(move(np.asarray(predicted)) - true, axis=-1)
    return PoseErrors(joint.mean(-1), vertex.mean(-1), joint)


def joint_errors(
    protocol: str, predicted: np.ndarray, true: np.ndarray, hands: HandPair
) -> PoseErrors:
    """Of joints (N, 2, 21, 3) m against skins (N, 2, V, 3); there is no MPVPE: NaN."""
    p = _protocol(protocol)
    real = regressed_joints(true, hands, p.tips)
    said = np.asarray(predicted)
    joint = _MM * np.linalg.norm(_alignment(p, said, real)(said) - real, axis=-1)
    return PoseErrors(joint.mean(-1), np.full(joint.shape[:2], np.nan), joint)


def regressed_joints(skins: np.ndarray, hands: HandPair, tips: str) -> np.ndarray:
    """Joints (N, 2, 21, 3), OpenPose order, of skins (N, 2, V, 3): the regressor's, and tips."""
    skins = np.asarray(skins)
    ids = list(TIP_SETS[tips])
    both = [
        np.concatenate(
            [np.asarray(hands[side].J_regressor) @ skins[:, side], skins[:, side][:, ids]], axis=1
        )[:, list(OPENPOSE_FROM_MANO21)]
        for side in (0, 1)
    ]
    return np.stack(both, axis=1)


def _protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r} is none of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


class _Move:
    """Points (N, 2, n, 3) of the prediction moved onto the truth: s R (x - from) + to."""

    def __init__(
        self, source: np.ndarray, target: np.ndarray, scale: np.ndarray, R: np.ndarray | None = None
    ) -> None:
        self._from, self._to, self._scale, self._R = source, target, scale, R

    def __call__(self, points: np.ndarray) -> np.ndarray:
        x = (points - self._from) * self._scale
        if self._R is not None:
            x = x @ np.swapaxes(self._R, -1, -2)
        return x + self._to


def _alignment(p: Protocol, said: np.ndarray, real: np.ndarray) -> _Move:
    one = np.ones((*said.shape[:2], 1, 1))
    at = slice(p.root, p.root + 1)
    if p.alignment == "right root":
        own = slice(RIGHT, RIGHT + 1)
        return _Move(said[:, own, at], real[:, own, at], one)
    if p.alignment == "similarity":
        return _procrustes(said, real)
    if p.alignment == "root":
        return _Move(said[:, :, at], real[:, :, at], one)
    bones = [np.linalg.norm(x[:, :, _MIDDLE] - x[:, :, WRIST], axis=-1) for x in (real, said)]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(bones[1] > 0, bones[0] / bones[1], np.nan)
    return _Move(said[:, :, at], real[:, :, at], scale[..., None, None])


def _procrustes(said: np.ndarray, real: np.ndarray) -> _Move:
    """The similarity of least squares, without reflections (Umeyama 1991)."""
    a, b = said.mean(-2, keepdims=True), real.mean(-2, keepdims=True)
    x, y = said - a, real - b
    U, S, Vt = np.linalg.svd(np.swapaxes(y, -1, -2) @ x)
    sign = np.ones_like(S)
    sign[..., -1] = np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    R = (U * sign[..., None, :]) @ Vt
    scale = (S * sign).sum(-1) / (x**2).sum((-1, -2))
    return _Move(a, b, scale[..., None, None], R)
