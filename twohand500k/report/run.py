"""`report`: finished datasets in, a page of pictures and numbers out.

Comes in: dataset folders, the hand pair they were made for. Goes out, under OUT:

    index.html      the page: one file, nothing from elsewhere, readable without a network
    numbers.json    every number of it, written last: its presence says the report is finished
    map.npz         the map, to place later datasets on (`--map`)
    figures/        the figures as PNG and PDF for a paper

Every file is written whole. A rerun with the same datasets, options and code says it is finished.
"""

import dataclasses
import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from twohand500k import __version__
from twohand500k.conventions import SIDES
from twohand500k.cores import available_cores
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.physics.preview import pick_repairs
from twohand500k.pipeline.provenance import versions
from twohand500k.report import gather
from twohand500k.report.figures import write_figures
from twohand500k.report.gallery import Exhibit, exhibit, hero
from twohand500k.report.gather import DatasetFacts
from twohand500k.report.html import MapPoints, PageContent, page
from twohand500k.report.numbers import numbers_of
from twohand500k.report.scenes import Scene, pick_rows, scenes_of, various_rows
from twohand500k.shards import Dataset
from twohand500k.shards.files import (
    INDEX,
    disk_error,
    json_bytes,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_whole,
)

PAGE: Final = "index.html"
NUMBERS: Final = "numbers.json"
MAP: Final = "map.npz"
FIGURES: Final = "figures"
_HERO_PAIRS: Final = 5
_log = logging.getLogger("twohand500k.report")


@dataclass(frozen=True)
class ReportOptions:
    """What the report shows.

    title: the page's; "" names the datasets. names: what the datasets are called, in order; () by
    their folders. reference: the dataset (one of the folders) the others are compared with; None is
    the first. gallery: how many samples are drawn; shown: how many can be turned in 3D, over all
    datasets. map_samples: so many pairs of each dataset on the map at most, None is all. map_from:
    a `map.npz` to place the datasets on instead of fitting a new one. figures: write the figures
    as PNG and PDF too. command: for the record.
    """

    title: str = ""
    names: tuple[str, ...] = ()
    reference: Path | None = None
    gallery: int = 6
    shown: int = 120
    map_samples: int | None = None
    map_from: Path | None = None
    figures: bool = True
    seed: int = 0
    n_jobs: int | None = None
    command: str | None = None


@dataclass(frozen=True, eq=False)
class Section:
    """A section that another command adds to the page; everything in it is escaped.

    title; lead: a sentence or two under it. tables: (header row, rows), every cell text or a
    number, None shown as a dash. pictures: (caption, (height, width, 3) uint8).
    """

    title: str
    lead: str = ""
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[Any]]]] = ()
    pictures: Sequence[tuple[str, np.ndarray]] = ()


@dataclass(frozen=True)
class ReportSummary:
    """What was written. files: relative to the folder. page_bytes: size of the page."""

    folder: Path
    datasets: int
    samples: int
    pairs: int
    files: tuple[str, ...]
    page_bytes: int
    seconds: float
    was_finished: bool = False
    steps: dict[str, float] = field(default_factory=dict)


def make_report(
    folders: Sequence[Path],
    out: Path,
    hands: HandPair,
    options: ReportOptions | None = None,
    *,
    sections: Sequence[Section] = (),
    progress: Callable[[str], None] | None = None,
    log: Callable[[str], None] | None = None,
) -> ReportSummary:
    """Write the report of finished datasets into `out`.

    sections: further sections, put before how the datasets were made. progress is told the name of
    every step as it begins, log a line of every step done.

    Raises DataError for a folder that is no finished dataset, holds nothing or was made for another
    hand model; for an `out` that is a dataset; for a map that is none; when the disk refuses.
    """
    began = time.monotonic()
    options = options or ReportOptions()
    say = log or (lambda line: _log.info("%s", line))
    clock = _Clock(progress, say)
    folders, reference = _with_reference(folders, options.reference)
    datasets = _opened(folders, hands)
    names = _names(folders, options.names)
    if (out / INDEX).exists():
        raise DataError(f"{out} is a dataset: give the report a folder of its own with --out")
    key = _inputs_key(datasets, names, options, sections)
    finished = _finished(out, key)
    samples = sum(len(dataset) for dataset in datasets)
    if finished is not None:
        pairs = sum(entry["pairs"] for entry in finished["datasets"])
        return _summary(out, len(datasets), samples, pairs, began, {}, True)

    clock.begin("reading")
    facts = [
        gather.read(folder, name, log=say) for folder, name in zip(folders, names, strict=True)
    ]
    clock.begin("numbers")
    numbers = numbers_of(
        facts,
        reference=None if reference is None else names[reference],
        seed=options.seed,
        command=options.command,
    )
    clock.begin("map")
    points, save_map = _map(facts, numbers, options, say)
    clock.begin("pictures")
    exhibits, scenes, top = _pictures(hands, facts, options)
    clock.begin("figures")
    written = write_figures(numbers, points, exhibits, names) if options.figures else {}
    clock.begin("page")
    content = PageContent(
        title=options.title or " · ".join(names),
        numbers=numbers,
        points=points,
        scenes=scenes,
        exhibits=exhibits,
        hero=top,
        faces=hands.right.closed_faces,
        faces_left=hands.left.closed_faces,
        sections=sections,
    )
    html = page(content)
    numbers["made"] = numbers["made"] | {"inputs_sha256": key, "version": __version__}
    clock.begin("writing")
    try:
        (out / FIGURES).mkdir(parents=True, exist_ok=True)
        (out / NUMBERS).unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, out) from error
    for name, content_bytes in written.items():
        write_whole(out / FIGURES / name, content_bytes)
    if save_map is not None:
        _save_map(save_map, out / MAP)
    write_whole(out / PAGE, html.encode())
    write_whole(out / NUMBERS, json_bytes(numbers))
    clock.end()
    return _summary(
        out, len(facts), samples, sum(f.n_pairs for f in facts), began, clock.seconds, False
    )


def _with_reference(
    folders: Sequence[Path], reference: Path | None
) -> tuple[list[Path], int | None]:
    """All folders, the reference last if it is not among them, and its place."""
    if not folders:
        raise DataError("no dataset was given: name at least one folder")
    every = [Path(folder) for folder in folders]
    resolved = [folder.resolve() for folder in every]
    if len(set(resolved)) != len(resolved):
        twice = next(str(f) for f in every if resolved.count(f.resolve()) > 1)
        raise DataError(f"{twice} was given twice: name every dataset once")
    if reference is None:
        return every, None
    if reference.resolve() in resolved:
        return every, resolved.index(reference.resolve())
    return [*every, reference], len(every)


def _opened(folders: Sequence[Path], hands: HandPair) -> list[Dataset]:
    datasets = [Dataset(folder) for folder in folders]
    for dataset in datasets:
        if not len(dataset):
            raise DataError(
                f"{dataset.path} holds no samples, all were rejected: see its rejects.jsonl, and "
                "leave it out of the report"
            )
        for i, side in enumerate(SIDES):
            if dataset.conventions[f"hand_model_{side}_sha256"] != hands[i].sha256:
                made_for = dataset.conventions["hand_model"]
                raise DataError(
                    f"{dataset.path} was made for the hand model {made_for[i]!r}, not for "
                    f"{hands[i].name!r}: name its model with --hand-model, or bring it to this one "
                    "with `twohand hand convert`"
                )
    return datasets


def _names(folders: Sequence[Path], given: Sequence[str]) -> list[str]:
    """One name a dataset, all different; by default the last part of its path that differs."""
    if given:
        if len(given) > len(folders) or len(set(given)) != len(given):
            raise DataError(
                f"{len(given)} names for {len(folders)} datasets: give each one name of its own"
            )
        if len(given) == len(folders):
            return list(given)
    names = [folder.resolve().name for folder in folders]
    names[: len(given)] = given
    for k, folder in enumerate(folders):
        if names.count(names[k]) > 1 and k >= len(given):
            names[k] = "/".join(folder.resolve().parts[-2:])
    return [name if name not in names[:k] else f"{name} ({k + 1})" for k, name in enumerate(names)]


def _inputs_key(
    datasets: Sequence[Dataset],
    names: Sequence[str],
    options: ReportOptions,
    sections: Sequence[Section],
) -> str:
    """Hash of everything the page depends on, the seconds it takes and the cores left out."""
    asked = dataclasses.asdict(options) | {"names": list(names)}
    for passing in ("n_jobs", "command", "reference", "map_from"):
        asked.pop(passing)
    if options.map_from is not None and options.map_from.is_file():
        asked["map_from"] = sha256_of_file(options.map_from)
    if options.reference is not None:
        asked["reference"] = sha256_of_file(options.reference / INDEX)
    told = [
        (s.title, s.lead, [[list(h), [[str(c) for c in r] for r in rows]] for h, rows in s.tables],
         [(c, hashlib.sha256(np.ascontiguousarray(p).tobytes()).hexdigest())
          for c, p in s.pictures])
        for s in sections
    ]  # fmt: skip
    return sha256_of_json(
        {
            "options": asked,
            "datasets": [sha256_of_file(dataset.path / INDEX) for dataset in datasets],
            "sections": told,
            "code": versions()["code"],
        }
    )


def _finished(out: Path, key: str) -> dict[str, Any] | None:
    """The numbers of a report of the same key in `out`, if it is there whole."""
    if not ((out / NUMBERS).is_file() and (out / PAGE).is_file()):
        return None
    try:
        numbers = read_json(out / NUMBERS)
        return numbers if numbers["made"]["inputs_sha256"] == key else None
    except (DataError, KeyError, TypeError):
        return None


def _map(
    facts: Sequence[DatasetFacts],
    numbers: dict[str, Any],
    options: ReportOptions,
    log: Callable[[str], None],
) -> tuple[MapPoints | None, Callable[[Path], None] | None]:
    """Every pair's place, and how to save the map; (None, None) where too few pairs stand."""
    # Loads scikit-learn and openTSNE: a second or two that a finished report does not need.
    from twohand500k.report.embedding import FEWEST, Map, fit_map

    rng = np.random.default_rng([options.seed, 2])
    places = []
    for f in facts:
        every = np.arange(len(f.features))
        if options.map_samples is not None and len(every) > options.map_samples:
            every = np.sort(rng.choice(every, size=options.map_samples, replace=False))
        places.append(every)
    n = sum(len(p) for p in places)
    if options.map_from is None and n < FEWEST:
        numbers["map_reason"] = f"a map needs {FEWEST} pairs of hands or more, there are {n}"
        return None, None
    if n == 0:
        numbers["map_reason"] = "no dataset holds pairs of hands"
        return None, None
    features = np.concatenate([f.features[p] for f, p in zip(facts, places, strict=True)])
    if options.map_from is not None:
        fitted = Map.load(options.map_from)
        fitted, xy = fitted.with_placed(len(features)), fitted.place(features)
    else:
        jobs = options.n_jobs or available_cores()
        fitted = fit_map(features, seed=options.seed, n_jobs=jobs, log=log)
        xy = fitted.xy
    numbers["map"] = fitted.describe()
    return (
        MapPoints(
            xy=np.asarray(xy, dtype=np.float32),
            dataset=np.repeat(np.arange(len(facts)), [len(p) for p in places]),
            place=np.concatenate(places),
            source=np.concatenate([f.source[p] for f, p in zip(facts, places, strict=True)]),
            source_names=tuple(f.source_names for f in facts),
        ),
        fitted.save,
    )


def _save_map(save: Callable[[Path], None], path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / MAP)
        write_whole(path, (Path(folder) / MAP).read_bytes())


def _pictures(
    hands: HandPair, facts: Sequence[DatasetFacts], options: ReportOptions
) -> tuple[list[Exhibit], list[Scene], np.ndarray]:
    """The gallery, the samples to turn in 3D (those of the gallery first), the picture on top."""
    rng = np.random.default_rng([options.seed, 3])
    paired = [k for k, f in enumerate(facts) if f.n_pairs]
    repaired = [k for k in paired if "repair" in Dataset(facts[k].folder).groups]
    gallery: list[Scene] = []
    showing = repaired or paired
    for k in showing:
        # The first datasets get what does not divide evenly.
        count = options.gallery // len(showing) + (
            showing.index(k) < options.gallery % len(showing)
        )
        if not count:
            continue
        rows: Sequence[int] | np.ndarray = []
        if k in repaired:
            rows = pick_repairs(Dataset(facts[k].folder), count)
        if not len(rows):
            rows = pick_rows(facts[k], count, rng)
        gallery += [
            scene for scene in scenes_of(hands, k, facts[k], rows) if np.isfinite(scene.skins).all()
        ]
    scenes = list(gallery)
    each = max(1, (options.shown - len(gallery)) // len(facts))
    for k, f in enumerate(facts):
        taken = {scene.row for scene in gallery if scene.dataset == k}
        rows = [int(row) for row in pick_rows(f, each, rng) if int(row) not in taken]
        scenes += scenes_of(hands, k, f, rows)
    first = paired[0] if paired else 0
    top = scenes_of(hands, first, facts[first], various_rows(facts[first], _HERO_PAIRS, rng))
    # Each draws a second or so, most of it outside the interpreter.
    with ThreadPoolExecutor(min(4, options.n_jobs or available_cores())) as pool:
        drawn = pool.submit(hero, hands, top)
        exhibits = list(pool.map(lambda scene: exhibit(hands, scene), gallery))
        return exhibits, scenes, drawn.result()


def _summary(
    out: Path,
    datasets: int,
    samples: int,
    pairs: int,
    began: float,
    steps: dict[str, float],
    was_finished: bool,
) -> ReportSummary:
    files = [p for p in (PAGE, NUMBERS, MAP) if (out / p).is_file()]
    files += sorted(f"{FIGURES}/{p.name}" for p in (out / FIGURES).glob("[!.]*"))
    return ReportSummary(
        folder=out,
        datasets=datasets,
        samples=samples,
        pairs=pairs,
        files=tuple(files),
        page_bytes=(out / PAGE).stat().st_size,
        seconds=time.monotonic() - began,
        was_finished=was_finished,
        steps=steps,
    )


class _Clock:
    """Tells each step as it begins and how long it took."""

    def __init__(self, progress: Callable[[str], None] | None, log: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._progress, self._log = progress, log
        self._now, self._since = "", 0.0

    def begin(self, step: str) -> None:
        self.end()
        self._now, self._since = step, time.monotonic()
        if self._progress is not None:
            self._progress(step)

    def end(self) -> None:
        if self._now:
            self.seconds[self._now] = time.monotonic() - self._since
            self._log(f"report, {self._now}: {self.seconds[self._now]:.1f} s")
        self._now = ""
