"""STB: the palm is no wrist, the fingers run from little to thumb, the hand is a left one."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.stb import write_stb
from scipy.io import loadmat, savemat

from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.ik import build_takes
from twohand500k.shards import Dataset
from twohand500k.sources import Take
from twohand500k.sources.datasets import Choice, read_dataset
from twohand500k.sources.datasets.matlab import read_matlab_array

FRAMES = 60
FINGERS = slice(1, 21)


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(FRAMES, seed=3)


def _read(folder: Path, **choice) -> list[Take]:
    return read_dataset("stb", [folder], Choice(**choice))


def test_joints_come_back(hands: PosedHands, tmp_path: Path) -> None:
    write_stb(tmp_path, hands, "B1Counting", "BB")
    write_stb(tmp_path, hands, "B1Counting", "SK")
    write_stb(tmp_path, hands, "B6Random", "SK")
    train, test = _read(tmp_path)
    assert (train.name, train.split, test.name, test.split) == (
        "B6Random", "train", "B1Counting", "test",
    )  # fmt: skip
    assert any("camera SK" in note for note in test.notes) and "camera SK" in train.notes
    assert [Path(f.path).name for f in test.files] == ["B1Counting_BB.mat"]
    assert test.sides.tolist() == [False, True] and test.frame == "camera"
    points, truth = test.points[:, 1], hands.joints[:, 1]
    assert np.abs(points[:, FINGERS] - truth[:, FINGERS]).max() < 1e-9
    weights = {mark.name: mark.weight for mark in test.landmarks}
    assert weights["wrist"] == 0.1 and set(weights.values()) == {0.1, 1.0}
    assert any("wrist: estimated" in note for note in test.notes)
    # The palm's centre is the middle of the flesh here: nobody says what STB's is.
    assert np.linalg.norm(points[:, 0] - truth[:, 0], axis=1).max() < 20e-3


def test_through_ik(hands: PosedHands, tmp_path: Path) -> None:
    write_stb(tmp_path / "stb", hands)
    build_takes(_read(tmp_path / "stb"), load_hands("open"), tmp_path / "out", progress=False)
    samples = Dataset(tmp_path / "out").samples()
    assert len(samples) == FRAMES and set(samples.split) == {"train"}
    assert samples.present.tolist() == [[False, True]] * FRAMES
    error = np.linalg.norm(samples.joints[:, 1] - hands.joints[:, 1], axis=-1)
    assert error[:, FINGERS].mean() < 1.5e-3 and error[:, 0].mean() < 10e-3


def test_a_corrupt_frame_costs_itself(hands: PosedHands, tmp_path: Path) -> None:
    path = write_stb(tmp_path, hands)
    points = loadmat(path)["handPara"]
    points[1, 7, 5] = np.nan
    points[0, 3, 9] = np.inf
    savemat(path, {"handPara": points})
    (take,) = _read(tmp_path)
    assert np.flatnonzero(take.faults != "").tolist() == [5, 9]
    assert take.faults[5] == "frame 5: handPara has a value that is not finite"
    rest = take.faults == ""
    assert np.abs(take.points[rest, 1, FINGERS] - hands.joints[rest, 1, FINGERS]).max() < 1e-9
    (some,) = _read(tmp_path, most=7)
    assert some.points.tobytes() == take.rows(slice(0, 7)).points.tobytes()


def test_what_is_not_stb_is_one_line(hands: PosedHands, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no labels/B1Counting_BB.mat.*icip17"):
        _read(tmp_path)
    path = write_stb(tmp_path, hands)
    with pytest.raises(DataError, match=r"has no labels/B1Counting_BB.mat"):
        _read(tmp_path, splits=("test",))
    with pytest.raises(DataError, match="no split 'evaluation'"):
        _read(tmp_path, splits=("evaluation",))
    whole = path.read_bytes()
    for size in (len(whole) // 2, 100, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="not a whole"):
            _read(tmp_path)
    for content, said in (
        ({"other": np.zeros(3)}, "holds no handPara"),
        ({"handPara": np.zeros((21, 3, 4))}, "not \\(3, 21, T\\)"),
        ({"handPara": "text"}, "no array of real numbers"),
        ({"handPara": np.zeros((3, 21, 4)) + 1j}, "no array of real numbers"),
    ):
        savemat(path, content)
        with pytest.raises(DataError, match=said):
            _read(tmp_path)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: x" + b" " * 92 + b"\x00\x02IM" + b"\0" * 400)
    with pytest.raises(DataError, match=r"MATLAB 7.3"):
        _read(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i2", "u1"])
def test_matlab_arrays_are_scipys(kind: str, zipped: bool, tmp_path: Path) -> None:
    path, rng = tmp_path / "x.mat", np.random.default_rng(0)
    arrays = {
        "first": rng.normal(size=(2, 3)),
        "handPara": rng.integers(0, 100, (3, 21, 5)).astype(kind),
        "text": "abc",
        "b": np.arange(3, dtype=kind)[:, None],
    }
    savemat(path, arrays, do_compression=zipped)
    twin = loadmat(path)
    for name in ("first", "handPara", "b"):
        assert np.array_equal(read_matlab_array(path, name), twin[name])
    with pytest.raises(DataError, match="holds no other"):
        read_matlab_array(path, "other")


def test_damaged_matlab_files_are_read_or_refused(hands: PosedHands, tmp_path: Path) -> None:
    """Every byte of the header and the tags; scipy's reader ends the process on some of these."""
    path = write_stb(tmp_path, hands)
    whole, refused = path.read_bytes(), 0
    for at in range(280):
        for value in (0, 0xFF, whole[at] ^ 1):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                _read(tmp_path, most=1)
            except DataError:
                refused += 1
    assert refused > 100
