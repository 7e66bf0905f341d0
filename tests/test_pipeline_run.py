"""Runs: accounting, resuming, refusing, failing. Kills are in test_pipeline_crash.py."""

import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shards_fixture import (
    VERSIONS,
    DrawStage,
    Rows,
    build,
    dataset_bytes,
    make_samples,
    some_units,
    synthetic_hands,
)

from twohand500k.errors import DataError
from twohand500k.pipeline import RunSummary, Stats, Summary, UnitResult, rng_for, run, split_for
from twohand500k.pipeline.lock import FolderLock
from twohand500k.pipeline.provenance import git_revision, versions
from twohand500k.shards import SPLITS, Dataset, Reject
from twohand500k.shards.files import json_bytes, write_whole
from twohand500k.shards.verify import verify

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of an undisturbed run of five units in one process."""
    folder = tmp_path_factory.mktemp("reference") / "out"
    build(folder)
    return dataset_bytes(folder)


def go(stage: object, out: Path, units: int = 5, **options: object) -> object:
    """`run` with any stage."""
    return run(
        stage,  # type: ignore[arg-type]
        some_units(units),
        out,
        **{  # type: ignore[arg-type]
            "name": "build", "options": {"noise": 2.0}, "hands": synthetic_hands(),
            "progress": False, "command": "twohand build", **options,
        },
    )  # fmt: skip


# What a run leaves


def test_a_run_accounts_for_every_sample(tmp_path: Path) -> None:
    summary = build(tmp_path / "out")
    dataset = Dataset(tmp_path / "out")
    rejects = list(dataset.rejects())
    assert summary.n_in == 200 == len(dataset) + len(rejects)
    assert summary.rejected_per_reason == {"drawn": len(rejects)}
    assert dataset.index.counts == {
        "synthetic-test": {"kept": len(dataset), "rejected": len(rejects)}
    }
    assert [s.file for s in dataset.index.shards] == [f"shard-0000{i}.h5" for i in (0, 1, 3, 4)]
    assert dataset.run["counts"]["in"] == 200 and dataset.run["options"] == {"noise": 2.0}
    assert dataset.run["stats"]["summaries"]["frame"]["mean"] == pytest.approx(99.5)
    assert dataset.index.history[0]["stage"] == "build"
    ids = [*dataset.array("sample_id"), *(r.sample_id for r in rejects)]
    assert len(set(ids)) == 200
    assert all(f.passed for f in verify(tmp_path / "out", synthetic_hands()))
    left = {p.name for p in (tmp_path / "out" / ".work").iterdir()}
    assert left == {"plan.json", "sessions.json", *(f"unit-0000{i}.json" for i in range(5))}


def test_nothing_kept_is_still_a_dataset(tmp_path: Path) -> None:
    run(
        DrawStage(), [Rows("empty", 0, 7)], tmp_path, name="build", options={},
        hands=synthetic_hands(), progress=False,
    )  # fmt: skip
    dataset = Dataset(tmp_path)
    assert len(dataset) == 0 and len(list(dataset.rejects())) == 7
    with pytest.raises(DataError, match=r"every one was rejected.*rejects\.jsonl"):
        dataset.samples()
    assert all(f.passed for f in verify(tmp_path, synthetic_hands()))


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_do_not_change_a_byte(
    tmp_path: Path, reference: dict[str, bytes], workers: int
) -> None:
    build(tmp_path / "out", workers=workers)
    assert dataset_bytes(tmp_path / "out") == reference


def test_another_executor_and_fresh_processes_do_not_change_a_byte(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        build(tmp_path / "threads", executor=pool)
    build(tmp_path / "fresh", workers=2, max_units_per_worker=1)
    assert dataset_bytes(tmp_path / "threads") == reference
    assert dataset_bytes(tmp_path / "fresh") == reference


# Running again


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    first = build(tmp_path)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    second = build(tmp_path)
    assert not first.was_finished and second.was_finished
    assert (second.n_in, second.n_kept) == (first.n_in, first.n_kept)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == times


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_after_the_last_unit_only_the_end_is_left(
    tmp_path: Path, reference: dict[str, bytes], workers: int
) -> None:
    build(tmp_path)
    for name in ("index.json", "run.json", "rejects.jsonl"):
        (tmp_path / name).unlink()
    summary = build(tmp_path, workers=workers)
    assert summary.reused == 5 and not summary.was_finished
    assert dataset_bytes(tmp_path) == reference


@pytest.mark.parametrize("lost", ["rejects.jsonl", "run.json"])
def test_a_lost_record_of_a_finished_run_is_written_again(
    tmp_path: Path, reference: dict[str, bytes], lost: str
) -> None:
    build(tmp_path)
    counts = Dataset(tmp_path).run["counts"]
    (tmp_path / lost).unlink()
    summary = build(tmp_path)
    assert summary.reused == 5 and not summary.was_finished
    assert dataset_bytes(tmp_path) == reference
    assert Dataset(tmp_path).run["counts"] == counts
    assert all(f.passed for f in verify(tmp_path, synthetic_hands()))


def test_a_damaged_or_lost_shard_is_made_again(
    tmp_path: Path, reference: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path)
    content = bytearray((tmp_path / "shard-00001.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "shard-00001.h5").write_bytes(content)
    (tmp_path / "shard-00003.h5").unlink()
    (tmp_path / ".work" / "unit-00004.json").write_text("{ half a mark")
    (tmp_path / ".shard-00001.h5.123.tmp").write_bytes(b"left by a killed process")
    summary = build(tmp_path, progress=True)
    assert summary.reused == 2 and not summary.was_finished
    assert "shard-00001.h5 is not what its marker says" in capsys.readouterr().err
    assert dataset_bytes(tmp_path) == reference


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"noise": 3.0}}, r"the option noise = 2\.0, this command has 3\.0"),
        ({"options": {"noise": 2.0, "tips": True}}, r"tips = '\(nothing\)', this command has True"),
        ({"seed": 1}, "seed = 0, this command has 1"),
        ({"name": "splice"}, "stage = 'build', this command has 'splice'"),
        ({"frame": "camera"}, "frame = 'world', this command has 'camera'"),
        ({"hands": synthetic_hands(seed=1)}, "hand_model_left_sha256"),
        ({"units": 6}, "other work units"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_changed_option_is_refused_by_name_and_value(
    tmp_path: Path, change: dict, message: str, finished: bool
) -> None:
    build(tmp_path)
    if not finished:
        (tmp_path / "index.json").unlink()
    before = dataset_bytes(tmp_path)
    with pytest.raises(DataError, match=message):
        go(DrawStage(), tmp_path, **change)
    assert dataset_bytes(tmp_path) == before


def test_changed_inputs_are_refused_by_name(tmp_path: Path) -> None:
    build(tmp_path)
    units = [replace(u, inputs={"file": "cd" * 32}) for u in some_units(5)]
    with pytest.raises(DataError, match="the input file = 'abab"):
        run(DrawStage(), units, tmp_path, name="build", options={"noise": 2.0},
            hands=synthetic_hands(), progress=False)  # fmt: skip


def test_another_library_version_does_not_finish_a_run_but_may_look_at_a_finished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path)
    monkeypatch.setattr("twohand500k.pipeline.runner.versions", lambda: VERSIONS | {"numpy": "9.9"})
    assert build(tmp_path).was_finished
    (tmp_path / "shard-00001.h5").unlink()
    with pytest.raises(DataError, match=r"numpy = .*this command has '9\.9': finish it with"):
        build(tmp_path)
    assert (tmp_path / "index.json").exists()


def calibrated(calibration: str, file: str = "ab" * 32) -> list[Rows]:
    """Units as the build stage names their inputs: a take's file, and what was worked out of it."""
    inputs = {"cup1: calibration": calibration, "cup1: take.c3d": file}
    return [replace(unit, inputs=inputs) for unit in some_units(3)]


def build_calibrated(out: Path, *args: str, **options: object) -> RunSummary:
    return run(
        DrawStage(), calibrated(*args), out,
        **{  # type: ignore[arg-type]
            "name": "build", "options": {}, "hands": synthetic_hands(), "progress": False,
            **options,
        },
    )  # fmt: skip


@pytest.mark.parametrize("newer", [VERSIONS, VERSIONS | {"code": "2"}])
def test_a_calibration_that_came_out_differently_is_no_other_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newer: dict[str, str]
) -> None:
    """Another processor (the same versions) or other code: finished is finished, begun is refused
    for what it is."""
    build_calibrated(tmp_path, "old")
    before = dataset_bytes(tmp_path)
    monkeypatch.setattr("twohand500k.pipeline.runner.versions", lambda: newer)
    assert build_calibrated(tmp_path, "new").was_finished
    (tmp_path / "index.json").unlink()
    message = (
        r"another version: code = '\(nothing\)', this command has '2'"
        if newer != VERSIONS
        else "calibration of 'cup1'.*came out differently.*other code, another library or another"
    )
    with pytest.raises(DataError, match=message) as raised:
        build_calibrated(tmp_path, "new")
    assert "the input" not in str(raised.value) and "\n" not in str(raised.value)
    assert dataset_bytes(tmp_path) == {k: v for k, v in before.items() if k != "index.json"}
    monkeypatch.setattr("twohand500k.pipeline.runner.versions", lambda: VERSIONS)
    build_calibrated(tmp_path, "old")
    assert dataset_bytes(tmp_path) == before


@pytest.mark.parametrize("finished", [True, False])
def test_a_calibration_that_follows_a_change_is_not_blamed_for_it(
    tmp_path: Path, finished: bool
) -> None:
    build_calibrated(tmp_path, "old")
    if not finished:
        (tmp_path / "index.json").unlink()
    with pytest.raises(DataError, match=r"the input cup1: take\.c3d = 'abab.*has 'cdcd"):
        build_calibrated(tmp_path, "new", "cd" * 32)
    with pytest.raises(DataError, match="the convention hand_model_left_sha256"):
        build_calibrated(tmp_path, "new", hands=synthetic_hands(seed=1))


def test_a_lost_shard_of_another_calibration_is_not_made_again(tmp_path: Path) -> None:
    build_calibrated(tmp_path, "old")
    (tmp_path / "shard-00001.h5").unlink()
    with pytest.raises(DataError, match="calibration of 'cup1'"):
        build_calibrated(tmp_path, "new")
    assert (tmp_path / "index.json").exists() and (tmp_path / "shard-00000.h5").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match=r"already holds other files \(thesis"):
        build(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(DataError, match="is a file"):
        build(tmp_path / "thesis.tex")
    build(tmp_path / "copied")
    shutil.rmtree(tmp_path / "copied" / ".work")
    with pytest.raises(DataError, match=r"without its \.work"):
        build(tmp_path / "copied")
    assert len(Dataset(tmp_path / "copied")) > 0


# Faults


@dataclass(frozen=True)
class FaultyStage:
    """Does `fault` at the unit of frames 120-159, else what `DrawStage` does."""

    fault: str
    first: int = 120

    def __call__(self, unit: Rows) -> UnitResult:
        if unit.first == self.first:
            if self.fault == "bug":
                raise ZeroDivisionError("a bug in the stage")
            if self.fault == "data":
                raise DataError("take1.bvh is cut short")
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "lost":
                return UnitResult(None, (), 40)
            if self.fault == "not a result":
                return None  # type: ignore[return-value]
            if self.fault == "same ids":
                samples = make_samples(["synthetic-test/take0/000000"], "again")
                return UnitResult(samples, (), 1)
            if self.fault == "interrupt":
                raise KeyboardInterrupt
        return DrawStage()(unit)


@pytest.mark.parametrize(
    ("fault", "kind", "message", "workers"),
    [
        ("bug", ZeroDivisionError, "a bug in the stage", 1),
        ("bug", ZeroDivisionError, "a bug in the stage", 2),
        ("data", DataError, "build, unit 'take1 frames 120-159': take1.bvh is cut short", 1),
        ("data", DataError, "build, unit 'take1 frames 120-159': take1.bvh is cut short", 2),
        ("lost", ValueError, "not accounted for", 1),
        ("not a result", TypeError, "returns a UnitResult", 1),
    ],
)
def test_a_fault_names_its_unit_and_keeps_the_rest(
    tmp_path: Path,
    reference: dict[str, bytes],
    fault: str,
    kind: type[Exception],
    message: str,
    workers: int,
) -> None:
    with pytest.raises(kind, match=message) as raised:
        go(FaultyStage(fault), tmp_path, workers=workers)
    notes = " ".join(getattr(raised.value, "__notes__", [str(raised.value)]))
    assert "take1 frames 120-159" in notes
    assert not (tmp_path / "index.json").exists()
    summary = go(DrawStage(), tmp_path)
    assert summary.reused >= 3 if workers == 1 else summary.reused >= 1
    assert dataset_bytes(tmp_path) == reference


def test_a_worker_that_dies_is_laid_at_its_unit(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    message = "a worker process died.*SIGKILL.*in unit 'take1 frames 120-159'.*resume with"
    with pytest.raises(DataError, match=message):
        go(FaultyStage("kill"), tmp_path, workers=2)
    go(DrawStage(), tmp_path)
    assert dataset_bytes(tmp_path) == reference


def test_an_id_in_two_units_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"000000' comes twice, in shard-00000.h5 and shard-00003"):
        go(FaultyStage("same ids"), tmp_path)
    assert not (tmp_path / "index.json").exists()


def test_interrupt_says_how_to_resume(tmp_path: Path, reference: dict[str, bytes]) -> None:
    with pytest.raises(KeyboardInterrupt, match="3 of 5 units done; resume with: twohand build"):
        go(FaultyStage("interrupt"), tmp_path)
    assert go(DrawStage(), tmp_path).reused == 3
    assert dataset_bytes(tmp_path) == reference


def test_unit_result_accounts_for_ids() -> None:
    samples = make_samples(["a", "b"])
    with pytest.raises(ValueError, match="occurs twice"):
        UnitResult(samples, (Reject("b", "s", "r"),), 3)
    with pytest.raises(ValueError, match="not accounted for"):
        UnitResult(samples, (), 3)


# The disk


def test_a_disk_full_at_any_write_is_one_line_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room from the n-th fsync on, for every n: plan, shards, markers, index alike."""
    build(tmp_path / "reference", units=3)
    call, complete = 0, False
    while not complete:
        call += 1
        complete = _full_from(call, tmp_path / f"full{call}", monkeypatch)
        build(tmp_path / f"full{call}", units=3)
        assert dataset_bytes(tmp_path / f"full{call}") == dataset_bytes(tmp_path / "reference")
    assert call > 20


def _full_from(call: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Build until the `call`-th fsync finds the disk full; True if it never came to that."""
    real, count = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        try:
            build(out, units=3)
        except DataError as error:
            assert "the disk is full" in str(error) and "\n" not in str(error)
            assert not list(out.rglob(".*.tmp"))
            return False
    return count < call


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file/sub", "a part of the path is a file, not a folder; choose another --out"),
        ("dangling", "a part of the path is a file, not a folder"),
        ("n" * 300, "the name is too long; choose another --out"),
    ],
)
def test_a_place_where_no_folder_can_be_is_one_line(
    tmp_path: Path, place: str, message: str
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=message) as raised:
        build(tmp_path / place)
    assert "\n" not in str(raised.value) and "make room" not in str(raised.value)


def test_a_folder_removed_under_a_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder is not there"):
        write_whole(tmp_path / "gone" / "shard-00000.h5", b"x")


def test_a_file_size_limit_is_one_line_and_resumes(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """The operating system's own refusal, in workers, without any patch."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    out = tmp_path / "out"
    script = [sys.executable, "shards_fixture.py", str(out), "5", "2"]
    ended = subprocess.run(
        script, cwd=HERE, preexec_fn=limit, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "the file is larger than the file system or its limit allows" in ended.stderr
    assert not list(out.rglob(".*.tmp")) and not list(out.glob("*.h5"))
    build(out)
    assert dataset_bytes(out) == reference


# Lock


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".work").mkdir()
    with (
        FolderLock(tmp_path / ".work" / "lock"),
        pytest.raises(DataError, match=f"another run .process {os.getpid()} on "),
    ):
        build(tmp_path)
    assert build(tmp_path).n_in == 200


def test_a_lock_from_another_machine_counts_while_it_is_touched(tmp_path: Path) -> None:
    (tmp_path / ".work").mkdir()
    lock = tmp_path / ".work" / "lock"
    lock.write_text(json.dumps({"pid": 1, "host": socket.gethostname() + "-2", "since": "now"}))
    with pytest.raises(DataError, match="try again in"):
        build(tmp_path)
    os.utime(lock, (time.time() - 100,) * 2)
    assert build(tmp_path).n_in == 200


def test_a_lock_left_by_a_dead_process_of_this_machine_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".work").mkdir()
    owner = {"pid": os.getppid(), "host": socket.gethostname(), "since": "now"}
    (tmp_path / ".work" / "lock").write_text(json.dumps(owner))
    assert build(tmp_path).n_in == 200
    assert not (tmp_path / ".work" / "lock").exists()


@pytest.fixture
def as_on_windows(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """No flock, no pread and pwrite, and a file that is open anywhere cannot be removed.

    Returns the files that another program holds open.
    """
    held: set[Path] = set()
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        ours = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
        if path in held or str(path.resolve()) in ours:
            raise PermissionError(errno.EACCES, "in use", str(path))
        real(path, missing_ok)

    monkeypatch.setattr("twohand500k.pipeline.lock.fcntl", None)
    monkeypatch.delattr(os, "pread")
    monkeypatch.delattr(os, "pwrite")
    monkeypatch.setattr(Path, "unlink", unlink)
    return held


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="sees open files through /proc")
def test_the_lock_works_as_windows_wants_it(tmp_path: Path, as_on_windows: set[Path]) -> None:
    lock = tmp_path / "lock"
    for _ in range(2):
        with FolderLock(lock):
            assert json.loads(lock.read_text())["pid"] == os.getpid()
            with (
                pytest.raises(DataError, match=f"process {os.getpid()} on .* try again in"),
                FolderLock(lock),
            ):
                pass
        assert not lock.exists()
    # Somebody looks into the file just then: it stays, and keeps nobody out.
    as_on_windows.add(lock)
    for _ in range(2):
        with FolderLock(lock):
            pass
        assert lock.exists()


def test_the_lock_lets_one_thread_through_at_a_time(tmp_path: Path) -> None:
    inside, most, refused = 0, 0, 0
    guard = threading.Lock()

    def contend() -> None:
        nonlocal inside, most, refused
        for _ in range(40):
            try:
                with FolderLock(tmp_path / "lock"):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.0005)
                    with guard:
                        inside -= 1
            except DataError:
                with guard:
                    refused += 1

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and refused > 0


# Records


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=5), max_size=5))
@settings(max_examples=50, deadline=None)
def test_statistics_add_like_their_values(parts: list[list[float]]) -> None:
    added = sum((Stats({"n": len(p)}, {"x": Summary.of(p)}) for p in parts), Stats())
    values = np.array([v for p in parts for v in p])
    whole = Summary.of(values)
    assert added.counts.get("n", 0) == len(values)
    got = added.summaries.get("x", Summary())
    assert (got.n, got.smallest, got.largest) == (whole.n, whole.smallest, whole.largest)
    assert got.total == pytest.approx(whole.total, abs=1e-6)
    assert Stats.from_json(json.loads(json_bytes(added.to_json()))) == added


def test_summary_leaves_out_nan_and_says_null_of_nothing() -> None:
    assert Summary.of([np.nan, 2.0]).n == 1
    assert Summary.of([]).to_json()["mean"] is None


def test_randomness_belongs_to_seed_and_sample() -> None:
    draws = {
        (seed, name): rng_for(seed, name).random(4).tobytes()
        for seed in (0, 1)
        for name in ("a", "b", "1:a")
    }
    assert len(set(draws.values())) == 6
    assert rng_for(0, "a").random(4).tobytes() == draws[0, "a"]
    # A golden value: datasets of earlier versions must be reproducible.
    assert rng_for(0, "a").integers(1 << 30) == GOLDEN


GOLDEN = 432486961


def test_splits_come_in_their_shares_and_never_move() -> None:
    names = [f"subject-{i}" for i in range(4000)]
    splits = [split_for("source", name) for name in names]
    shares = [splits.count(split) / len(names) for split in SPLITS]
    assert np.allclose(shares, (0.8, 0.1, 0.1), atol=0.02)
    assert splits == [split_for("source", name) for name in names]
    assert split_for("s", "x", (1.0, 0.0, 0.0)) == "train"
    with pytest.raises(ValueError, match="sum to 1"):
        split_for("s", "x", (0.5, 0.1, 0.1))


def test_git_revision_is_of_the_checkout_or_nothing(tmp_path: Path) -> None:
    revision = git_revision()
    assert revision is None or len(revision.removesuffix("+changes")) == 40
    # An installed copy inside somebody else's repository does not take over its revision.
    copy = tmp_path / "lib" / "twohand500k"
    shutil.copytree(HERE.parent / "twohand500k", copy, ignore=shutil.ignore_patterns("*.npz"))
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    code = "from twohand500k.pipeline.provenance import git_revision; print(git_revision())"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "lib", capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "lib")}, timeout=60,
    )  # fmt: skip
    assert ended.stdout.strip() == "None", ended.stderr


def test_the_compiler_of_the_solver_is_among_the_versions() -> None:
    assert {"numba", "llvmlite"} <= set(versions())


def test_code_that_changed_is_another_version(tmp_path: Path) -> None:
    copy = tmp_path / "twohand500k"
    shutil.copytree(HERE.parent / "twohand500k", copy, ignore=shutil.ignore_patterns("*.npz"))
    code = "from twohand500k.pipeline.provenance import versions; print(versions()['code'])"

    def code_version() -> str:
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path)}, timeout=60,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    before = code_version()
    with (copy / "hand" / "rotations.py").open("a") as file:
        file.write("# changed\n")
    after = code_version()
    assert before != after == code_version()


def test_progress_is_plain_lines_off_a_terminal_and_silent_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path / "a", progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "build: 5 of 5 units, 141 kept, 59 rejected" in err and "\x1b" not in err
    build(tmp_path / "b", progress=False)
    assert capsys.readouterr() == ("", "")
