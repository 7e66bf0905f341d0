"""Headset poses: WebXR's joints, whole millimetres, one hand a pose."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.quest import poses_of, write_quest

from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.ik import build_takes
from twohand500k.shards import Dataset
from twohand500k.sources import Take
from twohand500k.sources.datasets import Choice, read_dataset

POSES = 40
ROUNDED = 0.5e-3 + 1e-9
REAL = Path(
    os.environ.get("TWOHAND_REAL_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
)


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(POSES, seed=5)


def _read(folder: Path, **choice) -> list[Take]:
    return read_dataset("quest", [folder], Choice(**choice))


def _mutual(joints: np.ndarray) -> np.ndarray:
    """Distances between all joints: the same in any axes."""
    return np.linalg.norm(joints[..., :, None, :] - joints[..., None, :, :], axis=-1)


def test_joints_come_back_in_the_wrists_axes(hands: PosedHands, tmp_path: Path) -> None:
    for side in ("right", "left"):
        write_quest(tmp_path / f"poses_{side}.json", poses_of(hands, side))
    left, right = _read(tmp_path)
    assert (left.name, right.name) == ("poses_left", "poses_right")
    assert left.subject == right.subject != ""
    for side, take in enumerate((right, left)):
        assert take.sides.tolist() == [side == 0, side == 1]
        assert take.recorded.sum(axis=1).tolist() == [1] * POSES
        assert take.frames.tolist() == list(range(POSES)) and np.isnan(take.timestamps).all()
        points = take.points[:, side]
        assert not points[:, 0].any()
        apart = np.abs(_mutual(points) - _mutual(hands.joints[:, side]))
        assert apart.max() < 2 * np.sqrt(3) * ROUNDED
    (alone,) = _read(tmp_path / "poses_left.json")
    assert alone.points.tobytes() == left.points.tobytes()
    (some, _) = _read(tmp_path, most=5)
    assert some.points.tobytes() == left.rows(slice(0, 5)).points.tobytes()


def test_a_file_with_both_hands_and_lost_joints(hands: PosedHands, tmp_path: Path) -> None:
    mixed = [p for pair in zip(*(poses_of(hands, s) for s in ("right", "left")), strict=True)
             for p in pair]  # fmt: skip
    mixed[4]["jointPositions"][7] = None
    (take,) = _read(write_quest(tmp_path / "mine.json", mixed).parent)
    assert take.recorded.tolist() == [[True, False], [False, True]] * POSES
    assert np.isnan(take.points[4, 0, 6]).all() and np.isnan(take.points[4, 0]).sum() == 3
    assert not (take.faults != "").any()


def test_through_ik(hands: PosedHands, tmp_path: Path) -> None:
    write_quest(tmp_path / "quest" / "poses.json", poses_of(hands, "left"))
    build_takes(_read(tmp_path / "quest"), load_hands("open"), tmp_path / "out", progress=False)
    samples = Dataset(tmp_path / "out").samples()
    assert len(samples) >= POSES - 1  # rounding may push a last joint past its limit
    fitted, truth = samples.joints[:, 1], hands.joints[samples.frame, 1]
    assert np.abs(_mutual(fitted) - _mutual(truth)).mean() < 0.6e-3
    assert np.nanmedian(samples.fit_error) < 0.6e-3


def test_a_corrupt_pose_costs_itself(hands: PosedHands, tmp_path: Path) -> None:
    poses: list = poses_of(hands, "right")
    whole = copy.deepcopy(poses)
    del poses[1]["jointPositions"]
    poses[2]["jointPositions"].pop()
    poses[3]["jointPositions"][3] = [1, 2]
    poses[4]["jointPositions"][3] = [1, float("nan"), 2]
    poses[5]["handedness"] = "both"
    poses[6] = "a pose"
    poses[7]["digitTipPositions"][2] = [0, 0, 0]
    poses[8]["jointPositions"][3] = {"x": 1}
    (take,) = _read(write_quest(tmp_path / "poses.json", poses).parent)
    assert np.flatnonzero(take.faults != "").tolist() == list(range(1, 9))
    for row, said in (
        (1, "pose 1 (pose 1) has no jointPositions, not 25"), (2, "24 joints"),
        (3, "joint 3 has shape (2,)"), (4, "not finite"), (5, "'both'"), (6, "is no pose"),
        (7, "digitTipPositions"), (8, "holds no numbers"),
    ):  # fmt: skip
        assert said in take.faults[row]
    (clean,) = _read(write_quest(tmp_path / "poses.json", whole).parent)
    rest = take.faults == ""
    assert np.array_equal(take.points[rest], clean.points[rest], equal_nan=True)


def test_what_is_no_list_of_poses_is_one_line(hands: PosedHands, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no poses_right.json.*handy"):
        _read(tmp_path)
    path = write_quest(tmp_path / "poses.json", poses_of(hands, "right"))
    with pytest.raises(DataError, match="no split 'train'"):
        _read(tmp_path, splits=("train",))
    with pytest.raises(DataError, match="no interacting frames"):
        _read(tmp_path, subset="interacting")
    path.write_text(path.read_text()[:-400])
    with pytest.raises(DataError, match="not whole JSON"):
        _read(tmp_path)
    for other in ({"poses": []}, [], [1, 2], [{"name": "a"}]):
        path.write_text(json.dumps(other))
        with pytest.raises(DataError, match="not a list of poses"):
            _read(tmp_path)


@pytest.mark.real_data
@pytest.mark.skipif(
    not (REAL / "quest_poses").is_dir(),
    reason=f"no headset poses at {REAL / 'quest_poses'} (set TWOHAND_REAL_DATA)",
)
def test_real_poses(tmp_path: Path) -> None:
    takes = _read(REAL / "quest_poses")
    assert [take.n_frames for take in takes] == [55, 55]
    report = build_takes(takes, load_hands("open"), tmp_path / "out", progress=False)
    assert report.run.n_kept >= 100
    assert max(take.residual_median for take in report.takes) < 3.5e-3
