"""Fitted hands drawn over the skeleton they were fitted to.

In: MANO parameters of N frames, right and left, beside the input points of the same frames. Out:
one contact sheet of chosen moments (the tightest contacts, the largest residuals, some evenly
spaced), each as it was recorded, as it was fitted, and as fitted from another side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.conventions import JOINT_PARENTS, LEFT, N_JOINTS, RIGHT
from twohand500k.hand.model import HandPair
from twohand500k.hand.rotations import Array
from twohand500k.pictures.camera import Camera
from twohand500k.pictures.render import BACKDROP, BONES, SKIN, Skeleton, Surface, render_meshes
from twohand500k.pictures.sheet import contact_sheet

_KNUCKLE = 9  # the middle finger's: the direction from the wrist to it is up in every picture


@dataclass(frozen=True, eq=False)
class FittedFrames:
    """N fitted frames and their input. Sides right, left; metres; a hand not present is NaN.

    betas (N, 2, 10); pose (N, 2, 16, 3) axis-angle, flat; transl (N, 2, 3); points (N, 2, K, 3) the
    input, NaN = missing; edges (E, 2): which points a bone joins (`skeleton_edges`); captions: one
    line per frame; fit_error (N, 2) m or None: shown under the fit.
    """

    betas: Array
    pose: Array
    transl: Array
    points: Array
    edges: np.ndarray
    captions: Sequence[str]
    fit_error: Array | None = None

    @property
    def present(self) -> np.ndarray:
        """(N, 2) bool: which hands there are."""
        numbers = np.concatenate([self.pose.reshape(-1, 2, 48), self.transl], axis=-1)
        return np.asarray(np.isfinite(numbers).all(axis=-1))


def skeleton_edges(landmark_joints: Sequence[int]) -> np.ndarray:
    """Bones (E, 2) between landmarks that sit on these joints (0..20, OpenPose order).

    Each landmark hangs on the nearest of its joint's ancestors that has a landmark; of several
    landmarks on one joint the first stands for it and carries the others.
    """
    first: dict[int, int] = {}
    for k, joint in enumerate(landmark_joints):
        first.setdefault(int(joint), k)
    edges = []
    for k, joint in enumerate(landmark_joints):
        at = int(joint) if first[int(joint)] != k else JOINT_PARENTS[int(joint)]
        while at >= 0 and at not in first:
            at = JOINT_PARENTS[at]
        if at >= 0:
            edges.append((first[at], k))
    return np.array(edges, dtype=np.int64).reshape(-1, 2)


def pick_moments(joints: ArrayLike, fit_error: ArrayLike | None, count: int) -> list[int]:
    """Up to `count` frames worth looking at, in order of time.

    joints (N, 2, 21, 3) m, NaN where a hand is absent; fit_error (N, 2) m or None. A third are the
    frames where the two hands come closest, a third those that fit worst, the rest evenly spaced;
    frames within N / (4 count) of a chosen one are passed over.
    """
    joints = np.asarray(joints, dtype=np.float32)
    n = len(joints)
    if n == 0:
        return []
    apart = np.full(n, np.inf)
    for start in range(0, n, 2048):  # 441 distances a frame: keep the block small
        block = joints[start : start + 2048]
        distance = np.linalg.norm(block[:, 0, :, None] - block[:, 1, None, :], axis=-1)
        apart[start : start + 2048] = np.nan_to_num(distance.min(axis=(1, 2)), nan=np.inf)
    by_contact = [int(k) for k in np.argsort(apart, kind="stable") if np.isfinite(apart[k])]
    by_error: list[int] = []
    if fit_error is not None:
        worst = np.max(np.nan_to_num(np.asarray(fit_error), nan=-1.0), axis=1)
        by_error = [int(k) for k in np.argsort(-worst, kind="stable") if worst[k] > 0]
    even = [int(k) for k in np.linspace(0, n - 1, 2 * count + 1).round()[1::2]]
    separation = n / (4 * max(count, 1))
    chosen: list[int] = []
    for candidates, most in ((by_contact, count // 3), (by_error, count // 3), (even, count)):
        taken = 0
        for k in candidates:
            if taken >= most or len(chosen) >= count:
                break
            if all(abs(k - other) >= max(separation, 1) for other in chosen):
                chosen.append(k)
                taken += 1
    return sorted(chosen)


def overlay_sheet(
    hands: HandPair,
    fitted: FittedFrames,
    *,
    rows: Sequence[int] | None = None,
    count: int = 6,
    size: tuple[int, int] = (320, 300),
    title: str = "",
) -> np.ndarray:
    """One column per moment: recorded, fitted over it, fitted from another side. (H, W, 3) uint8.

    rows: the frames to draw; by default `pick_moments` chooses `count`. Raises ValueError if there
    is nothing to draw.
    """
    if rows is None:
        rows = pick_moments(_joints(hands, fitted), fitted.fit_error, count)
    if not len(rows):
        raise ValueError("no fitted frame to draw")
    tiles: list[list[np.ndarray]] = [[], [], []]
    captions, errors = [], []
    for row in rows:
        front, other = _cameras(hands, fitted, row, size)
        tiles[0].append(draw_frame(hands, fitted, row, front, size, skin=False))
        tiles[1].append(draw_frame(hands, fitted, row, front, size))
        tiles[2].append(draw_frame(hands, fitted, row, other, size))
        captions.append(fitted.captions[row])
        errors.append(_error_line(fitted, row))
    blank = [""] * len(rows)
    return contact_sheet(
        [tile for line in tiles for tile in line],
        [*captions, *errors, *blank],
        columns=len(rows),
        row_labels=(
            "recorded: red right, blue left",
            "fitted, with residual right / left",
            "fitted, from another side",
        ),
        title=title,
    )


def _error_line(fitted: FittedFrames, row: int) -> str:
    if fitted.fit_error is None:
        return ""
    sides = [side for side in (RIGHT, LEFT) if fitted.present[row, side]]
    return f"residual {' / '.join(f'{1e3 * fitted.fit_error[row, s]:.2f}' for s in sides)} mm"


def draw_frame(
    hands: HandPair,
    fitted: FittedFrames,
    row: int,
    camera: Camera,
    size: tuple[int, int],
    *,
    skin: bool = True,
    bones: bool = True,
) -> np.ndarray:
    """One frame as (height, width, 3) uint8: fitted skin, input bones showing through it."""
    surfaces = [
        Surface(vertices, hands[side].faces, SKIN[side])
        for side, vertices in _skins(hands, fitted, row)
        if skin
    ]
    radius = 0.0016 if skin else 0.0022
    skeletons = [
        Skeleton(fitted.points[row, side], fitted.edges, BONES[side], radius)
        for side in (RIGHT, LEFT)
        if bones
    ]
    return render_meshes(surfaces, camera, size, skeletons=skeletons, background=BACKDROP)


def _skins(hands: HandPair, fitted: FittedFrames, row: int) -> list[tuple[int, Array]]:
    return [
        (
            side,
            hands[side]
            .with_shape(fitted.betas[row, side])
            .with_pose(fitted.pose[row, side], fitted.transl[row, side])
            .vertices,
        )
        for side in (RIGHT, LEFT)
        if fitted.present[row, side]
    ]


def _joints(hands: HandPair, fitted: FittedFrames) -> Array:
    """Joints (N, 2, 21, 3), NaN where a hand is absent."""
    joints = np.full((len(fitted.pose), 2, N_JOINTS, 3), np.nan)
    for side in (RIGHT, LEFT):
        there = fitted.present[:, side]
        posed = (
            hands[side]
            .with_shape(fitted.betas[there, side])
            .with_pose(fitted.pose[there, side], fitted.transl[there, side])
        )
        joints[there, side] = posed.joints
    return joints


def _cameras(
    hands: HandPair, fitted: FittedFrames, row: int, size: tuple[int, int]
) -> tuple[Camera, Camera]:
    """Two views that need no knowledge of the recording's axes.

    Up is where the fingers point. The first view shows the right hand on the left of the picture
    and the left hand on its right, as one faces another person; a single hand, or one above the
    other, is seen from the side on which it spreads widest. The second view comes from 80 degrees
    further round and a little above.
    """
    sides = [side for side in (RIGHT, LEFT) if fitted.present[row, side]]
    joints = np.stack(
        [
            hands[side]
            .with_shape(fitted.betas[row, side])
            .with_pose(fitted.pose[row, side], fitted.transl[row, side])
            .joints
            for side in sides
        ]
    )
    up = (joints[:, _KNUCKLE] - joints[:, 0]).mean(axis=0)
    if np.linalg.norm(up) < 0.02:  # the hands point at one another
        up = joints[0, _KNUCKLE] - joints[0, 0]
    up /= np.linalg.norm(up)
    flat = joints.reshape(-1, 3) - joints.reshape(-1, 3).mean(axis=0)
    flat -= (flat @ up)[:, None] * up
    spread = np.linalg.svd(flat)[2]
    seen_from = spread[1]  # of the two directions across `up`, the one of less spread
    if len(sides) == 2:
        across = np.cross((joints[1] - joints[0])[[0, _KNUCKLE]].mean(axis=0), up)
        if np.linalg.norm(across) > 0.01:
            seen_from = across / np.linalg.norm(across)
    round_up = np.cross(up, seen_from)
    angle = np.radians(80)
    second = np.cos(angle) * seen_from + np.sin(angle) * round_up + 0.35 * up
    vertices = np.concatenate([v for _, v in _skins(hands, fitted, row)])
    everything = np.concatenate([vertices, fitted.points[row].reshape(-1, 3)])
    aspect = size[0] / size[1]
    return (
        Camera.framing(everything, seen_from + 0.25 * up, up, aspect=aspect),
        Camera.framing(everything, second, up, aspect=aspect),
    )
