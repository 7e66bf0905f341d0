"""Drawn hands as takes, as if a dataset had annotated them: for `twohand build --source synthetic`.

In: a count, a seed and the hand models. Out: takes of a thousand hands, each hand with the MANO
parameters it was drawn with, its wrist at the origin. A take is a group of its own when train, val
and test are told apart. The same seed and a larger count begin with the same hands.
"""

from typing import Literal

import numpy as np

from twohand500k.conventions import JOINT_NAMES, LEFT, N_BETAS, N_JOINTS, N_MANO_JOINTS, RIGHT
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import HandPair
from twohand500k.sources.manifest import SourceManifest, load_manifest
from twohand500k.sources.synthetic.draw import SyntheticHands, draw_hands
from twohand500k.sources.take import Landmark, ManoParameters, Take, Unit

_TAKE = 1000


def synthetic_takes(
    count: int, seed: int, hands: HandPair, *, side: Literal["right", "left"] | None = None
) -> list[Take]:
    """`count` hands, one a frame, in takes of 1,000. side: None draws it, evenly.

    Raises ValueError for a count below one or a negative seed.
    """
    if count < 1:
        raise ValueError(f"count {count} must be at least 1")
    manifest = load_manifest("synthetic")
    return [
        _take(
            draw_hands(min(_TAKE, count - start), seed, hands, side=side, start=start),
            start,
            hands,
            manifest,
        )
        for start in range(0, count, _TAKE)
    ]


def _take(drawn: SyntheticHands, start: int, hands: HandPair, manifest: SourceManifest) -> Take:
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
        name=f"hands-{start // _TAKE:05d}",
        subject="",
        source=manifest.name,
        frame=manifest.frame,
        sides=np.asarray(recorded.any(axis=0)),
        landmarks=tuple(Landmark(name, joint) for joint, name in enumerate(JOINT_NAMES)),
        points=np.full((T, 2, N_JOINTS, 3), np.nan),
        frames=np.arange(start, start + T),
        timestamps=np.full(T, np.nan),
        unit=Unit(1.0, "declared", "m"),
        recorded=recorded,
        shape="frame",
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
