"""Crashes: a run killed at any moment, resumed, is byte for byte an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shards_fixture import build, dataset_bytes, synthetic_hands

from twohand500k.shards.verify import verify

HERE = Path(__file__).parent
UNITS = 4


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("reference") / "out"
    build(folder, units=UNITS)
    return dataset_bytes(folder)


def start(out: Path, workers: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "shards_fixture.py", str(out), str(UNITS), str(workers)],
        cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def killed_at_operation(out: Path, number: int) -> bool:
    """Build in a forked child that SIGKILLs itself right before its `number`-th fsync, rename or
    unlink. False if it was through before."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(operation):  # type: ignore[no-untyped-def]
            def call(*args, **kwargs):  # type: ignore[no-untyped-def]
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return operation(*args, **kwargs)

            return call

        os.fsync, os.replace, os.unlink = map(counted, (os.fsync, os.replace, os.unlink))
        try:
            build(out, units=UNITS)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_between_any_two_file_operations(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    number = 0
    while True:
        number += 1
        out = tmp_path / f"killed{number}"
        if not killed_at_operation(out, number):
            break
        finished = (out / "index.json").exists()
        if finished:
            # A finished dataset is whole, however its process ended.
            assert all(f.passed for f in verify(out, synthetic_hands()))
        build(out, units=UNITS)
        assert dataset_bytes(out) == reference, f"killed before file operation {number}"
        assert not list(out.rglob(".*.tmp")) and not list(out.rglob("*.running"))
    assert number > 35


def test_killed_again_and_again(tmp_path: Path, reference: dict[str, bytes]) -> None:
    """Each attempt dies a little later than the last one; what was done is not done again."""
    out, attempts = tmp_path / "out", 0
    while killed_at_operation(out, 27):
        attempts += 1
        assert attempts < 20
    assert attempts >= 2 and dataset_bytes(out) == reference


def test_killed_at_random_moments_with_workers(tmp_path: Path, reference: dict[str, bytes]) -> None:
    """SIGKILL of the parent alone: its orphaned workers must not write into the resumed run."""
    rng = random.Random(0)
    out = tmp_path / "out"
    for _ in range(4):
        process = start(out, workers=2)
        time.sleep(rng.uniform(0.4, 1.6))
        process.kill()
        process.communicate()
    build(out, units=UNITS)
    assert dataset_bytes(out) == reference
    time.sleep(0.3)
    assert dataset_bytes(out) == reference


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_from_outside(
    tmp_path: Path, reference: dict[str, bytes], number: signal.Signals, workers: int
) -> None:
    out = tmp_path / "out"
    process = start(out, workers)
    deadline = time.monotonic() + 20
    while not list(out.glob(".work/unit-*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    text = stderr.decode()
    # It may have been through already; else it says how to go on.
    assert "resume with: twohand build" in text or (out / "index.json").exists(), text
    assert not list(out.rglob(".*.tmp")) and not (out / ".work" / "lock").exists()
    build(out, units=UNITS)
    assert dataset_bytes(out) == reference
