"""H2O's layout, written and read back: the left hand first, flags, a recording of one camera."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets import h2o as fixture
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.ho3d import on_left_model
from fixtures_datasets.round_trip import build

from twohand500k.errors import DataError
from twohand500k.sources.datasets import Choice, read_dataset
from twohand500k.sources.take import Take

N = 5


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    """On the left model as MANO ships it: H2O was annotated without the fix."""
    return on_left_model(random_hands(N, seed=7, tips="manopth-right"), "as shipped")


def read_one(folder: Path, choice: Choice | None = None) -> Take:
    (take,) = read_dataset("h2o", [folder], choice)
    return take


def refuse(folder: Path, told: str, choice: Choice | None = None) -> None:
    with pytest.raises(DataError, match=told) as error:
        read_dataset("h2o", [folder], choice)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mano", ["hand_pose_MANO", "hand_pose_mano"])
def test_hands_come_back_as_written(tmp_path, hands, mano):
    fixture.write(tmp_path, "subject1/h1/0", hands, first=20, mano=mano)
    take = read_one(tmp_path)
    assert (take.name, take.subject, take.split) == ("subject1/h1/0", "subject1", "train")
    assert take.frame == "camera" and take.shape == "subject" and take.tips == "manopth-right"
    assert take.frames.tolist() == list(range(20, 20 + N)) and not take.faults.any()
    assert take.recorded.all()
    np.testing.assert_allclose(take.points, hands.joints, atol=1e-8)


def test_mano_is_declared_as_it_is(tmp_path, hands):
    fixture.write(tmp_path, "subject1/h1/0", hands)
    mano = read_one(tmp_path).mano
    assert mano is not None
    assert mano.relative_to == ("flat",) and mano.left_shapedirs == ("as shipped", "mirrored")
    assert mano.joints == ("measured",)
    np.testing.assert_allclose(mano.pose, hands.pose, atol=1e-8)
    np.testing.assert_allclose(mano.betas, hands.betas, atol=1e-8)
    np.testing.assert_allclose(mano.transl, hands.transl, atol=1e-8)


def test_flags_say_which_hands_are_there(tmp_path, hands):
    flags = [(1, 1), (1, 0), (0, 1), (0, 0), (1, 1)]
    fixture.write(tmp_path, "subject1/h1/0", hands, flags=flags)
    take = read_one(tmp_path)
    assert take.frames.tolist() == [0, 1, 2, 4]
    assert take.recorded.tolist() == [[True, True], [True, False], [False, True], [True, True]]
    assert "1 frames have no annotated hand; left out" in take.notes
    np.testing.assert_allclose(take.points[1, 0], hands.joints[1, 0], atol=1e-8)
    assert np.isnan(take.points[1, 1]).all() and np.isnan(take.points[2, 0]).all()
    assert take.mano is not None
    assert take.mano.given.tolist() == take.recorded.tolist()
    assert read_one(tmp_path, Choice(subset="interacting")).frames.tolist() == [0, 4]
    assert read_one(tmp_path, Choice(subset="single")).frames.tolist() == [1, 2]


def test_a_hand_with_joints_alone_is_there_without_parameters(tmp_path, hands):
    camera = fixture.write(tmp_path, "subject1/h1/0", hands)
    path = camera / "hand_pose_MANO/000002.txt"
    words = path.read_text().split()
    path.write_text(" ".join(["0"] * 62 + words[62:]))
    take = read_one(tmp_path)
    assert take.recorded.all() and take.mano is not None
    assert take.mano.given[2].tolist() == [True, False]


def test_splits_are_the_readmes(tmp_path, hands):
    one = replace(hands, pose=hands.pose[:1], betas=hands.betas[:1], transl=hands.transl[:1])
    for name in (
        "subject1/h1/2",
        "subject1/h1/10",
        "subject3/k1/0",
        "subject3/o2/0",
        "subject4/h2/1",
    ):
        fixture.write(tmp_path, name, one)
    takes = read_dataset("h2o", [tmp_path])
    assert [(take.name, take.split) for take in takes] == [
        ("subject1/h1/2", "train"),
        ("subject1/h1/10", "train"),
        ("subject3/k1/0", "train"),
        ("subject3/o2/0", "val"),
        ("subject4/h2/1", "test"),
    ]
    val = read_one(tmp_path, Choice(splits=("val",)))
    assert val.name == "subject3/o2/0"
    refuse(
        tmp_path, "has train, val, test; there is no split 'testing'", Choice(splits=("testing",))
    )


def test_a_folders_ending_is_no_part_of_the_name(tmp_path, hands):
    fixture.write(tmp_path, "subject2_ego/k1/3", hands)
    assert read_one(tmp_path).name == "subject2/k1/3"
    fixture.write(tmp_path, "subject2/k1/3", hands)
    refuse(tmp_path, "subject2/k1/3 is there twice, in subject2 and subject2_ego")


BAD = {
    "a number short": lambda text: text.rsplit(" ", 1)[0],
    "a number long": lambda text: text + " 1",
    "a word": lambda text: text.replace(" ", " x ", 1),
    "nan": lambda text: "1 nan " + text.split(" ", 2)[2],
    "a flag": lambda text: "2" + text[1:],
    "empty": lambda text: "",
    "no text": lambda text: "\udcff",
}


@pytest.mark.parametrize("which", ["hand_pose", "hand_pose_MANO"])
@pytest.mark.parametrize("bad", BAD)
def test_one_bad_file_is_one_fault(tmp_path, hands, which, bad):
    camera = fixture.write(tmp_path, "subject1/h1/0", hands)
    path = camera / which / "000003.txt"
    path.write_bytes(BAD[bad](path.read_text()).encode("ascii", "surrogateescape"))
    take = read_one(tmp_path)
    assert np.flatnonzero(take.faults != "").tolist() == [3]
    assert f"{which}/000003.txt" in take.faults[3] and str(tmp_path) not in take.faults[3]
    rest = [0, 1, 2, 4]
    np.testing.assert_allclose(take.points[rest], hands.joints[rest], atol=1e-8)


def test_a_missing_frame_file_is_a_fault(tmp_path, hands):
    camera = fixture.write(tmp_path, "subject1/h1/0", hands)
    (camera / "hand_pose_MANO/000001.txt").unlink()
    take = read_one(tmp_path)
    assert np.flatnonzero(take.faults != "").tolist() == [1]


def test_a_folder_of_another_kind_is_one_line(tmp_path, hands):
    refuse(tmp_path, r"has no subject1/h1/0/cam4/hand_pose.*h2odataset.ethz.ch")
    camera = fixture.write(tmp_path, "subject1/h1/0", hands)
    (camera / "hand_pose_MANO").rename(camera / "elsewhere")
    refuse(tmp_path, "has no subject1/h1/0/cam4/hand_pose_MANO")


def test_a_limit_is_per_take_and_gives_the_same_frames(tmp_path, hands):
    for name in ("subject1/h1/0", "subject1/h1/1"):
        fixture.write(tmp_path, name, hands, flags=[(0, 0), (1, 1), (1, 1), (0, 1), (1, 1)])
    whole = read_dataset("h2o", [tmp_path])
    some = read_dataset("h2o", [tmp_path], Choice(most=2))
    assert [take.frames.tolist() for take in some] == [[1, 2], [1, 2]]
    np.testing.assert_array_equal(some[1].points, whole[1].points[:2])


def test_built_on_mano_the_joints_are_the_datasets_own(tmp_path, hands):
    flags = [(1, 1), (1, 0), (0, 1), (0, 0), (1, 1)]
    camera = fixture.write(tmp_path / "set", "subject3/o1/0", hands, flags=flags)
    (camera / "hand_pose/000004.txt").write_text("1 2 3")
    built = build("h2o", tmp_path / "set", tmp_path, mano=True)
    kept = built.samples
    assert kept.frame.tolist() == [0, 1, 2] and (kept.split == "val").all()
    assert kept.present.tolist() == [[True, True], [True, False], [False, True]]
    assert np.nanmax(built.gap(hands.joints, tips="manopth-right")[:, 0]) < 1e-6
    assert [reject["sample_id"] for reject in built.rejects] == ["h2o/subject3/o1/0/000004"]


def test_left_hands_made_on_the_model_as_shipped_come_back_crooked(tmp_path):
    """Ten people of fifteen frames. The mirrored model has no such hand: something is left.

    It falls short of the 0.1 mm that is wanted of a kept annotation: over ten shapes the mean is
    about that, of some shapes 0.2 to 0.3 mm, and single joints are a millimetre off.
    """
    people, each = 10, 15
    hands = random_hands(people * each, seed=7, tips="manopth-right", one_shape=False)
    hands = replace(hands, betas=np.repeat(hands.betas[::each], each, axis=0))
    hands = on_left_model(hands, "as shipped")
    for k in range(people):
        rows = slice(each * k, each * (k + 1))
        some = replace(
            hands, pose=hands.pose[rows], betas=hands.betas[rows], transl=hands.transl[rows]
        )
        fixture.write(tmp_path / "set", f"subject1/h1/{k}", some, first=each * k)
    built = build("h2o", tmp_path / "set", tmp_path, mano=True)
    assert built.told.count("left shape directions as shipped, 0.00 mm") == people
    assert len(built.samples.frame) == people * each and not built.rejects
    gap = built.gap(hands.joints, tips="manopth-right")
    assert gap[:, 0].max() < 1e-6
    by_shape = gap[:, 1].reshape(people, -1).mean(axis=1)
    assert 0.05e-3 < gap[:, 1].mean() < 0.15e-3
    assert by_shape.max() < 0.35e-3 and gap[:, 1].max() < 1.5e-3


def test_left_hands_made_on_the_mirrored_model_are_found_out(tmp_path):
    """Should the set have been made with the fix after all, its joints say so."""
    hands = random_hands(N, seed=7, tips="manopth-right")
    fixture.write(tmp_path / "set", "subject1/h1/0", hands)
    built = build("h2o", tmp_path / "set", tmp_path, mano=True)
    assert "left shape directions mirrored, 0.00 mm" in built.told
    assert built.gap(hands.joints, tips="manopth-right").max() < 1e-6


def test_joints_measured_apart_are_a_check_and_no_more(tmp_path, hands):
    """3 mm of noise on hand_pose leave the kept parameters alone and show as fit error."""
    fixture.write(tmp_path / "set", "subject1/h1/0", hands, noise=3e-3)
    built = build("h2o", tmp_path / "set", tmp_path, mano=True)
    assert len(built.samples.frame) == N
    np.testing.assert_allclose(built.samples.pose[:, 0], hands.pose[:, 0], atol=1e-6)
    assert (built.samples.fit_error > 3e-3).all() and (built.samples.fit_error < 7e-3).all()


def test_built_on_the_open_hand_the_joints_are_fitted(tmp_path, hands):
    fixture.write(tmp_path / "set", "subject1/h1/0", hands)
    built = build("h2o", tmp_path / "set", tmp_path, mano=False)
    assert built.samples.present.all() and len(built.samples.frame) == N
    assert built.gap(hands.joints, tips="manopth-right").max() < 2e-3
