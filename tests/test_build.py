"""`twohand build` as a user calls it: a file in, a verified dataset out, else one clear line."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fixtures_mocap import named, write_csv, write_trc

from twohand500k.cli.main import main, twohand
from twohand500k.conventions import N_BETAS
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.ik import BuildOptions, build_takes
from twohand500k.shards import Dataset
from twohand500k.sources import read_takes

FRAMES = 60


@pytest.fixture(scope="module")
def hands() -> HandPair:
    return load_hands("open")


@pytest.fixture(scope="module")
def truth(hands: HandPair) -> dict[str, np.ndarray]:
    """A two-hand take on the open hand: fingers curling and spreading, wrists turning."""
    rng = np.random.default_rng(5)
    time = np.linspace(0, 2 * np.pi, FRAMES)
    betas = rng.normal(0, 0.7, N_BETAS)
    out = {key: [] for key in ("pose", "transl", "joints")}
    for side in range(2):
        anatomy = Anatomy.of(hands[side])
        lo, hi = anatomy.limits[..., 0], anatomy.limits[..., 1]
        phase = rng.uniform(0, 2 * np.pi, (15, 3))
        wave = 0.5 + 0.35 * np.sin(time[:, None, None] + phase)
        start = np.array([0.4, -0.3, 0.2]) * (1 if side == 0 else -1)
        turn = matrix_from_axis_angle(0.6 * np.sin(time)[:, None] * np.array([0.3, 0.8, -0.2]))
        orientation = axis_angle_from_matrix(turn @ matrix_from_axis_angle(start))
        pose = anatomy.pose_from_angles(lo + wave * (hi - lo), orientation)
        transl = np.array([0.0, 1.0, 0.12 * (1 - 2 * side)]) + 0.05 * np.sin(time)[:, None]
        posed = hands[side].with_shape(betas).with_pose(pose, transl)
        for key, value in (("pose", pose), ("transl", transl), ("joints", posed.joints)):
            out[key].append(value)
    return {key: np.stack(value, axis=1) for key, value in out.items()}


def _twohand(*arguments: object) -> Result:
    return CliRunner().invoke(twohand, [str(a) for a in arguments], standalone_mode=False)


def _build(recording: Path, out: Path, *more: object) -> Result:
    return _twohand("build", "--source", "mocap", "--input", recording, "--out", out,
                    "--workers", 1, "-q", *more)  # fmt: skip


def _status(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str]:
    """Exit status and stderr of the whole program."""
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return int(stopped.value.code or 0), capsys.readouterr().err


@pytest.fixture
def recording(tmp_path: Path, truth: dict[str, np.ndarray]) -> Path:
    return write_trc(tmp_path / "take.trc", named(1e3 * truth["joints"]), unit="mm")


def test_dataset_has_the_joints_of_the_recording(
    recording: Path, truth: dict[str, np.ndarray], hands: HandPair, tmp_path: Path
) -> None:
    result = _build(recording, tmp_path / "out", "--json")
    assert result.exception is None, result.output
    report = json.loads(result.stdout)
    assert report["run"]["n_kept"] == FRAMES
    samples = Dataset(tmp_path / "out").samples()
    assert np.abs(samples.joints - truth["joints"]).max() < 0.5e-3
    for side in range(2):
        posed = hands[side].with_shape(samples.betas[:, side])
        joints = posed.with_pose(samples.pose[:, side], samples.transl[:, side]).joints
        assert np.abs(joints - samples.joints[:, side]).max() < 1e-6
    assert (samples.limit_violation < np.radians(1)).all()
    assert samples.present.all() and not samples.side_ambiguous.any()
    assert _twohand("verify", tmp_path / "out", "--workers", 1).exception is None


def test_same_bytes_for_any_cut_into_units(recording: Path, tmp_path: Path) -> None:
    for name, size in (("whole", FRAMES), ("cut", 17)):
        assert _build(recording, tmp_path / name, "--shard-size", size).exception is None
        assert _build(recording, tmp_path / f"{name}-smooth", "--smooth",
                      "--shard-size", size).exception is None  # fmt: skip
    for kind in ("", "-smooth"):
        whole = Dataset(tmp_path / f"whole{kind}").samples()
        cut = Dataset(tmp_path / f"cut{kind}").samples()
        assert whole.pose.tobytes() == cut.pose.tobytes()
        assert whole.fit_error.tobytes() == cut.fit_error.tobytes()
    assert (
        Dataset(tmp_path / "cut").array("pose") != Dataset(tmp_path / "cut-smooth").array("pose")
    ).any()


def test_finished_build_is_left_alone_and_a_changed_option_named(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    arguments = ["build", "--source", "mocap", "--input", recording, "--out", out, "--workers", 1]
    assert _status(capsys, *arguments, "-q") == (0, "")
    before = {path.name: path.read_bytes() for path in out.glob("*.h5")}
    assert _status(capsys, *arguments, "-q")[0] == 0
    assert before == {path.name: path.read_bytes() for path in out.glob("*.h5")}
    status, said = _status(capsys, *arguments, "-q", "--every", 2)
    assert status == 1 and "every" in said and said.count("\n") == 1


def test_a_lost_hand_is_a_reject_or_an_absent_hand(
    truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    points = 1e3 * truth["joints"].copy()
    points[10:15, 1] = np.nan
    recording = write_csv(tmp_path / "take.csv", named(points))
    assert _build(recording, tmp_path / "both", "--unit", "mm").exception is None
    both = Dataset(tmp_path / "both")
    assert len(both) == FRAMES - 5
    assert {(r.reason, r.sample_id[-6:]) for r in both.rejects()} == {
        ("too_few_joints", f"{frame:06d}") for frame in range(10, 15)
    }
    assert _build(recording, tmp_path / "one", "--unit", "mm", "--one-hand").exception is None
    one = Dataset(tmp_path / "one").samples()
    assert len(one) == FRAMES
    assert one.present.sum() == 2 * FRAMES - 5
    assert np.isnan(one.pose[10:15, 1]).all() and np.isfinite(one.pose[10:15, 0]).all()


def test_a_take_of_the_other_side_stops_the_build(
    truth: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    swapped = write_trc(tmp_path / "take.trc", named(1e3 * truth["joints"][:, ::-1]), unit="mm")
    status, said = _status(capsys, "build", "--source", "mocap", "--input", swapped,
                           "--out", tmp_path / "out", "-q")  # fmt: skip
    assert status == 1 and "take" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "names"),
    [
        (["--input", "nowhere.trc"], 1, "nowhere.trc"),
        (["--input", "take.trc", "--map", "no-such-map"], 1, "no-such-map"),
        (["--input", "take.trc", "--unit", "m"], 1, "mm"),
        (["--input", "take.trc", "--hand-model", "no-such-folder"], 1, "no-such-folder"),
        (["--input", "take.trc", "--workers", "0"], 2, "--workers"),
        (["--input", "take.trc", "--side", "middle"], 2, "--side"),
        ([], 2, "--input"),
    ],
)
def test_misuse_and_bad_data_are_one_clear_line(
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    names: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, said = _status(capsys, "build", "--source", "mocap", "--out", "out", "-q", *arguments)
    assert (got, names in said) == (status, True), said
    if status == 1:
        assert said.count("\n") == 1
    assert not list(tmp_path.glob("out/*.h5"))


def test_a_full_disk_is_one_clear_line_and_resumes(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["build", "--source", "mocap", "--input", recording, "--workers", 1, "-q",
                 "--shard-size", 20]  # fmt: skip
    assert _status(capsys, *arguments, "--out", tmp_path / "whole")[0] == 0
    replace, calls = os.replace, [0]

    def full(source: str, target: str) -> None:
        calls[0] += 1
        if calls[0] > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        status, said = _status(capsys, *arguments, "--out", tmp_path / "out")
    assert status == 1 and "is full" in said and said.count("\n") == 1
    assert _status(capsys, *arguments, "--out", tmp_path / "out")[0] == 0
    for path in (tmp_path / "whole").glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_json_of_a_one_handed_take_is_json(truth: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.save(tmp_path / "right.npy", truth["joints"][:, 0])
    result = _build(tmp_path / "right.npy", tmp_path / "out", "--json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads(result.stdout, parse_constant=refuse)
    assert report["run"]["n_kept"] == FRAMES
    assert report["takes"][0]["sigma"][1] is None
    assert not Dataset(tmp_path / "out").array("present")[:, 1].any()
    assert _twohand("verify", tmp_path / "out", "--workers", 1).exception is None


def test_a_dataset_declares_the_frame_of_its_takes(
    recording: Path, hands: HandPair, tmp_path: Path
) -> None:
    (take,) = read_takes([recording])
    camera = replace(take, name="other", frame="camera")
    build_takes([camera], hands, tmp_path / "camera", progress=False)
    assert Dataset(tmp_path / "camera").conventions["frame"] == "camera"
    with pytest.raises(DataError, match=r"camera, world"):
        build_takes([take, camera], hands, tmp_path / "both", progress=False)


def test_a_dry_run_says_what_is_wrong_with_a_take(
    truth: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    order = [0, *(1 + 4 * finger + joint for finger in range(5) for joint in (3, 2, 1, 0))]
    points = named(1e3 * truth["joints"][:, :, order])
    points["right_wrist"] = np.full((FRAMES, 3), np.nan)
    recording = write_trc(tmp_path / "take.trc", points, unit="mm")
    status, said = _status(capsys, "build", "--source", "mocap", "--input", recording,
                           "--out", tmp_path / "out", "--dry-run")  # fmt: skip
    assert status == 0
    assert "never seen of the right hand: wrist" in said
    assert "left hands are refused before a fit: tip_to_base" in said
    assert "Warning" not in said


def test_times_that_stand_still_are_no_times(
    truth: dict[str, np.ndarray], hands: HandPair, tmp_path: Path
) -> None:
    (take,) = read_takes([write_trc(tmp_path / "take.trc", named(1e3 * truth["joints"]))])
    options, said = BuildOptions(smooth=True), []
    still = replace(take, timestamps=np.zeros(FRAMES))
    unknown = replace(take, timestamps=np.full(FRAMES, np.nan))
    build_takes([still], hands, tmp_path / "still", options, progress=False, log=said.append)
    build_takes([unknown], hands, tmp_path / "unknown", options, progress=False)
    assert any("times do not increase" in line for line in said)
    a, b = (Dataset(tmp_path / name).samples() for name in ("still", "unknown"))
    assert a.pose.tobytes() == b.pose.tobytes() and np.isnan(a.timestamp).all()


def test_dry_run_writes_nothing(recording: Path, tmp_path: Path) -> None:
    result = _build(recording, tmp_path / "out", "--dry-run")
    assert result.exception is None and f"{FRAMES} frames" in result.stdout
    assert not (tmp_path / "out").exists()
