"""A Dask cluster: the same bytes, whoever joins late, dies, restarts or does not fit."""

import json
import pickle
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra [distributed] is not installed")

from click.testing import CliRunner
from cluster_fixture import SlowStage, TestCluster, go, go_on, running_cluster, start_client
from shards_fixture import DrawStage, build, dataset_bytes, some_units, synthetic_hands

from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.pipeline import cluster as cluster_module
from twohand500k.pipeline import run
from twohand500k.pipeline.cluster import dask_cluster
from twohand500k.pipeline.cluster_worker import Errand, Sealed, WorkerFacts, differences
from twohand500k.pipeline.session import adopt_sessions
from twohand500k.pipeline.worker import Job, do_unit
from twohand500k.shards import conventions_for

UNITS = 6


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of an undisturbed run in one process."""
    folder = tmp_path_factory.mktemp("reference") / "out"
    build(folder, units=UNITS)
    return dataset_bytes(folder)


@pytest.fixture(scope="module")
def two_workers() -> Iterator[TestCluster]:
    with running_cluster(workers=2) as cluster:
        yield cluster


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def begun(notes: Path) -> list[Path]:
    return [path for path in notes.iterdir() if not path.name.startswith("loaded")]


def work_files(out: Path) -> set[str]:
    return {path.name for path in (out / ".work").iterdir()}


DONE = {"plan.json", "sessions.json", *(f"unit-0000{i}.json" for i in range(UNITS))}


# The same bytes


def test_the_same_bytes_and_the_stage_read_once_by_each_worker(
    tmp_path: Path,
    notes: Path,
    two_workers: TestCluster,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent, waiting = [], []
    call = cluster_module._Work._call

    def counted(work, address, what, function, *args):  # type: ignore[no-untyped-def]
        sent.append(len(pickle.dumps(args)))
        waiting.append(len(work.client.futures))
        return call(work, address, what, function, *args)

    monkeypatch.setattr(cluster_module._Work, "_call", counted)
    monkeypatch.chdir(tmp_path)
    stage = SlowStage(0.05, notes, ballast=bytes(5_000_000))
    go(stage, Path("out"), str(two_workers.scheduler_file), max_units_per_worker=1)
    assert dataset_bytes(tmp_path / "out") == reference
    assert work_files(tmp_path / "out") == DONE
    loaded = [path.name.split("-")[1] for path in notes.glob("loaded-*")]
    assert len(loaded) == len(set(loaded)) <= 2
    # Two answers may be on their way while the next unit is handed out.
    assert max(sent) < 5_000 and max(waiting) <= 4


def test_a_large_unit_goes_through_the_folder(
    tmp_path: Path,
    notes: Path,
    two_workers: TestCluster,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_module, "_LARGE_BYTES", 10)
    go(SlowStage(0.0, notes), tmp_path / "out", two_workers.address)
    assert dataset_bytes(tmp_path / "out") == reference and work_files(tmp_path / "out") == DONE


def test_any_call_runs_there_too(two_workers: TestCluster) -> None:
    with dask_cluster(two_workers.address) as executor:
        assert executor.submit(divmod, 7, 2).result(timeout=10) == (3, 1)


# Lost workers


def test_killed_and_late_workers_change_nothing(
    tmp_path: Path, notes: Path, reference: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """The only worker is killed in its unit, twice; others join later."""

    def disturb(cluster: TestCluster) -> None:
        for count in (1, 2):
            wait_for(lambda: len(begun(notes)) > count)  # noqa: B023
            cluster.kill(cluster.workers[-1])
            cluster.add_worker()
        cluster.add_worker()

    with running_cluster() as cluster:
        cluster.add_worker()
        disturber = threading.Thread(target=disturb, args=[cluster])
        disturber.start()
        with dask_cluster(cluster.address) as executor:
            go_on(executor, SlowStage(0.4, notes), tmp_path / "out", progress=True)
            told = executor.told()
        disturber.join()
    assert dataset_bytes(tmp_path / "out") == reference and work_files(tmp_path / "out") == DONE
    assert 1 <= told["units_done_again"] <= 2 == told["workers_lost"]
    assert 3 <= told["workers"] <= 4
    assert "and unit 'take0 frames" in capsys.readouterr().err


def test_a_unit_that_ends_worker_after_worker_is_named(
    tmp_path: Path, notes: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under nannies, which start a worker again; the rest is done all the same."""
    monkeypatch.setattr(cluster_module, "_LOSSES_ALONE", 3)
    with running_cluster() as cluster:
        cluster.add_worker(nanny=True)
        cluster.add_worker()
        message = (
            "build: unit 'take1 frames 120-159' lost its worker 3 times, and no other worker was "
            "lost.*memory.*resume with: twohand build"
        )
        cluster_stage = SlowStage(0.0, notes, fault="kill")
        more = [cluster.add_worker() for _ in range(2)]
        assert more
        with pytest.raises(DataError, match=message):
            go(cluster_stage, tmp_path / "out", cluster.address)
    tmp_path /= "out"
    assert len(list(tmp_path.glob(".work/unit-*.json"))) == UNITS - 1
    assert run(
        DrawStage(), some_units(UNITS), tmp_path, name="build", options={"noise": 2.0},
        hands=synthetic_hands(), progress=False,
    ).reused == UNITS - 1  # fmt: skip
    assert dataset_bytes(tmp_path) == reference


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("data", DataError, "build, unit 'take1 frames 120-159': take1.bvh is cut short"),
        ("bug", ZeroDivisionError, "a bug in the stage"),
    ],
)
def test_a_fault_names_its_unit_and_keeps_the_rest(
    tmp_path: Path,
    notes: Path,
    two_workers: TestCluster,
    fault: str,
    kind: type[Exception],
    message: str,
) -> None:
    with pytest.raises(kind, match=message) as raised:
        go(SlowStage(0.1, notes, fault), tmp_path / "out", two_workers.address)
    told = " ".join(getattr(raised.value, "__notes__", [str(raised.value)]))
    assert "take1 frames 120-159" in told and "resume with" not in str(raised.value)
    # Two workers: what the other one had in hand was finished and kept.
    assert work_files(tmp_path / "out") >= {"unit-00000.json", "unit-00001.json", "unit-00002.json"}
    assert not list((tmp_path / "out" / ".work").glob("session-*"))


# The client, the scheduler


def test_a_client_killed_and_restarted(
    tmp_path: Path, notes: Path, two_workers: TestCluster, reference: dict[str, bytes]
) -> None:
    """kill -9 in the midst of two units, which the workers go on with."""
    out, stage = tmp_path / "out", SlowStage(0.7, notes)
    first = start_client(out, two_workers.address, stage)
    wait_for(lambda: len(begun(notes)) >= 4)
    first.kill()
    first.communicate()
    summary = go(SlowStage(0.0, notes), out, two_workers.address)
    assert 2 <= summary.reused < UNITS
    assert dataset_bytes(out) == reference and work_files(out) == DONE
    time.sleep(0.8)
    assert dataset_bytes(out) == reference and work_files(out) == DONE


def test_a_worker_of_a_killed_client_touches_nothing_of_another_run(
    tmp_path: Path, notes: Path, two_workers: TestCluster
) -> None:
    """The folder was removed and begun anew with another seed, while workers still computed."""
    out = tmp_path / "out"
    first = start_client(out, two_workers.address, SlowStage(1.0, notes))
    wait_for(lambda: len(begun(notes)) >= 2)
    first.kill()
    first.communicate()
    shutil.rmtree(out)
    other = {"stage": DrawStage(1), "units": some_units(UNITS), "name": "build"}
    options = {"options": {}, "hands": synthetic_hands(), "progress": False}
    run(**other, out=out, **options)  # type: ignore[arg-type]
    done = dataset_bytes(out)
    wait_for(lambda: all(path.name.count("-") == 3 for path in begun(notes)))
    time.sleep(0.3)
    assert dataset_bytes(out) == done and work_files(out) == DONE


def test_ctrl_c_cancels_and_says_how_to_go_on(
    tmp_path: Path, notes: Path, two_workers: TestCluster, reference: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    process = start_client(out, two_workers.address, SlowStage(0.4, notes))
    wait_for(lambda: list(out.glob(".work/unit-*.json")))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert b"units done; resume with: twohand build" in stderr
    assert not list(out.glob(".work/session-*")) and not (out / ".work" / "lock").exists()
    time.sleep(0.5)
    assert len(begun(notes)) < UNITS
    go(SlowStage(0.0, notes), out, two_workers.address)
    assert dataset_bytes(out) == reference


def test_what_workers_finished_for_a_dead_client_is_taken_over(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """Whatever stands in a session's folder is checked like any marker."""
    build(tmp_path, units=UNITS)
    for path in [*tmp_path.iterdir(), *tmp_path.glob(".work/unit-*")]:
        if path.is_file():
            path.unlink()
    config = json.loads((tmp_path / ".work" / "plan.json").read_text())["config_sha256"]
    session = tmp_path / ".work" / "session-of-somebody"
    (session / ".work").mkdir(parents=True)
    conventions = conventions_for(synthetic_hands(), "world")
    for number, unit in enumerate(some_units(UNITS)[:5]):
        config_of = config if number != 4 else "another configuration"
        do_unit(DrawStage(), Job(number, unit, session, conventions, config_of))
    (session / "shard-00001.h5").write_bytes(b"cut short")
    # Killed between the two moves: the shard is in its place, its marker is not.
    (session / "shard-00003.h5").rename(tmp_path / "shard-00003.h5")
    assert build(tmp_path, units=UNITS).reused == 3
    assert dataset_bytes(tmp_path) == reference and work_files(tmp_path) == DONE
    adopt_sessions(tmp_path)
    assert dataset_bytes(tmp_path) == reference and work_files(tmp_path) == DONE


def test_a_scheduler_that_is_gone_is_one_line(
    tmp_path: Path,
    notes: Path,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(cluster_module, "_CONNECT_S", 2.0)
    out = tmp_path / "out"
    with running_cluster(workers=1) as cluster:
        assert cluster.scheduler is not None

        def disturb() -> None:
            wait_for(lambda: list(out.glob(".work/unit-*.json")))
            cluster.kill(cluster.scheduler)  # type: ignore[arg-type]

        disturber = threading.Thread(target=disturb)
        disturber.start()
        message = f"build: the scheduler at {cluster.address} is gone.*resume with: twohand build"
        with pytest.raises(DataError, match=message) as raised:
            go(SlowStage(0.3, notes), out, cluster.address)
        disturber.join()
        assert "\n" not in str(raised.value)
        with pytest.raises(DataError, match=f"no Dask scheduler answers at {cluster.address}"):
            go(SlowStage(0.3, notes), out, cluster.address)
    build(out, units=UNITS)
    assert dataset_bytes(out) == reference


# Workers that do not fit


def test_a_worker_that_does_not_fit_is_left_out_by_name(
    tmp_path: Path, notes: Path, reference: dict[str, bytes]
) -> None:
    """Nobody fits: refused. Somebody joins who does: done without the others."""
    with running_cluster() as cluster:
        cluster.add_worker(TWOHAND_TEST_VERSIONS='{"numpy": "9.9", "scipy": "1.0"}')
        message = (
            r"no worker of the scheduler at tcp:.* can do this work: worker tcp://127\.0\.0\.1:\d+:"
            r" numpy is 9\.9 there and 2\.1 here; scipy is 1\.0 there and not installed here"
        )
        with pytest.raises(DataError, match=message):
            go(SlowStage(0.0, notes), tmp_path / "out", cluster.address)
        cluster.add_worker(threads=3)
        with dask_cluster(cluster.address) as executor:
            wait_for(lambda: len(executor._client.nthreads()) == 2)
            cluster.add_worker(TWOHAND_TEST_BLIND="1")
            go_on(executor, SlowStage(0.6, notes), tmp_path / "out")
            told = executor.told()
    assert dataset_bytes(tmp_path / "out") == reference
    assert told["workers"] == 1 and len(told["left_out"]) == 2
    assert any(f"does not see {tmp_path / 'out'}" in why for why in told["left_out"].values())
    assert len({path.name.split("-")[1] for path in begun(notes)}) == 1


def test_what_differs_is_named_with_both_values(tmp_path: Path) -> None:
    stage = Sealed(tmp_path, "ab")
    errand = Errand(tmp_path / "out/.work/session-1", "t", stage, {"python": "3.11.9", "code": "1"})
    assert not differences(WorkerFacts({"python": "3.11.9", "code": "1"}, "t", "zen4"), errand)
    found = differences(WorkerFacts({"python": "3.11.4", "code": "2"}, "other", "zen4"), errand)
    assert found[0] == "python is 3.11.4 there and 3.11.9 here"
    assert found[1] == "code (a hash of the toolkit's own files) is 2 there and 1 here"
    assert found[2].startswith(f"it sees another folder under {tmp_path / 'out'}")


def test_threads_of_a_worker_do_one_unit_at_a_time(
    tmp_path: Path, notes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two runs share a worker of three threads: stages are not thread-safe."""
    with running_cluster() as cluster:
        cluster.add_worker(threads=3)
        runs = [
            threading.Thread(
                target=go, args=[SlowStage(0.1, notes), tmp_path / name, cluster.address, 3],
                kwargs={"progress": True},
            )
            for name in ("a", "b")
        ]  # fmt: skip
        for one in runs:
            one.start()
        for one in runs:
            one.join()
    spans = sorted(tuple(map(int, path.name.split("-")[2:])) for path in begun(notes))
    assert len(spans) == 6
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert dataset_bytes(tmp_path / "a") == dataset_bytes(tmp_path / "b")
    assert "2 of them stand idle: start it with `dask worker … --nworkers 3" in (
        capfd.readouterr().err
    )


# The command line


@pytest.mark.parametrize("command", ["build", "splice", "physics-fix", "select", "make"])
def test_dask_without_a_scheduler_is_misuse_with_the_remedy(command: str) -> None:
    given = {
        "build": ["--source", "synthetic", "--count", "1", "--out", "x"],
        "splice": ["--count", "1", "--out", "x"],
        "physics-fix": ["--input", "x", "--out", "y"],
        "select": ["x", "--out", "y"],
        "make": ["demo"],
    }[command]
    said = CliRunner().invoke(twohand, [command, *given, "--executor", "dask"])
    assert said.exit_code == 2 and "start `dask scheduler`" in said.output
    said = CliRunner().invoke(twohand, [command, *given, "--scheduler", "tcp://h:1"])
    assert said.exit_code == 2 and "works with --executor dask only" in said.output


def test_a_scheduler_that_is_none_and_dask_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"neither an address .* nor a scheduler file"):
        go(SlowStage(0.0, tmp_path), tmp_path, str(tmp_path / "scheduler.json"))
    (tmp_path / "scheduler.json").write_text("{}")
    with pytest.raises(DataError, match="is no scheduler file, it names no address"):
        go(SlowStage(0.0, tmp_path), tmp_path, str(tmp_path / "scheduler.json"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DataError, match=r'pip install "twohand500k\[distributed\]"'):
        go(SlowStage(0.0, tmp_path), tmp_path, "tcp://127.0.0.1:1")
