"""LSMV: points by name, from as many small files as there are frames."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.lsmv import write_lsmv

from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.ik import build_takes
from twohand500k.shards import Dataset
from twohand500k.sources import Take
from twohand500k.sources.datasets import Choice, read_dataset

FRAMES = 40
FINGERS = slice(1, 21)
WRITTEN = 1e-9  # six digits behind the millimetre


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(FRAMES, seed=4)


def _read(folder: Path, **choice) -> list[Take]:
    return read_dataset("lsmv", [folder], Choice(**choice))


def test_joints_come_back(hands: PosedHands, tmp_path: Path) -> None:
    write_lsmv(tmp_path, hands, recording=10)
    write_lsmv(tmp_path, hands, recording=2, first=95)
    second, tenth = _read(tmp_path)
    assert (second.name, tenth.name) == ("data_2", "data_10")
    assert second.frames.tolist() == list(range(95, 95 + FRAMES))  # 99, 100: by number, not by name
    for take in (second, tenth):
        assert take.sides.tolist() == [True, False] and take.split == ""
        error = np.abs(take.points[:, 0, FINGERS] - hands.joints[:, 0, FINGERS])
        assert error.max() < WRITTEN
        assert take.landmarks[0].weight == 0.1
        assert np.linalg.norm(take.points[:, 0, 0] - hands.joints[:, 0, 0], axis=1).max() < 40e-3
    assert second.files[0].sha256 != tenth.files[0].sha256


def test_lines_are_found_by_name(hands: PosedHands, tmp_path: Path) -> None:
    here = write_lsmv(tmp_path / "a", hands)
    there = write_lsmv(tmp_path / "b", hands)
    for path in there.glob("*_joints.txt"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(reversed(lines)))
    (a,), (b,) = _read(tmp_path / "a"), _read(tmp_path / "b")
    assert a.points.tobytes() == b.points.tobytes() and here != there
    (some,) = _read(tmp_path / "a", most=3)
    assert some.points.tobytes() == a.rows(slice(0, 3)).points.tobytes()


def test_through_ik(hands: PosedHands, tmp_path: Path) -> None:
    write_lsmv(tmp_path / "lsmv", hands)
    build_takes(_read(tmp_path / "lsmv"), load_hands("open"), tmp_path / "out", progress=False)
    samples = Dataset(tmp_path / "out").samples()
    assert len(samples) == FRAMES and samples.present.tolist() == [[True, False]] * FRAMES
    error = np.linalg.norm(samples.joints[:, 0] - hands.joints[:, 0], axis=-1)
    assert error[:, FINGERS].mean() < 1.5e-3 and error[:, 0].mean() < 15e-3


def test_a_corrupt_frame_costs_itself(hands: PosedHands, tmp_path: Path) -> None:
    here = write_lsmv(tmp_path, hands)
    text = (here / "0_joints.txt").read_text()
    lines = text.splitlines(keepends=True)
    faults = {
        1: ("".join(line for line in lines if "F3_KNU1_B" not in line), "F3_KNU1_B is missing"),
        2: (text[: len(text) // 2], ""),
        3: ("".join([*lines, lines[4]]), "stands there twice"),
        4: (lines[0].replace(lines[0].split()[1], "nan") + "".join(lines[1:]), "not finite"),
        5: (lines[0].replace(lines[0].split()[1], "x") + "".join(lines[1:]), "holds no numbers"),
        6: ("", "is missing (0 of 21 points)"),
    }
    for number, (content, _) in faults.items():
        (here / f"{number}_joints.txt").write_text(content)
    (here / "7_joints.txt").write_bytes(b"\xff\xfe\0")
    (here / "8_joints.txt").unlink()
    (here / "8_joints.txt").mkdir()
    (take,) = _read(tmp_path)
    assert np.flatnonzero(take.faults != "").tolist() == list(range(1, 9))
    for number, (_, said) in faults.items():
        assert said in take.faults[number] and f"{number}_joints.txt" in take.faults[number]
    rest = take.faults == ""
    assert np.abs(take.points - hands.joints[:, :1])[rest][:, 0, FINGERS].max() < WRITTEN
    report = build_takes([take], load_hands("open"), tmp_path / "out", progress=False)
    assert report.run.n_kept == FRAMES - 8 and sum(report.run.rejected_per_reason.values()) == 8


def test_what_is_not_lsmv_is_one_line(hands: PosedHands, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"annotated_frames/data_1.*mhpdataset"):
            _read(folder)
    write_lsmv(tmp_path, hands)
    with pytest.raises(DataError, match="has no splits; there is no split 'train'"):
        _read(tmp_path, splits=("train",))
    with pytest.raises(DataError, match="no interacting frames"):
        _read(tmp_path, subset="interacting")
