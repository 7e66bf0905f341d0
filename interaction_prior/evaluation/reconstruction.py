"""How well pairs come back: errors of reconstructed vectors, in millimetres.

Comes in: raw vectors of pairs and what a model made of them. Goes out: plain numbers. Whatever the
representation, an error is measured the same way: each hand from its own wrist, unscaled, over the
20 joints beside the wrist (which is 0 by definition) or over all of the skin. Every error comes
twice:

- *kept*: nothing is aligned but the wrists, so a hand turned wrongly is an error;
- *removed*: each hand's own orientation undone, so what is left is fingers and shape. ``mano``
  knows its orientation; of joints and skins the rotation about the wrist that brings the
  reconstruction nearest is taken (orthogonal Procrustes, Kabsch 1976; no translation, no scale).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interaction_prior.hands import HandLayer
from interaction_prior.hands.rotations import axis_angle_from_matrix
from interaction_prior.representations import Representation
from twohand500k.conventions import JOINT_NAMES, LEFT, RIGHT

_CHUNK = 512
_QUANTILES = (0.5, 0.9, 0.95, 0.99)
# Angles of a wrist's rotation, degrees: the bins get finer towards half a turn, where a rotation
# vector jumps.
WRIST_BINS_DEG = (0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 165.0, 175.0, 180.0)


@dataclass(frozen=True, eq=False)
class PairErrors:
    """Distances of N pairs' points to the true ones, mm.

    joints, joints_removed (N, 2, 20): wrist rotation kept, and removed. vertices,
    vertices_removed (N, 2): a hand's mean over its skin; None for ``joints``. place (N,): of the
    left hand's place; None without translation. wrist_angle, wrist_error (N, 2): angle of the true
    wrist rotation, and between it and the reconstructed, degrees; None unless ``mano``.
    """

    joints: np.ndarray
    joints_removed: np.ndarray
    vertices: np.ndarray | None
    vertices_removed: np.ndarray | None
    place: np.ndarray | None
    wrist_angle: np.ndarray | None
    wrist_error: np.ndarray | None

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def mpjpe_mm(self) -> float:
        """Mean per-joint position error, wrist rotation kept."""
        return float(self.joints.mean())

    def to_json(self) -> dict[str, Any]:
        """Means, quantiles over pairs, joint by joint."""
        per_pair = self.joints.mean((1, 2))
        return {
            "pairs": len(self),
            "mpjpe_mm": self.mpjpe_mm,
            "mpvpe_mm": _mean(self.vertices),
            "mpjpe_wrist_removed_mm": float(self.joints_removed.mean()),
            "mpvpe_wrist_removed_mm": _mean(self.vertices_removed),
            "place_mm": _mean(self.place),
            "wrist_rotation_deg": _mean(self.wrist_error),
            "mpjpe_mm_of_pairs": {
                **{f"p{100 * q:g}": float(np.quantile(per_pair, q)) for q in _QUANTILES},
                "max": float(per_pair.max()),
            },
            "mpjpe_mm_of_sides": {
                "right": float(self.joints[:, RIGHT].mean()),
                "left": float(self.joints[:, LEFT].mean()),
            },
            "per_joint_mm": dict(
                zip(JOINT_NAMES[1:], self.joints.mean((0, 1)).tolist(), strict=True)
            ),
        }

    def by_wrist_angle(self) -> list[dict[str, Any]] | None:
        """Errors of hands by the angle of their true wrist rotation; None unless ``mano``.

        A bin that holds no hand tells no error.
        """
        if self.wrist_angle is None or self.wrist_error is None:
            return None
        of_hand = self.joints.mean(-1)
        rows: list[dict[str, Any]] = []
        for low, high in pairwise(WRIST_BINS_DEG):
            last = high == WRIST_BINS_DEG[-1]
            inside = (self.wrist_angle >= low) & ((self.wrist_angle < high) | last)
            error, turn = of_hand[inside], self.wrist_error[inside]
            n = int(inside.sum())
            rows.append(
                {
                    "from_deg": low,
                    "to_deg": high,
                    "hands": n,
                    "mpjpe_mm": float(error.mean()) if n else None,
                    "p95_mm": float(np.quantile(error, 0.95)) if n else None,
                    "wrist_rotation_deg": float(turn.mean()) if n else None,
                    "wrist_rotation_p95_deg": float(np.quantile(turn, 0.95)) if n else None,
                }
            )
        return rows


@torch.no_grad()
def pair_errors(
    representation: Representation, layer: HandLayer, x: Tensor, reconstruction: Tensor
) -> PairErrors:
    """Errors of reconstructions (N, D) of raw vectors x (N, D); N at least 1."""
    parts = list(_each(representation, layer, x, reconstruction))

    def whole(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    return PairErrors(**{name: whole(name) for name in PairErrors.__dataclass_fields__})


def definition(representation: Representation) -> dict[str, str]:
    """What the errors are, in words, for whoever reads the numbers."""
    removed = (
        "each hand's own orientation undone, of truth and reconstruction"
        if representation.name == "mano"
        else "each hand turned about its wrist onto the truth (orthogonal Procrustes: no "
        "translation, no scale)"
    )
    return {
        "root": f"each hand's own wrist ({representation.joint_definition})",
        "scale": "none: millimetres as they are",
        "joints": f"{representation.joint_definition}, 20 a hand, the wrist left out",
        "wrist rotation removed": removed,
    }


def _each(
    representation: Representation, layer: HandLayer, x: Tensor, reconstruction: Tensor
) -> Iterator[PairErrors]:
    for truth, guess in zip(x.split(_CHUNK), reconstruction.split(_CHUNK), strict=True):
        joints = [representation.joints(layer, v)[..., 1:, :] for v in (truth, guess)]
        skins = (
            None
            if representation.name == "joints"
            else [_rooted_skin(representation, layer, v) for v in (truth, guess)]
        )
        angle = error = None
        if representation.name == "mano":
            R = [representation.rotations(v)[0][..., 0, :, :] for v in (truth, guess)]
            removed = [upright(p, r) for p, r in zip(joints, R, strict=True)]
            bare = skins and [upright(p, r) for p, r in zip(skins, R, strict=True)]
            angle = _angle_deg(R[0])
            error = _angle_deg(R[0].mT @ R[1])
        else:
            removed = [joints[0], turned_onto(joints[1], joints[0])]
            bare = skins and [skins[0], turned_onto(skins[1], skins[0])]
        yield PairErrors(
            joints=_apart_mm(joints),
            joints_removed=_apart_mm(removed),
            vertices=_apart_mm(skins).mean(-1) if skins else None,
            vertices_removed=_apart_mm(bare).mean(-1) if bare else None,
            place=_apart_mm([representation.place(v) for v in (truth, guess)])
            if representation.with_translation
            else None,
            wrist_angle=angle,
            wrist_error=error,
        )


def upright(points: Tensor, R: Tensor) -> Tensor:
    """Points (..., P, 3) about their wrist with its rotation R (..., 3, 3) undone: R^T p."""
    return points @ R


def turned_onto(points: Tensor, target: Tensor) -> Tensor:
    """Points (..., P, 3) turned about the origin to lie nearest target (..., P, 3)."""
    # Kabsch: of H = sum p t^T = U S V^T the rotation is V diag(1, 1, d) U^T.
    U, _, Vh = torch.linalg.svd(points.double().mT @ target.double())
    proper = torch.ones_like(U[..., 0, :])
    proper[..., 2] = torch.linalg.det(U @ Vh)
    R = Vh.mT @ (proper[..., None] * U.mT)
    return (points.double() @ R.mT).to(points.dtype)


def _rooted_skin(representation: Representation, layer: HandLayer, x: Tensor) -> Tensor:
    """Skin (..., 2, V, 3) from the wrist of the representation's joint definition."""
    skin = representation.vertices(layer, x)
    if representation.joint_definition == "kinematic":
        return skin
    wrist = layer.J_regressor[:, :1] @ skin
    return skin - wrist


def _apart_mm(pair: list[Tensor]) -> np.ndarray:
    distance: np.ndarray = (1e3 * (pair[1] - pair[0]).norm(dim=-1)).double().cpu().numpy()
    return distance


def _angle_deg(R: Tensor) -> np.ndarray:
    angle: np.ndarray = axis_angle_from_matrix(R).norm(dim=-1).double().rad2deg().cpu().numpy()
    return angle


def _mean(values: np.ndarray | None) -> float | None:
    return None if values is None else float(values.mean())
