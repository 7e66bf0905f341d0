"""Drawn hands as takes, as if a dataset had annotated them: for `twohand build --source synthetic`.

In: a count, a seed and the hand models. Out: takes of some of a thousand hands each, every hand
with the MANO parameters it was drawn with, its wrist at the origin. Of ten hands in a row eight are
for training, one is for validation and one for tests: the splits of a thousand are its three takes.
A take's name says the seed and the side that was asked for, a frame's number is the hand's, so that
sets of several seeds go together. The same seed and a larger count begin with the same hands.
"""

from typing import Literal

import numpy as np

from twohand500k.conventions import JOINT_NAMES, LEFT, N_BETAS, N_JOINTS, N_MANO_JOINTS, RIGHT
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import HandPair
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.synthetic.draw import SyntheticHands, draw_hands
from twohand500k.sources.take import Landmark, ManoParameters, Take, Unit

Split = Literal["train", "val", "test"]

_BLOCK = 1000
# Which of ten hands in a row are of a split, by the last digit of their numbers.
_DIGITS: dict[Split, tuple[int, ...]] = {"train": tuple(range(8)), "val": (8,), "test": (9,)}


def synthetic_takes(
    count: int, seed: int, hands: HandPair, *, side: Literal["right", "left"] | None = None
) -> list[Take]:
    """`count` hands, one a frame: of every 1,000 a take of train, of val and of test.

    side: None draws it, evenly. Fewer than nine hands have no val, fewer than ten no test.
    Raises ValueError for a count below one or a negative seed.
    """
    if count < 1:
        raise ValueError(f"count {count} must be at least 1")
    manifest = load_manifest("synthetic")
    run = f"seed-{seed}" if side is None else f"seed-{seed}-{side}"
    takes = []
    for start in range(0, count, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, count))
        drawn = draw_hands(len(numbers), seed, hands, side=side, start=start)
        for split, digits in _DIGITS.items():
            rows = np.flatnonzero(np.isin(numbers % 10, digits))
            if len(rows):
                name = f"{run}/hands-{start // _BLOCK:05d}-{split}"
                takes.append(_take(name, split, numbers[rows], drawn.rows(rows), hands, manifest))
    return takes


def _take(
    name: str,
    split: Split,
    numbers: np.ndarray,
    drawn: SyntheticHands,
    hands: HandPair,
    manifest: SourceManifest,
) -> Take:
    T = len(drawn.side)
    pose = np.full((T, 2, N_MANO_JOINTS, 3), np.nan)
    betas, transl = np.full((T, 2, N_BETAS), np.nan), np.full((T, 2, 3), np.nan)
    recorded = np.zeros((T, 2), dtype=bool)
    for side in (RIGHT, LEFT):
        rows = np.flatnonzero(drawn.side == side)
        pose[rows, side] = Anatomy.of(hands[side]).pose_from_angles(drawn.angles[rows])
        betas[rows, side] = drawn.betas[rows]
        transl[rows, side] = -hands[side].with_shape(drawn.betas[rows]).rest_joints[:, 0]
        recorded[rows, side] = True
    return Take(
        name=name,
        subject="",
        source=manifest.name,
        frame=manifest.frame,
        sides=np.asarray(recorded.any(axis=0)),
        landmarks=tuple(Landmark(name, joint) for joint, name in enumerate(JOINT_NAMES)),
        points=np.full((T, 2, N_JOINTS, 3), np.nan),
        frames=numbers,
        timestamps=np.full(T, np.nan),
        unit=Unit(1.0, "declared", "m"),
        recorded=recorded,
        shape="frame",
        split=split,
        mano=ManoParameters(
            pose=pose,
            betas=betas,
            transl=transl,
            relative_to=("flat",),
            left_shapedirs=("mirrored",),
            joints=("kinematic",),
            agreement=0.0,
            model=hands.right.name,
        ),
    )
