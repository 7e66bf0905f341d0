"""Plain arrays of 21 joints: order, unit and side declared or found."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.joints import write_joints

from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.ik import build_takes
from twohand500k.shards import Dataset
from twohand500k.sources.datasets import Choice, read_dataset

FRAMES = 40
RHD_ORDER = [0] + [4 * finger + k for finger in range(5) for k in (4, 3, 2, 1)]


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(FRAMES, seed=6)


def test_one_hand_and_two(hands: PosedHands, tmp_path: Path) -> None:
    write_joints(tmp_path / "a_right.npy", hands.joints[:, 0])
    write_joints(tmp_path / "a_left.npy", hands.joints[:, 1], per_m=1e3)
    write_joints(tmp_path / "b" / "pairs.npy", hands.joints)
    left, right, both = read_dataset("joints", [tmp_path])
    assert [take.name for take in (left, right, both)] == ["a_left", "a_right", "pairs"]
    # Two files are two takes, whatever their names: only one array holds a pair.
    for take, sides in ((right, [0]), (left, [1]), (both, [0, 1])):
        assert take.source == "joints" and np.flatnonzero(take.sides).tolist() == sides
        assert np.abs(take.points[:, sides] - hands.joints[:, sides]).max() < 1e-12
        assert take.recorded.sum(axis=1).tolist() == [len(sides)] * FRAMES
    assert (left.unit.name, left.unit.how) == ("mm", "inferred")
    (alone,) = read_dataset("joints", [tmp_path / "b" / "pairs.npy"])
    assert alone.points.tobytes() == both.points.tobytes() and alone.name == both.name


def test_order_unit_and_side_are_declared(hands: PosedHands, tmp_path: Path) -> None:
    write_joints(tmp_path / "mine.npy", hands.joints[:, 1], order=RHD_ORDER, per_m=100.0)
    with pytest.raises(DataError, match="which hand"):
        read_dataset("joints", [tmp_path])
    (take,) = read_dataset(
        "joints", [tmp_path], map="rhd-order", unit="cm", side="left", subject="me"
    )
    assert np.abs(take.points[:, 1] - hands.joints[:, 1]).max() < 1e-12
    assert take.subject == "me" and take.unit.how == "declared"
    with pytest.raises(DataError, match=r"in inch .declared. its hand is 4.* cm would make it"):
        read_dataset("joints", [tmp_path], map="rhd-order", unit="inch", side="left")


def test_hands_that_are_not_there(hands: PosedHands, tmp_path: Path) -> None:
    points = hands.joints.copy()
    points[3:6, 1] = np.nan
    points[7] = np.nan
    write_joints(tmp_path / "x.npy", points)
    (take,) = read_dataset("joints", [tmp_path])
    assert take.recorded[:8].sum(axis=1).tolist() == [2, 2, 2, 1, 1, 1, 2, 2]
    (single,) = read_dataset("joints", [tmp_path], Choice(subset="single"))
    assert single.frames.tolist() == [3, 4, 5]
    (pairs,) = read_dataset("joints", [tmp_path], Choice(subset="interacting", most=4))
    assert pairs.frames.tolist() == [0, 1, 2, 6]
    build_takes([take], load_hands("open"), tmp_path / "out", progress=False)
    samples = Dataset(tmp_path / "out").samples()
    assert samples.present.sum() == 2 * FRAMES - 3 - 2
    (reject,) = Dataset(tmp_path / "out").rejects()
    assert reject.sample_id == "joints/x/000007" and reject.reason == "too_few_joints"
    error = np.linalg.norm(samples.joints - hands.joints[samples.frame], axis=-1)
    assert np.nanmean(error) < 0.2e-3


@pytest.mark.parametrize(
    "array, said",
    [
        (np.zeros((4, 20, 3)), "21"),
        (np.zeros((4, 21, 2)), r"\(J, 3\)"),
        (np.full((4, 21, 3), np.nan), "no point"),
        (np.array([{"a": 1}], dtype=object), "pickled"),
        (np.zeros(4), "shape"),
    ],
)
def test_what_is_not_hands_is_one_line(array: np.ndarray, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x_right.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=said) as failed:
        read_dataset("joints", [tmp_path])
    assert "\n" not in str(failed.value)


def test_wrong_folder_and_cut_file(hands: PosedHands, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no NAME_right.npy"):
        read_dataset("joints", [tmp_path])
    path = write_joints(tmp_path / "x_right.npy", hands.joints[:, 0])
    with pytest.raises(DataError, match="no split 'test'"):
        read_dataset("joints", [tmp_path], Choice(splits=("test",)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"x_right\.npy"):
        read_dataset("joints", [tmp_path])


def test_declared_on_the_command_line(hands: PosedHands, tmp_path: Path) -> None:
    write_joints(tmp_path / "in" / "mine.npy", hands.joints[:, 1], order=RHD_ORDER, per_m=100.0)
    given = ["build", "--source", "joints", "--input", str(tmp_path / "in"), "--workers", "1", "-q",
             "--out", str(tmp_path / "out")]  # fmt: skip
    declared = ["--map", "rhd-order", "--unit", "cm", "--side", "left"]
    result = CliRunner().invoke(twohand, [*given, *declared], standalone_mode=False)
    assert result.exception is None, result.output
    samples = Dataset(tmp_path / "out").samples()
    assert samples.present.tolist() == [[False, True]] * FRAMES
    assert np.linalg.norm(samples.joints[:, 1] - hands.joints[:, 1], axis=-1).mean() < 0.2e-3
