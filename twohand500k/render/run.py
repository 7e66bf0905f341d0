"""`render`: a finished dataset in, a dataset of pictures of it out.

Plans the work units (slices of shards) and hands them to the pipeline. Everything that can change
the result is in `RenderOptions` or in the input's own hashes.
"""

from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.pipeline import RunSummary, run
from twohand500k.pipeline.progress import Shown
from twohand500k.pipeline.worker import Stage
from twohand500k.render.picture import PictureOptions
from twohand500k.render.stage import FRAME, RenderStage
from twohand500k.shards import Dataset
from twohand500k.shards.slices import Slice, require_hand_model, require_no_pictures, slices

STAGE = "render"
# Pictures per work unit: some ten seconds' work, 50 MB before it is compressed.
SHARD_SIZE = 256


@dataclass(frozen=True)
class RenderOptions:
    """Options that change the result.

    views: pictures of each sample. occluded: share of pictures with things before the hands.
    upright: share in which arms come from below or the sides, not from anywhere. ego: share seen by
    the person's own eyes. limit: only the first so many samples. shard_size: pictures per shard; it
    changes the files, never a picture.
    """

    views: int = 1
    occluded: float = PictureOptions.occluded
    upright: float = PictureOptions.upright
    ego: float = PictureOptions.ego
    limit: int | None = None
    shard_size: int = SHARD_SIZE


@dataclass(frozen=True, eq=False)
class RenderPlan:
    """A run ready to go. options: what `run.json` keeps of how the pictures were made."""

    dataset: Dataset
    stage: Stage
    units: tuple[Any, ...]
    pictures: int
    options: dict[str, Any]
    hands: HandPair
    seed: int


def plan_render(
    folder: Path, hands: HandPair, options: RenderOptions = RenderOptions(), seed: int = 0
) -> RenderPlan:
    """Open the dataset and cut it into work units.

    Raises DataError if it is none, is empty, was made on other hand models, or holds pictures
    itself.
    """
    dataset = open_to_picture(folder, hands)
    units: tuple[Slice, ...] = slices(
        dataset, max(1, options.shard_size // options.views), options.limit
    )
    stage = RenderStage(
        # A worker of a cluster stands in another folder than this process.
        folder=dataset.path.absolute(),
        hands=hands,
        options=PictureOptions(options.occluded, options.upright, options.ego),
        views=options.views,
        seed=seed,
    )
    n = sum(len(unit.rows) for unit in units)
    return RenderPlan(dataset, stage, units, options.views * n, asdict(options), hands, seed)


def open_to_picture(folder: Path, hands: HandPair) -> Dataset:
    """The dataset to be pictured. Raises DataError as `plan_render`."""
    dataset = Dataset(folder)
    require_hand_model(dataset, hands)
    if not len(dataset):
        raise DataError(f"{folder} holds no samples: every one was rejected, nothing to picture")
    require_no_pictures(dataset)
    return dataset


def render(
    plan: RenderPlan,
    out: Path,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Shown = True,
    command: str | None = None,
) -> RunSummary:
    """Run a plan into `out`; an unfinished one is resumed. workers, executor: as `pipeline.run`."""
    return run(
        plan.stage,
        plan.units,
        out,
        name=STAGE,
        options=plan.options,
        hands=plan.hands,
        seed=plan.seed,
        frame=FRAME,
        history=plan.dataset.index.history,
        workers=workers,
        executor=executor,
        progress=progress,
        command=command,
    )
