"""The demo's take: contacts, poses within limits, a sensor that loses points, C3D and score."""

import json
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import ezc3d
import numpy as np
import pytest
from click.testing import CliRunner
from manifold3d import Manifold, Mesh
from PIL import Image

from twohand500k.cli.main import twohand
from twohand500k.conventions import JOINT_NAMES, MANO_CARRIER
from twohand500k.demo import DemoTake, Sensor, make_take
from twohand500k.demo.choreography import KEYS, Key, pose_of
from twohand500k.demo.posing import Body, Touch, settle
from twohand500k.demo.score import fitted_frames, moments, score
from twohand500k.demo.sensor import labels, measure, write_c3d
from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.mesh import closed_faces
from twohand500k.hand.rotations import mirror_points
from twohand500k.pipeline import UnitResult, run
from twohand500k.shards import Samples
from twohand500k.shards.reader import Dataset
from twohand500k.sources.recordings.reader import read_takes

# A clap and an interlock, both in and out: what the whole take is made of, in a fifth of the time.
SHORT = tuple(
    replace(key, time=time)
    for key, time in zip(
        [key for key in KEYS if key.phase == "clap"][:3]
        + [key for key in KEYS if key.phase == "interlock"][:4],
        (0.0, 0.25, 0.6, 1.2, 1.7, 2.1, 2.6),
        strict=True,
    )
)


@cache
def take() -> DemoTake:
    return make_take(load_hands("open"), seed=3, keys=SHORT)


@cache
def body() -> Body:
    return Body(load_hands("open"), np.array([0.6, -0.4, 0.3, 0, 0, 0, 0, 0, 0, 0.0]))


# --- geometry


def test_the_left_hand_of_a_symmetric_pose_mirrors_the_right():
    key = next(key for key in KEYS if key.right == key.left)
    joints = body().joints(pose_of(key))
    np.testing.assert_allclose(joints[1], mirror_points(joints[0]), atol=1e-9)


# --- settling


@pytest.mark.parametrize("phase", ["clap", "steeple", "interlock", "clasp", "pinch"])
def test_settled_contacts_touch_and_do_not_overlap(phase):
    keys = [key for key in KEYS if key.phase == phase]
    if phase == "interlock":  # nothing is told to touch there: fingers go where there is room
        key = max(keys, key=lambda key: sum(key.right.pip))
    else:
        key = next(key for key in keys if key.touches)
    posed = settle(body(), pose_of(key), key.touches)
    gaps = body().gaps(body().joints(posed))
    assert gaps.min() > -0.0025
    for touch in key.touches:
        assert abs(gaps[touch.right - 1, touch.left - 1] - touch.gap) < 0.005
    if phase == "interlock":
        assert gaps.min() < 0.001, "laced fingers touch"
    assert Anatomy.of(body().hands.right).limit_excess(posed.angles).max() < 1e-9


def test_settling_parts_two_hands_put_into_one_another():
    flat = next(key for key in KEYS if key.phase == "clap" and key.touches)
    into = replace(flat.right, wrist=(0.004, 0.0, 0.0))
    posed = pose_of(Key(0, "", into, into))
    assert body().gaps(body().joints(posed)).min() < -0.015
    apart = body().gaps(body().joints(settle(body(), posed)))
    assert apart.min() > -0.002
    touching = settle(body(), posed, [Touch(9, 9)])
    assert abs(body().gaps(body().joints(touching))[8, 8]) < 0.002


# --- the take


def test_the_same_seed_gives_the_same_take_and_another_seed_another():
    again = make_take(load_hands("open"), seed=3, keys=SHORT[:3])
    once = make_take(load_hands("open"), seed=3, keys=SHORT[:3])
    other = make_take(load_hands("open"), seed=4, keys=SHORT[:3])
    for name in ("betas", "pose", "transl", "joints", "points", "gap"):
        np.testing.assert_array_equal(getattr(again, name), getattr(once, name))
    assert np.abs(once.betas - other.betas).max() > 0.1
    assert np.abs(once.joints - other.joints).max() > 0.005


def test_the_take_is_close_contact_without_overlap_within_the_limits():
    hands = load_hands("open")
    assert len(take().joints) == round(2.6 * take().fps) + 1
    assert (take().gap < 0.001).sum() > 100, "hands hardly touch"
    assert take().gap.min() > -0.005, "flesh overlaps"
    for side in (0, 1):
        anatomy = Anatomy.of(hands[side])
        angles = anatomy.angles_from_pose(take().pose[:, side])
        assert anatomy.limit_excess(angles).max() < 1e-6
        again = (
            hands[side]
            .with_shape(take().betas)
            .with_pose(take().pose[:, side], take().transl[:, side])
        )
        np.testing.assert_allclose(again.joints, take().joints[:, side], atol=1e-12)
    speed = np.linalg.norm(np.diff(take().joints, axis=0), axis=-1) * take().fps
    assert 0.2 < speed.max() < 4.0
    jump = np.linalg.norm(np.diff(take().joints, 2, axis=0), axis=-1) * take().fps ** 2
    assert jump.max() < 60, "the motion is not smooth"
    assert np.abs(take().betas).max() > 0.3, "the subject has the template's shape"


def test_the_skins_share_next_to_no_volume():
    """The exact intersection of the closed skins, which no capsule knows about."""
    hands = load_hands("open")
    shared = []
    for row in range(0, len(take().joints), 12):
        solids = []
        for side in (0, 1):
            posed = hands[side].with_shape(take().betas)
            posed = posed.with_pose(take().pose[row, side], take().transl[row, side])
            vertices = 100 * (posed.vertices - take().joints[row, 0, 0])  # cm
            faces = closed_faces(hands[side].faces).astype(np.uint32)
            solids.append(Manifold(Mesh(vertices.astype(np.float32), faces)))
        assert all(solid.volume() > 150 for solid in solids), "a skin is not a closed solid"
        shared.append((solids[0] ^ solids[1]).volume())
    assert max(shared) < 3.0 and np.median(shared) < 0.5, "cm3"
    assert max(shared) > 0, "the hands never touch"


def test_every_phase_of_the_whole_choreography_is_reachable_in_order():
    times = [key.time for key in KEYS]
    assert times == sorted(set(times)) and 10 <= times[-1] <= 20
    assert {key.phase for key in KEYS} == {"rest", "clap", "steeple", "interlock", "clasp", "pinch"}


# --- the sensor


def test_the_sensor_has_the_noise_it_says_and_loses_whole_points():
    rng = np.random.default_rng(5)
    joints = np.zeros((4000, 2, 21, 3))
    joints[:, 1] = 0.3
    points = measure(joints, 120.0, Sensor(noise=0.0008, hand_losses=0), rng)
    error = (points - joints)[np.isfinite(points)]
    assert error.std() == pytest.approx(0.0008, rel=0.02) and abs(error.mean()) < 1e-5
    lost = np.isnan(points)
    assert np.array_equal(lost.any(axis=-1), lost.all(axis=-1)), "a point is seen or it is not"
    assert 0.005 < lost.mean() < 0.03


def test_hidden_points_are_lost_more_often_and_whole_hands_now_and_then():
    joints = np.zeros((3000, 2, 21, 3))
    joints[:, 1, :, 0] = np.where(np.arange(3000) < 1500, 0.3, 0.01)[:, None]
    points = measure(joints, 120.0, Sensor(hand_losses=0), np.random.default_rng(6))
    lost = np.isnan(points).any(axis=-1)
    assert lost[1500:].mean() > 3 * lost[:1450].mean()
    blinded = measure(joints, 120.0, Sensor(hand_losses=3), np.random.default_rng(6))
    assert 3 <= np.isnan(blinded).all(axis=(2, 3)).sum() <= 3 * 31


def test_the_c3d_file_says_millimetres_names_rate_and_gaps(tmp_path):
    path = tmp_path / "take.c3d"
    write_c3d(path, take().points, take().fps)
    assert [p.name for p in tmp_path.iterdir()] == ["take.c3d"]
    file = ezc3d.c3d(str(path))
    point = file["parameters"]["POINT"]
    assert point["UNITS"]["value"] == ["mm"] and point["RATE"]["value"][0] == 120.0
    assert tuple(point["LABELS"]["value"]) == labels()
    assert labels()[0] == "right_wrist" and labels()[21 + 4] == f"left_{JOINT_NAMES[4]}"
    stored = file["data"]["points"][:3].transpose(2, 1, 0).reshape(-1, 2, 21, 3) / 1e3
    np.testing.assert_allclose(stored, take().points, atol=1e-6)


def test_the_toolkit_reads_the_take_back_and_truth_npz_round_trips(tmp_path):
    recording, truth = take().write(tmp_path)
    (read,) = read_takes([recording])
    assert read.unit.how == "file" and read.sides.all()
    assert [mark.joint for mark in read.landmarks] == list(range(21))
    np.testing.assert_allclose(read.points, take().points, atol=1e-6)
    stored = DemoTake.read(truth)
    assert stored.phase == take().phase and stored.seed == 3 and stored.fps == 120.0
    np.testing.assert_allclose(stored.joints, take().joints, atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["take.c3d", "truth.npz"]


# --- the score


@dataclass(frozen=True)
class _Given:
    """A unit of a stage that returns ready-made samples."""

    samples: Samples
    name: str = "given"
    inputs: dict[str, str] = field(default_factory=dict)


def _give(unit: _Given) -> UnitResult:
    return UnitResult(unit.samples, (), n_in=len(unit.samples.sample_id))


def _dataset(folder: Path, off: float = 0.0, first: int = 1, worst: int = -1) -> Dataset:
    """The take's truth as a dataset, every joint `off` metres beside it, hands lost left out."""
    known = take()
    seen = np.isfinite(known.points).any(axis=(-1, -2))
    rows = np.flatnonzero(seen.all(axis=1))
    n = len(rows)
    samples = Samples(
        sample_id=np.array([f"truth/{row:06d}" for row in rows]),
        pose=known.pose[rows],
        betas=np.broadcast_to(known.betas, (n, 2, 10)),
        transl=known.transl[rows],
        joints=known.joints[rows] + np.array([0, 0, off]),
        present=np.ones((n, 2), dtype=bool),
        source=np.full(n, "demo"),
        take=np.full(n, "take"),
        frame=rows + first,
        fit_error=np.where(rows[:, None] == worst, 0.002, 0.001) * np.ones((n, 2)),
    )
    hands = load_hands("open")
    run(_give, [_Given(samples)], folder, name="build", options={}, hands=hands, progress=False)
    return Dataset(folder)


def test_the_score_of_the_truth_is_zero_and_of_an_offset_that_offset(tmp_path):
    exact = score(_dataset(tmp_path / "a"), take())
    assert exact.error_seen_mean_mm < 1e-3 and exact.error_hidden_mean_mm < 1e-3
    assert exact.noise_mean_mm == pytest.approx(0.7 * np.sqrt(8 / np.pi), rel=0.03)
    assert exact.hidden_joints > 50
    assert exact.residual_median_mm == pytest.approx(1.0, rel=1e-5)
    assert exact.hands_kept == 2 * exact.interactions_kept <= exact.hands_recorded
    off = score(_dataset(tmp_path / "b", off=0.002), take())
    assert off.error_seen_mean_mm == pytest.approx(2.0, rel=1e-3)
    assert off.error_hidden_p95_mm == pytest.approx(2.0, rel=1e-3)


def test_a_dataset_of_another_recording_is_refused(tmp_path):
    with pytest.raises(DataError, match="another recording"):
        score(_dataset(tmp_path, first=100), take())


def test_the_picture_shows_the_tightest_moment_of_every_phase(tmp_path):
    worst = round(1.2 * take().fps)  # between the clap and the interlock
    dataset = _dataset(tmp_path, worst=worst)
    assert worst in dataset.array("frame") - 1
    chosen = moments(dataset, take())
    frames = fitted_frames(dataset, take(), chosen)
    assert frames.pose.shape == (len(chosen), 2, 16, 3) and frames.present.all()
    row = dataset.array("frame", list(chosen)) - 1
    assert list(row) == sorted(row)
    assert [why for why in chosen.values() if "largest residual" in why] == [
        f"{take().phase[worst]}, largest residual"
    ]
    for why, gap, k in zip(chosen.values(), take().gap[row], row, strict=True):
        assert why.startswith(take().phase[k])
        if "largest" not in why:
            assert gap < 0.002, "the hands do not touch"
    offset = np.linalg.norm(frames.points - take().joints[row], axis=-1)
    assert np.nanmax(offset) < 0.005, "points and fits are of different frames"
    assert len(MANO_CARRIER) == frames.points.shape[2]


# --- the command


@pytest.fixture
def demo_cli(monkeypatch):
    """`twohand demo` on the short take."""
    from twohand500k.cli import demo as module

    monkeypatch.setattr(module, "make_take", lambda hands, seed: make_take(hands, seed, keys=SHORT))
    monkeypatch.setattr(module, "_TILE", (100, 90))

    def call(*arguments):
        result = CliRunner().invoke(module.demo, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return call


def test_the_demo_builds_verifies_scores_and_draws_and_runs_again(demo_cli, tmp_path):
    out = tmp_path / "demo"
    facts = json.loads(demo_cli("--out", out, "--seed", 3, "--json", "--quiet").stdout)
    assert {p.name for p in out.iterdir()} == {
        "take", "dataset", "demo.json", "demo.png", "next.txt",
    }  # fmt: skip
    assert facts["verify"]["checks_passed"] > 5 and not facts["take"]["reused"]
    result = facts["score"]
    assert result["frames"] == len(take().joints)
    assert set(result["rejects"]) == {"too_few_joints"}, "only a hand that was lost is refused"
    assert result["interactions_kept"] + sum(result["rejects"].values()) == result["frames"]
    assert result["hands_kept"] > 0.8 * result["hands_recorded"]
    assert result["error_seen_mean_mm"] < result["noise_mean_mm"], "the fit is no better than noise"
    assert result["residual_median_mm"] < 2.0
    assert np.asarray(Image.open(out / "demo.png").convert("RGB")).std() > 20

    again = json.loads(demo_cli("--out", out, "--seed", 3, "--json", "--quiet").stdout)
    assert again["take"]["reused"] and again["build"]["reused"]
    assert {**again["score"], "seconds": None} == {**result, "seconds": None}
    assert again["build"]["interactions_per_s"] == facts["build"]["interactions_per_s"]

    table = demo_cli("--out", out, "--seed", 3).stdout
    assert f"{result['error_seen_mean_mm']:.2f} mm from the truth" in table
    with pytest.raises(DataError, match="seed 3, asked for 4"):
        demo_cli("--out", out, "--seed", 4)


def test_a_damaged_take_is_made_again(tmp_path, monkeypatch):
    from twohand500k.cli import demo as module

    monkeypatch.setattr(
        module, "make_take", lambda hands, seed: make_take(hands, seed, keys=SHORT[:3])
    )
    shared = module.Demo(tmp_path, 3, "open", talks=False)
    assert not module._make_take(shared)["reused"] and module._make_take(shared)["reused"]
    recording = tmp_path / "take" / "take.c3d"
    whole = recording.read_bytes()
    recording.write_bytes(whole[:1000])
    assert not module._make_take(shared)["reused"]
    assert recording.read_bytes() == whole


def test_an_output_below_a_file_is_one_clear_line_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="not a folder"):
        CliRunner().invoke(
            twohand, ["demo", "--out", str(tmp_path / "file" / "x")], standalone_mode=False,
            catch_exceptions=False,
        )  # fmt: skip
