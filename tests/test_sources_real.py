"""Real recordings, where they are present: $TWOHAND_REAL_DATA, default ../shared/data."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from twohand500k.sources import read_takes
from twohand500k.sources.recordings.units import measure

ROOT = Path(
    os.environ.get("TWOHAND_REAL_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
)
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not ROOT.is_dir(), reason=f"no real recordings at {ROOT} (set TWOHAND_REAL_DATA)"
    ),
]

# folder, take, map, frames, sides, landmarks, unit, how, closest points of the hands in mm
TAKES = [
    ("mocap_bvh", "cup1", "manipnet", 4000, 2, 16, "dm", "declared", (5, 15)),
    ("mocap_bvh", "cyl_med3", "manipnet", 6761, 2, 16, "dm", "declared", (5, 15)),
    ("mocap_trc", "sequence.16_training_dense", "sig18", 411, 2, 19, "mm", "file", (15, 25)),
    ("mocap_trc", "sequence.38_training_dense", "sig18", 500, 2, 19, "mm", "file", (50, 120)),
    ("leap_csv", "three-claps", "leap", 403, 2, 20, "mm", "declared", (0, 10)),
    ("leap_csv", "confidence2", "leap", 368, 2, 20, "mm", "declared", (0, 10)),
    ("video_hand", "right_joints21_m", "openpose21", 621, 1, 21, "m", "inferred", None),
]


@pytest.mark.parametrize("folder, name, source, frames, sides, k, unit, how, gap_mm", TAKES)
def test_real_take(folder, name, source, frames, sides, k, unit, how, gap_mm):
    if not (ROOT / folder).is_dir():
        pytest.skip(f"{ROOT / folder} is absent")
    take = next(t for t in read_takes(ROOT / folder) if t.name == name)
    assert (take.source, take.n_frames, take.sides.sum()) == (source, frames, sides)
    assert len(take.landmarks) == k and (take.unit.name, take.unit.how) == (unit, how)
    assert take.seen[:, take.sides].all()
    assert 0.13 < measure(take.points, take.landmarks).hand_length < 0.20
    if gap_mm is not None:
        gap = take.points[:, 0, :, None] - take.points[:, 1, None, :]
        assert gap_mm[0] < 1e3 * np.sqrt((gap**2).sum(-1)).min() < gap_mm[1]


def chirality(take):
    """(2,) per side, m3: positive for a right hand. Fingers bend towards the palm.

    A finger's outer part turns away from its first segment palmwards; on a right hand (first
    segment) x (palmwards) points towards the thumb.
    """
    at = {landmark.joint: k for k, landmark in enumerate(take.landmarks)}
    point = take.points
    across = point[:, :, at[5]] - point[:, :, at[17]]  # little finger -> index
    first = outer = 0.0
    for base in (5, 9, 13, 17):
        end = at.get(base + 2, at.get(base + 3))  # DIP, or the tip where it is missing
        first = first + point[:, :, at[base + 1]] - point[:, :, at[base]]
        outer = outer + point[:, :, end] - point[:, :, at[base + 1]]
    volume = (np.cross(first, outer) * across).sum(-1)
    return [np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in volume.T]


@pytest.mark.parametrize("folder", ["mocap_bvh", "mocap_trc", "leap_csv"])
def test_fingers_bend_towards_the_palm_and_right_lies_right(folder):
    """Catches swapped sides and left-handed axes (ManipNet's are Unity's)."""
    if not (ROOT / folder).is_dir():
        pytest.skip(f"{ROOT / folder} is absent")
    for take in read_takes(ROOT / folder):
        right, left = chirality(take)
        assert right > 0 > left, take.name
        # y is up in all of these: seen along the fingers, the right hand lies to the right.
        at = {landmark.joint: k for k, landmark in enumerate(take.landmarks)}
        knuckles = take.points[:, :, [at[j] for j in (5, 9, 13, 17)]].mean(axis=2)
        behind = take.points[:, :, at.get(0, at[1])]
        forward = (knuckles - behind).mean(axis=1)
        rightward = np.cross(forward, [0.0, 1.0, 0.0])
        lies_right = ((knuckles[:, 0] - knuckles[:, 1]) * rightward).sum(-1) > 0
        assert lies_right.mean() > 0.9, take.name


def test_declared_centimetres_are_refused():
    folder = ROOT / "mocap_bvh" / "cup1"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    from twohand500k.errors import DataError

    with pytest.raises(DataError, match=r"in cm \(declared\) its hand is 19.* mm long; dm would"):
        read_takes(folder, unit="cm")


def test_headset_poses_as_plain_webxr_arrays(tmp_path):
    """25 WebXR joints relative to the wrist, whole millimetres, right and left poses apart."""
    folder = ROOT / "quest_poses"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    for s, side in enumerate(("right", "left")):
        poses = json.loads((folder / f"poses_{side}.json").read_text())
        np.save(tmp_path / f"{side}.npy", np.array([pose["jointPositions"] for pose in poses]))
        (take,) = read_takes(tmp_path / f"{side}.npy")
        assert take.source == "webxr25" and take.unit.name == "mm" and take.n_frames == 55
        sign = chirality(take)[s]
        assert sign > 0 if side == "right" else sign < 0


def test_video_hand_is_a_right_hand():
    if not (ROOT / "video_hand").is_dir():
        pytest.skip(f"{ROOT / 'video_hand'} is absent")
    assert chirality(read_takes(ROOT / "video_hand")[0])[0] > 0
