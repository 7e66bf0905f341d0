"""FreiHAND's layout, written and read back: right hands, MANO on the mean pose, no translation."""

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets import freihand as fixture
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.round_trip import build

from twohand500k.errors import DataError
from twohand500k.sources.datasets import Choice, read_dataset

N = 6


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(N, seed=3, tips="freihand", one_shape=False)


def refuse(folder: Path, told: str, choice: Choice | None = None) -> None:
    with pytest.raises(DataError, match=told) as error:
        read_dataset("freihand", [folder], choice)
    assert "\n" not in str(error.value)


def test_hands_come_back_as_written(tmp_path, hands):
    fixture.write(tmp_path, hands)
    (take,) = read_dataset("freihand", [tmp_path])
    assert (take.name, take.split, take.shape, take.frame) == (
        "training",
        "train",
        "frame",
        "camera",
    )
    assert take.tips == "freihand" and take.sides.tolist() == [True, False]
    assert take.recorded.tolist() == [[True, False]] * N and not take.faults.any()
    assert take.frames.tolist() == list(range(N))
    np.testing.assert_allclose(take.points[:, 0], hands.regressed[:, 0], atol=1e-12)
    assert np.isnan(take.points[:, 1]).all()


def test_mano_is_declared_as_it_is(tmp_path, hands):
    fixture.write(tmp_path, hands)
    mano = read_dataset("freihand", [tmp_path])[0].mano
    assert mano is not None
    assert mano.relative_to == ("mean",) and mano.joints == ("regressed", "kinematic")
    # Only the mean pose, added to the finger rotations, makes the annotation's pose the flat one's.
    mean = np.concatenate([np.zeros((1, 3)), hands.pair.right.hands_mean.reshape(15, 3)])
    np.testing.assert_allclose(mano.pose[:, 0] + mean, hands.pose[:, 0], atol=1e-12)
    np.testing.assert_allclose(mano.betas[:, 0], hands.betas[:, 0], atol=1e-12)
    assert np.isnan(mano.transl).all() and np.isnan(mano.pose[:, 1]).all()
    assert mano.given.tolist() == [[True, False]] * N
    # The joints are the regressed ones, apart from the chain's by more than rounding.
    assert np.abs(hands.regressed[:, 0] - hands.joints[:, 0]).max() > 1e-4


def test_splits_that_are_there_or_asked_for(tmp_path, hands):
    fixture.write(tmp_path, hands)
    refuse(tmp_path, "evaluation_xyz.json", Choice(splits=("evaluation",)))
    fixture.write(tmp_path, hands, "evaluation")
    both = read_dataset("freihand", [tmp_path])
    assert [(take.name, take.split) for take in both] == [
        ("training", "train"),
        ("evaluation", "test"),
    ]
    (test,) = read_dataset("freihand", [tmp_path], Choice(splits=("evaluation",)))
    assert test.name == "evaluation"
    refuse(tmp_path, "has training, evaluation; there is no split 'val'", Choice(splits=("val",)))
    refuse(tmp_path, "no interacting frames", Choice(subset="interacting"))
    assert read_dataset("freihand", [tmp_path], Choice(subset="single"))[0].n_frames == N


def test_a_limit_gives_the_same_first_frames(tmp_path, hands):
    fixture.write(tmp_path, hands)
    (whole,) = read_dataset("freihand", [tmp_path])
    (some,) = read_dataset("freihand", [tmp_path], Choice(most=2))
    assert some.frames.tolist() == [0, 1] and some.files == whole.files
    np.testing.assert_array_equal(some.points, whole.points[:2])


@pytest.mark.parametrize("name", ["xyz", "mano"])
@pytest.mark.parametrize("bad", [float("nan"), None, "text", [[0.0]], {}], ids=str)
def test_one_bad_entry_is_one_fault(tmp_path, hands, name, bad):
    content = fixture.write(tmp_path, hands)[name]
    content[2] = [[bad, *content[2][0][1:]], *content[2][1:]] if bad != bad else bad
    (tmp_path / f"training_{name}.json").write_text(json.dumps(content))
    (take,) = read_dataset("freihand", [tmp_path])
    assert np.flatnonzero(take.faults != "").tolist() == [2]
    assert f"training_{name}" in take.faults[2] and take.recorded[2].tolist() == [True, False]
    rest = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(take.points[rest, 0], hands.regressed[rest, 0], atol=1e-12)


def test_broken_files_are_one_line(tmp_path, hands):
    refuse(tmp_path, r"has no training_xyz.json.*FreiHAND_pub_v2.*lmb.informatik")
    refuse(tmp_path / "nowhere", "is not a folder")
    content = fixture.write(tmp_path, hands)
    (tmp_path / "training_mano.json").unlink()
    refuse(tmp_path, "has no training_mano.json")
    (tmp_path / "training_mano.json").write_text(json.dumps(content["mano"][:-1]))
    refuse(tmp_path, "6 entries and training_mano.json 5")
    (tmp_path / "training_mano.json").write_text(json.dumps(content["mano"])[:-100])
    refuse(tmp_path, "training_mano.json: not whole JSON")
    (tmp_path / "training_mano.json").write_text("{}")
    refuse(tmp_path, "holds no list")


def test_built_on_mano_the_joints_are_the_datasets_own(tmp_path, hands):
    content = fixture.write(tmp_path / "set", hands)["xyz"]
    content[1] = None
    (tmp_path / "set/training_xyz.json").write_text(json.dumps(content))
    built = build("freihand", tmp_path / "set", tmp_path, mano=True)
    kept = built.samples
    assert kept.frame.tolist() == [0, 2, 3, 4, 5] and (kept.split == "train").all()
    assert kept.present.tolist() == [[True, False]] * (N - 1)
    gap = built.gap(hands.regressed, tips="freihand", regressed=True)
    assert np.nanmax(gap) < 1e-5 and np.isnan(gap[:, 1]).all()
    np.testing.assert_allclose(kept.betas[:, 0], hands.betas[kept.frame, 0], atol=1e-6)
    np.testing.assert_allclose(kept.transl[:, 0], hands.transl[kept.frame, 0], atol=1e-6)
    assert "kept: right relative to the mean hand" in built.told
    (reject,) = built.rejects
    assert (reject["sample_id"], reject["reason"]) == ("freihand/training/000001", "unreadable")


def test_built_on_the_open_hand_the_joints_are_fitted(tmp_path, hands):
    """Each hand has a shape of its own; regressed joints are no chain's, so a little is left."""
    fixture.write(tmp_path / "set", hands)
    built = build("freihand", tmp_path / "set", tmp_path, mano=False)
    assert len(built.samples.frame) == N and not built.rejects
    assert "fitted to its joints" in built.told
    gap = built.gap(hands.regressed, tips="freihand")[:, 0]
    assert (
        gap.mean() < 0.5e-3
        and np.abs(gap.mean(axis=1) - built.samples.fit_error[:, 0]).max() < 1e-5
    )


def test_mano_of_another_convention_is_refused(tmp_path, hands):
    """Parameters relative to the flat hand, called FreiHAND: the joints do not agree."""
    content = fixture.write(tmp_path / "set", hands)["mano"]
    theta = np.array(content)
    theta[:, 0, :48] = hands.pose[:, 0].reshape(N, 48)
    (tmp_path / "set/training_mano.json").write_text(json.dumps(theta.tolist()))
    with pytest.raises(DataError, match=r"parameters lie .* mm, read as relative to the mean"):
        build("freihand", tmp_path / "set", tmp_path, mano=True)
