"""RHD: its pickle read back, its faults, and the confusions that bent hands backwards elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.rhd import write_rhd, xyz_of

from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.ik import build_takes
from twohand500k.shards import Dataset
from twohand500k.sources import Take
from twohand500k.sources.datasets import Choice, read_dataset

IMAGES = 30


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(IMAGES, seed=1, one_shape=False)


def _read(folder: Path, **choice) -> dict[str, Take]:
    return {take.name: take for take in read_dataset("rhd", [folder], Choice(**choice))}


def test_joints_come_back_each_hand_by_itself(hands: PosedHands, tmp_path: Path) -> None:
    write_rhd(tmp_path, hands, "training", first_id=7)
    write_rhd(tmp_path, hands, "evaluation")
    takes = _read(tmp_path)
    assert list(takes) == ["training-right", "training-left", "evaluation-right", "evaluation-left"]
    for name, take in takes.items():
        side = int(name.endswith("left"))
        assert take.sides.tolist() == [side == 0, side == 1]
        assert take.recorded.sum(axis=1).tolist() == [1] * IMAGES
        assert np.abs(take.points[:, side] - hands.joints[:, side]).max() < 1e-6
        assert np.isnan(take.points[:, 1 - side]).all()
        assert take.split == ("train" if name.startswith("training") else "test")
        assert take.frame == "camera" and take.shape == "frame" and take.subject == ""
        assert not (take.faults != "").any() and len(take.files[0].sha256) == 64
    assert takes["training-left"].frames.tolist() == list(range(7, 7 + IMAGES))


def test_choice(hands: PosedHands, tmp_path: Path) -> None:
    write_rhd(tmp_path, hands, "evaluation")
    write_rhd(tmp_path, hands, "training")
    assert set(_read(tmp_path, splits=("evaluation",))) == {"evaluation-right", "evaluation-left"}
    some, all_ = _read(tmp_path, most=4), _read(tmp_path, subset="single")
    for name, take in some.items():
        assert take.points.tobytes() == all_[name].rows(slice(0, 4)).points.tobytes()
    with pytest.raises(DataError, match="no interacting frames of rhd"):
        _read(tmp_path, subset="interacting")
    with pytest.raises(DataError, match="has training, evaluation; there is no split 'val'"):
        _read(tmp_path, splits=("val",))


def test_one_corrupt_image_costs_itself(hands: PosedHands, tmp_path: Path) -> None:
    good = np.zeros((42, 3), np.float32)
    lost = xyz_of(hands.joints[4])
    lost[30, 1] = np.nan  # a right hand's joint
    broken = {
        1: {"uv_vis": good, "K": np.eye(3)},
        2: {"xyz": good[:21]},
        3: {"xyz": "nothing"},
        4: {"xyz": lost},
        5: None,
    }
    write_rhd(tmp_path, hands, broken=broken)
    takes = _read(tmp_path)
    right, left = takes["training-right"], takes["training-left"]
    assert np.flatnonzero(right.faults != "").tolist() == [1, 2, 3, 4, 5]
    assert np.flatnonzero(left.faults != "").tolist() == [1, 2, 3, 5]
    for row, said in ((1, "image 1 has no xyz"), (2, "(21, 3)"), (4, "right hand")):
        assert said in right.faults[row]
    whole = left.faults == ""
    assert np.abs(left.points[whole, 1] - hands.joints[whole, 1])[1:].max() < 1e-6


def test_what_is_not_rhd_is_one_line(hands: PosedHands, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no training/anno_training.pickle.*informatik"):
        _read(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        _read(tmp_path / "nowhere")
    path = write_rhd(tmp_path, hands) / "training" / "anno_training.pickle"
    with pytest.raises(DataError, match=r"has no evaluation/anno_evaluation.pickle"):
        _read(tmp_path, splits=("training", "evaluation"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole pickle"):
        _read(tmp_path)
    path.write_bytes(b"\x80\x02cos\nsystem\n(U\x04trueR.")
    with pytest.raises(DataError, match=r"refused: .*os\.system"):
        _read(tmp_path)
    path.write_bytes(b"\x80\x02}(U\x04nameU\x04textu.")
    with pytest.raises(DataError, match="no image numbers"):
        _read(tmp_path)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_right_data_passes_and_confused_images_do_not(noise: float, tmp_path: Path) -> None:
    """The defect of the published set, in some images of a good one. `benchmarks/rhd_gates.py` has
    thousands."""
    n = 200
    rng = np.random.default_rng(int(1e4 * noise))
    joints = random_hands(n, seed=2, one_shape=False).joints
    joints = joints + rng.normal(size=joints.shape) * noise
    order, swap = rng.random((2, n)) < 0.15
    faulty = order | swap
    write_rhd(tmp_path / "rhd", joints, base_to_tip=order, swapped=swap)
    takes = read_dataset("rhd", [tmp_path / "rhd"])
    report = build_takes(takes, load_hands("open"), tmp_path / "out", progress=False)
    dataset = Dataset(tmp_path / "out")
    samples = dataset.samples()
    assert not faulty[samples.frame].any()
    # With noise and a shape for each hand, a last joint at its limit is now and then said to be
    # past it: 1 of 6,000 hands in the benchmark. Without noise none is.
    good = 2 * (~faulty).sum()
    assert report.run.n_kept == good if not noise else report.run.n_kept >= 0.99 * good
    assert samples.limit_violation[samples.present].max() < np.radians(20)
    number = {int(r.sample_id[-6:]): r.reason for r in dataset.rejects()}
    called = {(reason, bool(order[k])) for k, reason in number.items() if faulty[k]}
    assert called == {("tip_to_base", True), ("mirrored", False)}
    truth = joints[samples.frame, samples.present.argmax(axis=1)]
    fitted = samples.joints[samples.present]
    assert np.linalg.norm(fitted - truth, axis=-1).mean() < max(0.1e-3, 1.1 * noise)
    assert samples.present.sum(axis=1).tolist() == [1] * len(samples)
    assert set(samples.split) == {"train"}


@pytest.mark.parametrize("fault", ["order", "swap", "both"])
def test_a_set_that_is_confused_throughout_is_refused(
    fault: str, hands: PosedHands, tmp_path: Path
) -> None:
    every = np.ones(IMAGES, bool)
    write_rhd(
        tmp_path / "rhd",
        hands,
        base_to_tip=every if fault != "swap" else None,
        swapped=every if fault != "order" else None,
    )
    said = "fit only a left hand" if fault == "swap" else "tip_to_base"
    with pytest.raises(DataError, match=said):
        build_takes(
            read_dataset("rhd", [tmp_path / "rhd"]),
            load_hands("open"),
            tmp_path / "out",
            progress=False,
        )
    assert not list((tmp_path / "out").glob("*.h5"))
