"""Compiling ahead: the kernels of later stages, while earlier ones work.

numba compiles a stage's kernels when they are first called and keeps them on the disk, half a
minute or so for each of splice and repair. On a fresh machine `make` lets a process beside it call
them on a handful of hands at once; a step waits for its own. Where they lie on the disk already
that takes seconds, and where it fails the stage compiles them itself.

    python -m twohand500k.recipe.warm splice|repair
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from twohand500k.hand import load_hands
from twohand500k.ik import build_takes
from twohand500k.physics.repair import PairInput, Repairer
from twohand500k.sources import synthetic_takes
from twohand500k.splice import SpliceOptions, plan_splice, splice_pairs

_STAGES: Final = {"splice": "splice", "physics-fix": "repair"}


class CompilingAhead:
    """Processes that compile; `wait(stage)` until a stage's kernels are there."""

    def __init__(self, processes: dict[str, "subprocess.Popen[bytes]"]) -> None:
        self._processes = processes

    def wait(self, stage: str) -> None:
        process = self._processes.pop(stage, None)
        if process is not None:
            process.wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


@contextlib.contextmanager
def compiling_ahead(stages: Iterable[str]) -> Iterator[CompilingAhead]:
    """Compile for the stages ("splice", "physics-fix") of which there are kernels, beside."""
    command = [sys.executable, "-m", "twohand500k.recipe.warm"]
    ahead = CompilingAhead(
        {
            stage: subprocess.Popen(
                [*command, _STAGES[stage]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for stage in dict.fromkeys(stages)
            if stage in _STAGES
        }
    )
    try:
        yield ahead
    finally:
        ahead.stop()


def _compile_splice() -> None:
    hands = load_hands("open")
    with TemporaryDirectory() as folder:
        bank = Path(folder) / "bank"
        build_takes(synthetic_takes(60, 0, hands), hands, bank, progress=False)
        options = SpliceOptions(count=16)
        plan = plan_splice([bank], hands, options)
        splice_pairs(plan, Path(folder) / "pairs", options, progress=False)


def _compile_repair() -> None:
    hands = load_hands("open")
    rng = np.random.default_rng(0)
    with Repairer(hands) as repairer:
        for apart in (0.02, 0.03, 0.08):
            pose = rng.normal(scale=0.1, size=(2, 16, 3))
            transl = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, apart]])
            pair = PairInput(pose=pose, betas=np.zeros((2, 10)), transl=transl)
            repairer.repair(pair, rng)


if __name__ == "__main__":
    {"splice": _compile_splice, "repair": _compile_repair}[sys.argv[1]]()
