"""`physics_fix`: a finished dataset in, the same dataset without overlap out.

Plans the work units (slices of shards, or windows of takes) and hands them to the pipeline.
Everything that can change the result is in `PhysicsFixOptions` or in the input's own hashes.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.physics.repair import Repairer, RepairOptions
from twohand500k.physics.stage import MakeRepairer, PhysicsFixStage
from twohand500k.physics.windows import RUN_IN, WINDOW, RepairUnit, one_by_one, takes_in_order
from twohand500k.pipeline import RunSummary, run
from twohand500k.pipeline.progress import Shown
from twohand500k.shards import Dataset
from twohand500k.shards.slices import require_hand_model, require_no_pictures

STAGE = "physics-fix"
# Samples per work unit: half a minute's work, so a bar moves and a kill loses little.
SHARD_SIZE = 512
# A worker is replaced after so many units, some 16,000 pairs: a physics engine's memory may creep.
_UNITS_PER_WORKER = 32


@dataclass(frozen=True)
class PhysicsFixOptions:
    """Options that change the result.

    method: "guided" by Bullet's contacts, or the paper's plain "sampling". effort: "fast" takes
    fewer steps and no restarts. smooth: each frame of a take begins where the frame before it was
    left. limit: only the first so many samples. shard_size: samples per work unit; it changes the
    files, never a sample.
    """

    method: Literal["guided", "sampling"] = "guided"
    effort: Literal["fast", "best"] = "best"
    smooth: bool = False
    limit: int | None = None
    shard_size: int = SHARD_SIZE


@dataclass(frozen=True, eq=False)
class PhysicsFixPlan:
    """A run ready to go."""

    dataset: Dataset
    stage: PhysicsFixStage
    units: tuple[RepairUnit, ...]

    @property
    def samples(self) -> int:
        """How many samples will be repaired or passed."""
        return sum(int(unit.written.sum()) for unit in self.units)


def plan_physics_fix(
    folder: Path,
    hands: HandPair,
    options: PhysicsFixOptions,
    seed: int = 0,
    make: MakeRepairer = Repairer,
) -> PhysicsFixPlan:
    """Open the dataset and cut it into work units.

    Raises DataError if it is none, was made on other hand models, holds pictures, is empty, or has
    no motion to keep smooth.
    """
    dataset = Dataset(folder)
    require_hand_model(dataset, hands)
    require_no_pictures(dataset)
    if not len(dataset):
        raise DataError(f"{folder} holds no samples: every one was rejected, nothing to repair")
    cut = takes_in_order if options.smooth else one_by_one
    stage = PhysicsFixStage(
        # A worker of a cluster stands in another folder than this process.
        folder=dataset.path.absolute(),
        frame=dataset.conventions["frame"],
        hands=hands,
        options=RepairOptions(options.method, options.effort),
        seed=seed,
        make=make,
    )
    return PhysicsFixPlan(dataset, stage, cut(dataset, options.shard_size, options.limit))


def physics_fix(
    plan: PhysicsFixPlan,
    out: Path,
    options: PhysicsFixOptions,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Shown = True,
    command: str | None = None,
) -> RunSummary:
    """Run a plan into `out`; an unfinished one is resumed. workers, executor: as `pipeline.run`."""
    recycled = len(plan.units) > workers * _UNITS_PER_WORKER
    return run(
        plan.stage,
        plan.units,
        out,
        name=STAGE,
        options={
            "method": options.method,
            "effort": options.effort,
            "smooth": {"window": WINDOW, "run_in": RUN_IN} if options.smooth else None,
            "limit": options.limit,
            "shard_size": options.shard_size,
        },
        hands=plan.stage.hands,
        seed=plan.stage.seed,
        frame=plan.stage.frame,
        history=plan.dataset.index.history,
        workers=workers,
        executor=executor,
        max_units_per_worker=_UNITS_PER_WORKER if recycled else None,
        progress=progress,
        command=command,
    )
