"""Hands in Action's layout, written and read back: pickles, orders and tips read off the skin."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets import hic as fixture
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.ho3d import on_left_model
from fixtures_datasets.round_trip import build
from mano_fixture import Ref, python2_pickle

from twohand500k.conventions import TIP_SETS
from twohand500k.errors import DataError
from twohand500k.sources.datasets import Choice, read_dataset
from twohand500k.sources.take import Take

N = 5


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(N, seed=3, tips="smplx")


def pairs(hands: PosedHands, first: int = 1, **how: str) -> dict:
    """Frames from `first` on with both hands."""
    return {
        first + row: tuple(fixture.frame(hands, row, side, **how) for side in (0, 1))  # type: ignore[arg-type]
        for row in range(len(hands))
    }


def read_one(folder: Path, choice: Choice | None = None) -> Take:
    (take,) = read_dataset("hic", [folder], choice)
    return take


@pytest.mark.parametrize("order", ["MANO", "OpenPose"])
@pytest.mark.parametrize("tips", ["smplx", "intaghand", "ho3d"])
def test_joints_come_back_whatever_their_order_and_tips(tmp_path, hands, order, tips):
    hands = replace(hands, tips=tips)
    fixture.write(tmp_path, pairs(hands, order=order))
    take = read_one(tmp_path)
    assert (take.name, take.frame, take.split) == ("sequence01", "camera", "")
    assert take.frames.tolist() == [1, 2, 3, 4, 5] and not take.faults.any()
    np.testing.assert_allclose(take.points, hands.joints, atol=1e-12)
    assert TIP_SETS[take.tips] == TIP_SETS[tips]


@pytest.mark.parametrize("relative_to", ["flat", "mean"])
def test_parameters_come_as_annotated_and_leave_the_convention_open(tmp_path, hands, relative_to):
    fixture.write(tmp_path, pairs(hands, relative_to=relative_to))
    mano = read_one(tmp_path).mano
    assert mano is not None and mano.relative_to == ("flat", "mean")
    assert set(mano.left_shapedirs) == {"as shipped", "mirrored"} and mano.joints == ("kinematic",)
    expected = hands.pose if relative_to == "flat" else None
    if expected is None:
        expected = np.stack([hands.pose_from_mean(s).reshape(N, 16, 3) for s in (0, 1)], axis=1)
    np.testing.assert_allclose(mano.pose, expected, atol=1e-12)
    np.testing.assert_allclose(mano.betas, hands.betas, atol=1e-12)
    np.testing.assert_allclose(mano.transl, hands.transl, atol=1e-12)


def test_a_hand_without_a_pickle_is_not_in_its_frame(tmp_path, hands):
    frames = pairs(hands)
    frames[2] = (frames[2][0], None)
    frames[3] = (None, frames[3][1])
    fixture.write(tmp_path, frames)
    take = read_one(tmp_path)
    recorded = [[True, True], [True, False], [False, True], [True, True], [True, True]]
    assert take.recorded.tolist() == recorded
    assert read_one(tmp_path, Choice(subset="single")).frames.tolist() == [2, 3]
    assert read_one(tmp_path, Choice(subset="interacting")).frames.tolist() == [1, 4, 5]


def test_sequences_of_one_hand_and_the_inner_folder(tmp_path, hands):
    root = fixture.write(tmp_path, pairs(hands), "01")
    right_only = {n: (right, None) for n, (right, _) in pairs(hands, first=10).items()}
    fixture.write(tmp_path, right_only, "15")
    for folder in (tmp_path, root):
        takes = read_dataset("hic", [folder])
        assert [t.name for t in takes] == ["sequence01", "sequence15"]
        assert takes[1].sides.tolist() == [True, False] and takes[1].frames[0] == 10


BAD = {
    "missing key": (lambda hand: hand.pop("betas"), "lacks betas"),
    "wrong shape": (lambda hand: hand.update(pose=np.zeros(45)), "pose has shape"),
    "NaN": (lambda hand: hand.update(trans=np.array([np.nan, 0, 0])), "trans has a value"),
    "a word": (lambda hand: hand.update(betas="large"), "betas holds no numbers"),
    "joints off the skin": (
        lambda hand: hand.update(J_transformed___j21=hand["J_transformed___j21"] + 0.05),
        "no fingertip of J_transformed___j21 lies on the skin",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_one_corrupt_frame_is_one_fault(tmp_path, hands, bad):
    frames = pairs(hands)
    spoil, told = BAD[bad]
    spoil(frames[3][1])
    fixture.write(tmp_path, frames)
    take = read_one(tmp_path)
    assert np.flatnonzero(take.faults != "").tolist() == [2]
    assert told in take.faults[2] and "\n" not in take.faults[2]
    assert "Model_Hand_L___ncomps45/003.pkl" in take.faults[2]
    assert str(tmp_path) not in take.faults[2]
    good = [0, 1, 3, 4]
    np.testing.assert_allclose(take.points[good], hands.joints[good], atol=1e-12)


@pytest.mark.parametrize("data", [b"", b"\x80\x02}q\x00", python2_pickle({"a": Ref("os", "x")})])
def test_a_broken_or_hostile_pickle_is_one_fault(tmp_path, hands, data):
    fixture.write(tmp_path, pairs(hands))
    fixture.pickle_of(tmp_path, "01", "R", 2).write_bytes(data)
    cut = fixture.pickle_of(tmp_path, "01", "L", 5)
    cut.write_bytes(cut.read_bytes()[:700])
    take = read_one(tmp_path)
    assert np.flatnonzero(take.faults != "").tolist() == [1, 4]
    assert str(tmp_path) not in "".join(take.faults)


def test_a_limit_reads_no_further_and_hashes_what_it_read(tmp_path, hands):
    fixture.write(tmp_path, pairs(hands))
    whole = read_one(tmp_path)
    fixture.pickle_of(tmp_path, "01", "R", 4).write_bytes(b"")
    some = read_one(tmp_path, Choice(most=2))
    assert some.frames.tolist() == [1, 2] and not some.faults.any()
    np.testing.assert_array_equal(some.points, whole.points[:2])
    again = read_one(tmp_path)
    assert again.files[0].sha256 != whole.files[0].sha256


def test_a_wrong_folder_or_split_is_one_clear_line(tmp_path, hands):
    with pytest.raises(DataError, match=f"has no {fixture.RESULTS}.*unpack it.*tue.mpg.de"):
        read_one(tmp_path)
    (tmp_path / fixture.RESULTS).mkdir()
    with pytest.raises(DataError, match=f"has no {fixture.RESULTS}/IJCV16___fakeGT.*Hand_R"):
        read_one(tmp_path)
    fixture.write(tmp_path, pairs(hands))
    with pytest.raises(DataError, match="hic has no splits; there is no split 'train'"):
        read_one(tmp_path, Choice(splits=("train",)))


@pytest.mark.parametrize("relative_to", ["flat", "mean"])
@pytest.mark.parametrize("shapedirs", ["mirrored", "as shipped"])
def test_built_on_mano_the_joints_settle_what_nobody_states(
    tmp_path, hands, relative_to, shapedirs
):
    fitted = hands if shapedirs == "mirrored" else on_left_model(hands, "as shipped")
    frames = pairs(fitted, first=0, relative_to=relative_to)
    frames[1] = (frames[1][0], None)
    frames[3][0]["betas"] = np.zeros(9)
    fixture.write(tmp_path / "set", frames)
    built = build("hic", tmp_path / "set", tmp_path, mano=True)
    kept = built.samples
    assert kept.frame.tolist() == [0, 1, 2, 4]
    assert kept.present.tolist() == [[True, True], [True, False], [True, True], [True, True]]
    gap = built.gap(fitted.joints, tips="smplx")
    assert gap[:, 0].max() < 1e-6
    # A hand of MANO_LEFT as shipped is none of the house's: its refit leaves some 0.1 mm.
    left = gap[kept.present[:, 1], 1]
    assert left.max() < 1e-6 if shapedirs == "mirrored" else left.mean() < 0.25e-3
    assert len(built.rejects) == 1 and "betas has shape" in built.rejects[0]["detail"]


def test_built_on_the_open_hand_the_joints_are_fitted(tmp_path, hands):
    fixture.write(tmp_path / "set", pairs(hands, first=0))
    built = build("hic", tmp_path / "set", tmp_path, mano=False)
    assert built.samples.present.all() and len(built.samples.frame) == N
    assert built.gap(hands.joints, tips="smplx").max() < 0.01e-3
