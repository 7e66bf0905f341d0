"""`select_samples`: datasets in, one dataset of what was chosen of them out, for `twohand select`.

`plan_select` reads the small fields of every dataset, decides which rows are taken, and holds the
datasets against each other: hand model, frame, optional groups, ids, splits. `select_samples` hands
the chosen rows to the pipeline, a shard a work unit. What is left out by choice is no reject: what
comes in is what was chosen, and what an input refused stays told in its own folder.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twohand500k.conventions import FRAMES, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.pipeline import RunSummary, rng_for, run
from twohand500k.pipeline.progress import Shown
from twohand500k.select.shares import counts_of
from twohand500k.select.stage import RIGHT_WRIST, Rows, SelectStage, SelectUnit
from twohand500k.select.where import Where, parse_where
from twohand500k.shards import SPLITS, Dataset
from twohand500k.shards.files import sha256_of_json
from twohand500k.shards.schema import OPTIONAL_GROUPS
from twohand500k.shards.slices import require_hand_model

Array = np.ndarray
Log = Callable[[str], None]
OnDuplicate = Literal["refuse", "first"]

STAGE = "select"
SHARD_SIZE = 4096


@dataclass(frozen=True)
class SelectOptions:
    """Options that change the result.

    where: the condition (`select.where`), empty for all. count: how many, drawn with the seed;
    None takes all, or with shares as many as keep them. shares: weight per dataset, by its folder's
    name; one not named is left out. fill: a dataset too small for its share is made up for by the
    others. splits: only these. frame: the result's frame of space; None keeps the inputs', or takes
    the right wrist where they differ. on_duplicate: what an id in two datasets means. drop:
    optional groups to leave away. shard_size: samples per shard; it changes the files only.
    """

    where: str = ""
    count: int | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    frame: str | None = None
    shard_size: int = SHARD_SIZE
    on_duplicate: OnDuplicate = "refuse"
    drop: tuple[str, ...] = ()
    fill: bool = False

    def record(self) -> dict[str, Any]:
        """As noted in plan and history."""
        return {
            "where": self.where or None,
            "count": self.count,
            "shares": dict(self.shares) or None,
            "splits": list(self.splits),
            "frame": self.frame,
            "shard_size": self.shard_size,
            "on_duplicate": self.on_duplicate,
            "drop": list(self.drop),
            "fill": self.fill,
        }


@dataclass(frozen=True, eq=False)
class Chosen:
    """What is taken of one dataset. meeting: rows that meet the condition; rows: those taken,
    ascending."""

    name: str
    dataset: Dataset
    meeting: int
    rows: Array


@dataclass(frozen=True, eq=False)
class SelectPlan:
    """A selection ready to run."""

    chosen: tuple[Chosen, ...]
    stage: SelectStage
    frame: str
    units: tuple[SelectUnit, ...]
    history: tuple[Mapping[str, Any], ...]
    seed: int

    @property
    def samples(self) -> int:
        """How many samples the result has."""
        return sum(len(part.rows) for part in self.chosen)


def plan_select(
    folders: Sequence[Path],
    hands: HandPair,
    options: SelectOptions,
    seed: int = 0,
    log: Log = lambda line: None,
) -> SelectPlan:
    """Open the datasets and decide which rows are taken.

    Raises DataError if one is none or was made on other hand models, the condition cannot be read,
    too few samples meet it, or the datasets cannot be put together (see `_fitting`).
    """
    datasets = [Dataset(folder) for folder in folders]
    if not datasets:
        raise DataError("no dataset to select from: give one or more folders")
    for dataset in datasets:
        require_hand_model(dataset, hands)
    names = _names(datasets, options)
    where = parse_where(options.where) if options.where.strip() else None
    meeting = [rows_meeting(dataset, where, options.splits) for dataset in datasets]
    meeting = _without_duplicates(datasets, meeting, options, log)
    wanted = counts_of(
        dict(zip(names, (len(rows) for rows in meeting), strict=True)),
        options.count,
        options.shares,
        fill=options.fill,
        log=log,
    )
    if not sum(wanted.values()):
        raise DataError(
            f"none of {sum(map(len, datasets)):,} samples is chosen"
            + (f" by {options.where!r}" if where else "")
            + (f" in the splits {', '.join(options.splits)}" if options.splits else "")
            + ": `twohand info DIR` shows what the fields hold"
        )
    if options.shares or options.count is None:
        rows = [
            _drawn(rows, wanted[name], seed, number)
            for number, (name, rows) in enumerate(zip(names, meeting, strict=True))
        ]
    else:
        rows = _drawn_of_all(meeting, options.count, seed)
    chosen = tuple(
        Chosen(name, dataset, len(met), taken)
        for name, dataset, met, taken in zip(names, datasets, meeting, rows, strict=True)
    )
    _check_splits(chosen)
    frame = _frame(chosen, options)
    groups = _groups(chosen, options)
    stage = SelectStage(
        # A worker of a cluster stands in another folder than this process.
        folders=tuple(dataset.path.absolute() for dataset in datasets),
        moved=tuple(dataset.conventions["frame"] != frame for dataset in datasets),
        groups=groups,
        hands=hands,
    )
    return SelectPlan(
        chosen, stage, frame, _units(chosen, options.shard_size), _history(chosen), seed
    )


def select_samples(
    plan: SelectPlan,
    out: Path,
    options: SelectOptions,
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
        options=options.record() | {"datasets": [part.name for part in plan.chosen]},
        hands=plan.stage.hands,
        seed=plan.seed,
        frame=plan.frame,
        history=plan.history,
        workers=workers,
        executor=executor,
        progress=progress,
        command=command,
    )


def rows_meeting(dataset: Dataset, where: Where | None, splits: Sequence[str] = ()) -> Array:
    """Rows (n,) of a dataset that meet a condition and are in one of the splits, ascending."""
    mask = np.ones(len(dataset), dtype=np.bool_) if where is None else where.mask(dataset)
    if splits:
        strangers = sorted(set(splits) - set(SPLITS))
        if strangers:
            raise DataError(f"{strangers[0]!r} is no split: {', '.join(SPLITS)}")
        mask = mask & np.isin(dataset.array("split"), splits)
    return np.flatnonzero(mask)


# Which


def _drawn(rows: Array, count: int, seed: int, number: int) -> Array:
    """`count` of the rows, drawn without repetition, in their order."""
    if count == len(rows):
        return rows
    order = rng_for(seed, f"select dataset {number}").permutation(len(rows))
    return rows[np.sort(order[:count])]


def _drawn_of_all(meeting: Sequence[Array], count: int, seed: int) -> list[Array]:
    """`count` rows drawn from all datasets alike."""
    starts = np.cumsum([0, *map(len, meeting)])
    taken = _drawn(np.arange(starts[-1]), count, seed, -1)
    cuts = np.searchsorted(taken, starts)
    return [
        rows[taken[a:b] - start]
        for rows, start, a, b in zip(meeting, starts, cuts, cuts[1:], strict=False)
    ]


def _without_duplicates(
    datasets: Sequence[Dataset], meeting: Sequence[Array], options: SelectOptions, log: Log
) -> list[Array]:
    """The rows without ids that an earlier dataset has. Raises DataError naming both datasets."""
    if len(datasets) == 1:
        return list(meeting)
    ids = [
        dataset.array("sample_id", rows) for dataset, rows in zip(datasets, meeting, strict=True)
    ]
    of = np.repeat(np.arange(len(ids)), list(map(len, ids)))
    _, first, back = np.unique(np.concatenate(ids), return_index=True, return_inverse=True)
    repeated = first[back] != np.arange(len(of))
    if not repeated.any():
        return list(meeting)
    row = int(np.flatnonzero(repeated)[0])
    a, b = (datasets[of[k]].path for k in (first[back][row], row))
    n, sample_id = int(repeated.sum()), str(np.concatenate(ids)[row])
    if options.on_duplicate == "refuse":
        raise DataError(
            f"{n:,} samples are in more than one dataset, as {sample_id!r} is in "
            f"{a} and {b}: a dataset and its repair cannot be merged; leave one out, or keep the "
            "first of each with --on-duplicate first"
        )
    log(f"{n:,} samples are in more than one dataset: the first of each is kept")
    ends = np.cumsum(list(map(len, ids)))[:-1]
    return [rows[~gone] for rows, gone in zip(meeting, np.split(repeated, ends), strict=True)]


# Whether they fit


def _names(datasets: Sequence[Dataset], options: SelectOptions) -> list[str]:
    """What each dataset is called: its folder, numbered where two are called the same."""
    plain = [dataset.path.resolve().name for dataset in datasets]
    times = Counter(plain)
    twice = sorted(name for name, n in times.items() if n > 1)
    if twice and options.shares:
        raise DataError(f"two folders are called {twice[0]!r}, so shares cannot tell them apart")
    seen: Counter[str] = Counter()
    names = []
    for name in plain:
        seen[name] += 1
        names.append(f"{name}#{seen[name]}" if times[name] > 1 else name)
    strangers = sorted(set(options.shares) - set(names))
    if strangers:
        raise DataError(
            f"a share is given for {strangers[0]!r}, which is none of the folders: "
            f"{', '.join(names)}"
        )
    return names


def _check_splits(chosen: Sequence[Chosen]) -> None:
    """Raise DataError if a subject (else take) would be in two splits of the result."""
    given: dict[tuple[str, str, str], tuple[str, str]] = {}
    for part in chosen:
        if not len(part.rows):
            continue
        source, subject, take, split = (
            part.dataset.array(name, part.rows) for name in ("source", "subject", "take", "split")
        )
        named = np.stack([source, np.where(subject == "", take, subject), split], axis=1)
        unnamed = subject == ""
        for kind, rows in (("subject", named[~unnamed]), ("take", named[unnamed])):
            for who_source, who, its_split in np.unique(rows, axis=0).tolist():
                if not its_split:
                    continue
                before = given.setdefault((who_source, kind, who), (its_split, part.name))
                if before[0] != its_split:
                    raise DataError(
                        f"{kind} {who!r} of {who_source} is in the split {before[0]} of "
                        f"{before[1]} and {its_split} of {part.name}: build both with the same "
                        "splits, or select one --split"
                    )


def _frame(chosen: Sequence[Chosen], options: SelectOptions) -> str:
    """The result's frame of space. Raises DataError if it cannot be reached."""
    taking = [part for part in chosen if len(part.rows)]
    frames = list(dict.fromkeys(str(part.dataset.conventions["frame"]) for part in taking))
    frame = options.frame or (frames[0] if len(frames) == 1 else RIGHT_WRIST)
    if frame not in FRAMES:
        raise DataError(f"{frame!r} is no frame of space: {', '.join(FRAMES)}")
    for part in taking:
        here = part.dataset.conventions["frame"]
        if here == frame:
            continue
        if frame != RIGHT_WRIST:
            raise DataError(
                f"{part.dataset.path} is in the frame {here!r}, where it lay in the frame "
                f"{frame!r} is not known: only --frame {RIGHT_WRIST!r} can be reached from any"
            )
        if "image" in part.dataset.groups and "image" not in options.drop:
            raise DataError(
                f"{part.dataset.path} holds pictures, whose frame is their camera's: keep it with "
                "--frame camera, or leave the pictures away with --drop image"
            )
        without = int((~part.dataset.array("present", part.rows)[:, RIGHT]).sum())
        if without:
            raise DataError(
                f"{part.dataset.path} has {without:,} samples without a right hand, which have no "
                f"place in the frame {RIGHT_WRIST!r}: leave them out with --where 'hands == 2'"
            )
    return frame


def _groups(chosen: Sequence[Chosen], options: SelectOptions) -> tuple[str, ...]:
    """The optional groups of the result. Raises DataError if only some have `repair` or `image`."""
    strangers = sorted(set(options.drop) - set(OPTIONAL_GROUPS))
    if strangers:
        raise DataError(f"{strangers[0]!r} cannot be dropped: {', '.join(OPTIONAL_GROUPS)}")
    taking = [part for part in chosen if len(part.rows)]
    has = {g: [g in part.dataset.groups for part in taking] for g in OPTIONAL_GROUPS}
    if "repair" not in options.drop and any(has["repair"]) and not all(has["repair"]):
        with_it = taking[has["repair"].index(True)].dataset.path
        without = taking[has["repair"].index(False)].dataset.path
        raise DataError(
            f"{with_it} was repaired and {without} was not: run `twohand physics-fix --input "
            f"{without}` first, or leave away what the repair noted with --drop repair"
        )
    if "image" not in options.drop and any(has["image"]) and not all(has["image"]):
        with_it = taking[has["image"].index(True)].dataset.path
        without = taking[has["image"].index(False)].dataset.path
        raise DataError(
            f"{with_it} holds pictures and {without} none: run `twohand render {without}` first, "
            "or leave the pictures away with --drop image"
        )
    return tuple(g for g in OPTIONAL_GROUPS if any(has[g]) and g not in options.drop)


# Work


def _units(chosen: Sequence[Chosen], size: int) -> tuple[SelectUnit, ...]:
    """The chosen rows, dataset after dataset, cut into shards of `size`."""
    inputs = {
        part.name: sha256_of_json([s.arrays_sha256 for s in part.dataset.index.shards])
        for part in chosen
    }
    units: list[SelectUnit] = []
    pending: list[Rows] = []
    room, done = size, 0

    def close() -> None:
        nonlocal pending, room, done
        last = done + size - room
        units.append(SelectUnit(f"samples {done}-{last - 1}", tuple(pending), inputs))
        pending, room, done = [], size, last

    for number, part in enumerate(chosen):
        starts = np.cumsum([0, *(s.samples for s in part.dataset.index.shards)])
        cuts = np.searchsorted(part.rows, starts)
        for shard, entry in enumerate(part.dataset.index.shards):
            rows = part.rows[cuts[shard] : cuts[shard + 1]] - starts[shard]
            while len(rows):
                pending.append(Rows(number, shard, entry.arrays_sha256, rows[:room]))
                taken = len(rows[:room])
                rows, room = rows[taken:], room - taken
                if not room:
                    close()
    if pending:
        close()
    return tuple(units)


def _history(chosen: Sequence[Chosen]) -> tuple[Mapping[str, Any], ...]:
    """What the chosen samples went through: every record once, in order."""
    records: list[Mapping[str, Any]] = []
    for part in chosen:
        if len(part.rows):
            records += [r for r in part.dataset.index.history if r not in records]
    return tuple(records)
