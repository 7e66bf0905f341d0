"""Freshly compiled and cached kernels give the same bytes: a first build can be resumed.

A file of its own: it compiles the solver from nothing, which takes some 15 seconds.
"""

import os
import subprocess
import sys
from pathlib import Path

_HASH = """
import hashlib
import numpy as np
from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.ik.solver import solve

hand = load_hands("open").right
anatomy = Anatomy.of(hand)
rng = np.random.default_rng(0)
low, high = anatomy.limits[..., 0], anatomy.limits[..., 1]
angles = rng.uniform(low, high, (300, 15, 3))
pose = anatomy.pose_from_angles(angles, rng.normal(size=(300, 3)))
joints = hand.with_shape().with_pose(pose).joints + 1e-3 * rng.normal(size=(300, 21, 3))
found = solve(joints, hand.with_shape())
arrays = (found.pose, found.transl, found.residual, found.angle_sigma, found.cost)
print(hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest())
"""


def test_fresh_and_cached_kernels_agree_to_the_last_bit(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    hashes = [
        subprocess.run(
            [sys.executable, "-c", _HASH], env=environment, capture_output=True, text=True,
            check=True, timeout=300,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert any(tmp_path.rglob("*.nbi")), "nothing was cached: the second run proves nothing"
    assert hashes[0] == hashes[1]
