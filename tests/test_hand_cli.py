"""`twohand hand`: what is printed, files converted, a dataset moved to another model and back."""

import json
from pathlib import Path

import mano_fixture as fixture
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.hand import HandModel, HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.measure import measure
from twohand500k.shards import (
    Dataset,
    Index,
    Samples,
    conventions_for,
    write_index,
    write_shard,
)
from twohand500k.shards.verify import verify


def call(*arguments: object) -> Result:
    # One process unless the test asks for more: starting others takes seconds.
    one = {} if "--workers" in arguments else {"TWOHAND_HAND_CONVERT_WORKERS": "1"}
    return CliRunner(env=one).invoke(
        twohand, ["hand", *map(str, arguments)], auto_envvar_prefix="TWOHAND"
    )


def good(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def hands() -> HandPair:
    return load_hands("open")


@pytest.fixture(scope="module")
def other(hands: HandPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with another model of the same topology."""
    folder = tmp_path_factory.mktemp("other")
    right = fixture.perturbed(hands.right)
    right.save(folder / "MANO_RIGHT.npz")
    right.mirrored().save(folder / "MANO_LEFT.npz")
    return folder


# Two subjects in three shards; the second one stands in two of them, some hands are absent.
SUBJECTS = ((0, 0, 0), (0, 1, 1), (1, 1, 1, 1))


@pytest.fixture(scope="module")
def dataset(hands: HandPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    betas_of = rng.normal(size=(2, 10)).astype(np.float32).astype(float)
    conventions = conventions_for(hands)
    entries = []
    for number, subjects in enumerate(SUBJECTS):
        n = len(subjects)
        present = np.ones((n, 2), dtype=bool)
        present[0, number % 2] = False
        pose, betas = np.full((n, 2, 16, 3), np.nan), np.full((n, 2, 10), np.nan)
        transl, joints = np.full((n, 2, 3), np.nan), np.full((n, 2, 21, 3), np.nan)
        excess = np.full((n, 2), np.nan)
        for row, side in np.argwhere(present):
            anatomy = Anatomy.of(hands[side])
            angles = 0.7 * rng.uniform(anatomy.limits[..., 0], anatomy.limits[..., 1])
            pose[row, side] = anatomy.pose_from_angles(angles, rng.normal(size=3))
            betas[row, side] = betas_of[subjects[row]]
            transl[row, side] = 0.2 * rng.normal(size=3)
            excess[row, side] = 0.0
        pose, transl = (a.astype(np.float32).astype(float) for a in (pose, transl))
        for row, side in np.argwhere(present):
            shaped = hands[side].with_shape(betas[row, side])
            joints[row, side] = shaped.with_pose(pose[row, side], transl[row, side]).joints
        samples = Samples(
            sample_id=np.array([f"s{number}-{row}" for row in range(n)]),
            pose=pose,
            betas=betas,
            transl=transl,
            joints=joints,
            present=present,
            limit_violation=excess,
            fit_error=np.where(present, 0.001, np.nan),
            contact_distance=np.zeros(n),
            contact_realised=np.full((n, 2), "palm"),
            source=np.full(n, "synthetic"),
            subject=np.array([f"subject{s}" for s in subjects]),
            take=np.full(n, "take"),
        )
        entries.append(write_shard(folder / f"shard-{number:05d}.h5", samples, conventions))
    counts = {"synthetic": {"kept": sum(map(len, SUBJECTS)), "rejected": 0}}
    record = {"stage": "build", "version": "0", "seed": 0, "options": {}, "inputs": {}}
    write_index(folder, Index(tuple(entries), counts, conventions, (record,)))
    return folder


def skins(model: HandModel, samples: Samples, side: int) -> np.ndarray:
    rows = samples.present[:, side]
    shaped = model.with_shape(samples.betas[rows, side])
    return shaped.with_pose(samples.pose[rows, side], samples.transl[rows, side]).vertices


def test_show_prints_what_the_model_is(hands: HandPair) -> None:
    page = good("show")
    for word in (hands.right.sha256, hands.left.sha256, "778 vertices", "1552 closed", "index1"):
        assert word in page
    facts = json.loads(good("show", "--json"))
    assert facts["sha256"]["right"] == hands.right.sha256
    assert facts["tip_vertex_ids"]["thumb"] == 744
    assert facts["limits_deg"]["index1"]["flexion"][1] > 60
    assert 150 < facts["length_mm"] < 220 and 200 < facts["volume_cm3"] < 500
    grown = measure(hands.right, np.eye(10)[0])
    np.testing.assert_allclose(
        facts["change_per_beta"][0]["length_mm"], grown.length_mm - facts["length_mm"]
    )


def test_measures_are_the_same_on_both_sides_and_scale(hands: HandPair) -> None:
    right, left = measure(hands.right), measure(hands.left)
    np.testing.assert_allclose(right.bones_mm, left.bones_mm)
    for name in ("length_mm", "breadth_mm", "thickness_mm", "volume_cm3"):
        np.testing.assert_allclose(getattr(right, name), getattr(left, name))
    joints = hands.right.with_shape().with_pose().joints
    np.testing.assert_allclose(right.bones_mm[1, 1], 1e3 * np.linalg.norm(joints[6] - joints[5]))
    assert right.thickness_mm < right.breadth_mm < right.length_mm


def test_convert_model_files(tmp_path: Path) -> None:
    pair = fixture.random_pair(1)
    folder = fixture.write_mano_folder(tmp_path / "in", pair)
    out = good("convert", folder, "--out", tmp_path / "out")
    assert pair.right.sha256 in out and pair.left.sha256 in out and "issue 48" in out
    converted = load_hands(tmp_path / "out")
    assert converted.sha256 == pair.sha256
    assert converted.left.notes == load_hands(folder).left.notes
    np.testing.assert_array_equal(converted.right.hands_coeffs, pair.right.hands_coeffs)
    written = json.loads(
        good("convert", folder, "--out", tmp_path / "raw", "--left-shapedirs", "as is", "--json")
    )
    raw = load_hands(tmp_path / "raw", left_shapedirs="as is")
    assert written[1]["sha256"] == raw.left.sha256 != pair.left.sha256


def test_convert_misuse_and_faults(tmp_path: Path, dataset: Path, other: Path) -> None:
    for arguments in (
        ("convert", "--out", tmp_path / "x"),
        ("convert", other, "--data", dataset, "--to", other, "--out", tmp_path / "x"),
        ("convert", "--data", dataset, "--out", tmp_path / "x"),
        ("convert", other, "--to", "open", "--out", tmp_path / "x"),
        ("render", "--out", tmp_path / "x.png", "--pose", "wave"),
        ("render", "--out", tmp_path / "x.png", "--betas", "1,two"),
    ):
        assert call(*arguments).exit_code == 2, arguments
    for arguments, words in (
        (("convert", tmp_path / "none", "--out", tmp_path / "x"), "no such folder"),
        (("convert", "--data", dataset, "--to", "open", "--out", tmp_path / "x"), "already"),
        (
            ("convert", "--data", dataset, "--hand-model", other, "--to", "open",
             "--out", tmp_path / "x"),
            "was made on",
        ),
        (("show", "--hand-model", tmp_path), "MANO_RIGHT"),
        (("convert", other, "--out", other / "MANO_LEFT.npz" / "x"), "cannot write"),
        (("render", "--pose", "flat", "--size", 32, "--out", other / "MANO_LEFT.npz" / "x.png"),
         "cannot write"),
    ):  # fmt: skip
        fault = call(*arguments).exception
        assert isinstance(fault, DataError) and words in str(fault), fault
        assert "\n" not in str(fault)


def test_dataset_moves_there_and_back(
    tmp_path: Path, dataset: Path, hands: HandPair, other: Path
) -> None:
    target = load_hands(other)
    there = tmp_path / "there"
    out = good("convert", "--data", dataset, "--to", other, "--out", there)
    assert "10 of 10 samples" in out and "mm" in out
    assert all(finding.passed for finding in verify(there, target))
    before, after = Dataset(dataset).samples(), Dataset(there).samples()
    np.testing.assert_array_equal(after.sample_id, before.sample_id)
    np.testing.assert_array_equal(after.present, before.present)
    for side in (0, 1):
        old, new = skins(hands[side], before, side), skins(target[side], after, side)
        assert np.linalg.norm(new - old, axis=-1).mean(axis=1).max() < 1e-3
    # What was judged or fitted on the old skin is not known on the new one.
    assert np.isnan(after.contact_distance).all() and np.isnan(after.fit_error).all()
    assert (after.contact_realised == "").all()
    assert np.isfinite(after.limit_violation[after.present]).all()
    # A subject keeps one shape, in every shard and on both sides.
    for subject in ("subject0", "subject1"):
        rows = after.subject == subject
        shapes = after.betas[rows][after.present[rows]]
        assert len(np.unique(shapes, axis=0)) == 1
    stages = [record["stage"] for record in Dataset(there).index.history]
    assert stages == ["build", "hand-convert"]
    good("convert", "--data", there, "--hand-model", other, "--to", "open", "--out", tmp_path / "b")
    back = Dataset(tmp_path / "b").samples()
    for side in (0, 1):
        error = np.linalg.norm(
            skins(hands[side], back, side) - skins(hands[side], before, side), axis=-1
        )
        assert error.mean() < 1e-4 and error.max() < 1e-3


def test_workers_change_no_byte_and_a_second_call_changes_nothing(
    tmp_path: Path, dataset: Path, other: Path
) -> None:
    for workers in (1, 2):
        good("convert", "--data", dataset, "--to", other, "--out", tmp_path / str(workers),
             "--workers", workers)  # fmt: skip
    names = sorted(p.name for p in (tmp_path / "1").glob("*.h5"))
    assert len(names) == 3
    for name in [*names, "index.json", "rejects.jsonl"]:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
    stamp = (tmp_path / "1" / "index.json").stat().st_mtime_ns
    good("convert", "--data", dataset, "--to", other, "--out", tmp_path / "1")
    assert (tmp_path / "1" / "index.json").stat().st_mtime_ns == stamp


def test_a_skin_too_far_away_is_refused(tmp_path: Path, dataset: Path, other: Path) -> None:
    def convert(out: str, *more: object) -> dict:
        base = ("convert", "--data", dataset, "--to", other, "--out", tmp_path / out, "--json")
        return json.loads(good(*base, *more))

    residual = convert("all")["stats"]["summaries"]["residual_mean_m"]
    assert 0 < residual["smallest"] < residual["largest"] < 1e-3
    some = convert("some", "--max-residual-mm", 999 * residual["largest"])
    assert some["rejected"] == {"refit_residual": 1} and some["kept"] == 9
    (reject,) = Dataset(tmp_path / "some").rejects()
    assert f"{1e3 * residual['largest']:.2f} mm" in reject.detail
    none = convert("none", "--max-residual-mm", 999 * residual["smallest"])
    assert none["rejected"] == {"refit_residual": 10} and none["kept"] == 0


def test_render_draws_poses(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros((2, 16, 3)))
    path = tmp_path / "hand.png"
    out = good(
        "render", "--out", path, "--pose", "fist", "--pose", tmp_path / "mine.npy",
        "--size", 64, "--side", "left", "--betas", "1,-1",
    )  # fmt: skip
    assert out.strip() == str(path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[0] > 3 * 64 and picture.shape[1] > 3 * 64
    assert (picture.min(axis=2) < 200).mean() > 0.1
    np.save(tmp_path / "bad.npy", np.full((16, 3), np.nan))
    fault = call("render", "--out", path, "--pose", tmp_path / "bad.npy").exception
    assert isinstance(fault, DataError) and "NaN" in str(fault)
