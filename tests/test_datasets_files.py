"""What all readers share: numbers out of damaged files, many files as one input, names of takes."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets import freihand, h2o, hic, ho3d, interhand26m, lsmv, mano
from fixtures_datasets.common import PosedHands, random_hands

from twohand500k.errors import DataError
from twohand500k.sources.datasets import read_dataset
from twohand500k.sources.datasets.files import MOST, numbered_files, numbers
from twohand500k.sources.take import Take

N = 3
HUGE = 10**400  # a whole number that no float64 holds


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(N, seed=6)


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, told",
    [
        ([1, HUGE], "it has a value too large for a number"),
        ([1, 1e200], r"it has a value of 1e\+200"),
        ([-2e6, 0], r"it has a value of 2e\+06"),
        ([1, float("inf")], "it has a value that is not finite"),
        ([1, None], "it has a value that is not finite"),
        ([1, [2, 3]], "it holds no numbers"),
        ({"a": 1}, "it holds no numbers"),
        ([1], r"it has shape \(1,\), not \(2,\)"),
    ],
)
def test_what_is_no_number_of_a_hand_is_a_fault_of_the_data(value, told):
    with pytest.raises(DataError, match=told):
        numbers(value, (2,), "it")


def test_large_numbers_that_may_be_true_pass():
    assert numbers([MOST, -MOST], (2,), "it").tolist() == [MOST, -MOST]
    assert numbers([], (0,), "it").shape == (0,)


def interhand_with(folder: Path, hands: PosedHands, table: str, value: float) -> Take:
    content = interhand26m.tables(hands, first=0, step=1)
    frame = content[table]["0"]["1"]
    if table == "joint_3d":
        frame["world_coord"][5][1] = value
    else:
        frame["left"]["shape"][1] = value
    interhand26m.write(folder, content)
    return read_dataset("interhand26m", [folder])[0]


def freihand_with(folder: Path, hands: PosedHands, table: str, value: float) -> Take:
    freihand.write(folder, hands)
    path = folder / f"training_{'xyz' if table == 'joint_3d' else 'mano'}.json"
    content = json.loads(path.read_text())
    row = content[1][0]
    row[1] = value
    path.write_text(json.dumps(content))
    return read_dataset("freihand", [folder])[0]


def h2o_with(folder: Path, hands: PosedHands, table: str, value: float) -> Take:
    camera = h2o.write(folder, "subject1/h1/0", hands)
    path = camera / ("hand_pose" if table == "joint_3d" else "hand_pose_MANO") / "000001.txt"
    words = path.read_text().split()
    path.write_text(" ".join([*words[:5], str(value), *words[6:]]))
    return read_dataset("h2o", [folder])[0]


@pytest.mark.parametrize("value", [HUGE, 1e200, -3e7])
@pytest.mark.parametrize("table", ["joint_3d", "MANO_NeuralAnnot"])
@pytest.mark.parametrize("spoil", [interhand_with, freihand_with, h2o_with])
def test_an_absurd_number_is_the_fault_of_its_frame(tmp_path, hands, spoil, table, value):
    take = spoil(tmp_path, hands, table, value)
    assert [fault != "" for fault in take.faults.tolist()] == [False, True, False]
    # Text says 1 and 400 zeros, which reads as infinity; JSON says a whole number.
    told = ("too large", "not finite") if value == HUGE else ("has a value of",)
    assert any(words in take.faults[1] for words in told)
    assert np.isfinite(take.points[[0, 2], 0]).all()


# --- many files as one input ---------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path, PosedHands], object]] = {
    "h2o": lambda folder, hands: h2o.write(folder, "subject1/h1/0", hands),
    "hic": lambda folder, hands: hic.write(
        folder, {row: (hic.frame(hands, row, 0), None) for row in range(N)}
    ),
    "ho3d": lambda folder, hands: ho3d.write(
        folder, "ABF10", [ho3d.ho3d_frame(hands, row) for row in range(N)]
    ),
    "lsmv": lambda folder, hands: lsmv.write_lsmv(folder, hands),
}


def inputs(source: str, folder: Path) -> list[tuple[str, str]]:
    return [
        (Path(file.path).name, file.sha256)
        for take in read_dataset(source, [folder])
        for file in take.files
    ]


@pytest.mark.parametrize("source", WRITERS)
def test_a_folder_may_be_moved_and_called_otherwise(tmp_path, hands, source, monkeypatch):
    """Its inputs keep their names and hashes, so that an interrupted build goes on."""
    WRITERS[source](tmp_path / "one", hands)
    before = inputs(source, tmp_path / "one")
    assert [name for name, _ in before] == ["all files read"]
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
    assert inputs(source, tmp_path / "elsewhere" / "two") == before
    monkeypatch.chdir(tmp_path / "one")
    assert inputs(source, Path(".")) == before


def test_files_called_by_numbers_come_in_their_order(tmp_path):
    for name in ("10_a", "9_a", "011_a", "x_a", "1_b", "٣_a"):
        (tmp_path / name).touch()
    found = numbered_files(tmp_path, "([0-9]+)_a")
    assert [(n, path.name) for n, path in found] == [(9, "9_a"), (10, "10_a"), (11, "011_a")]
    padded = numbered_files(tmp_path, "([0-9]+)_a", digits=2)
    assert [path.name for _, path in padded] == ["10_a"]
    assert numbered_files(tmp_path / "nowhere", "([0-9]+)") == []


# --- takes ---------------------------------------------------------------------------------------


def test_a_folder_given_twice_is_told(tmp_path, hands):
    mano.write(tmp_path / "a.npz", mano.arrays(hands), mano.convention())
    with pytest.raises(DataError, match="take a is found 2 times; give each folder once"):
        read_dataset("mano", [tmp_path, Path(os.fspath(tmp_path))])
