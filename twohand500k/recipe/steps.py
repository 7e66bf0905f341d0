"""The steps a recipe is made in, and what is known of those that are done.

A step is one stage into one folder:

    OUT/builds/NAME  →  OUT/spliced/PART  →  OUT/repaired/PART  →  OUT/chosen/PART  →  OUT/dataset

with the report last. When a step is done, `OUT/.steps/` notes with what options, from which inputs
and to which result; while all three are as they were, the step is not even looked into again.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from twohand500k.errors import DataError
from twohand500k.recipe.recipe import Recipe
from twohand500k.shards.files import (
    INDEX,
    json_bytes,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_whole,
)

Stage = Literal["build", "splice", "physics-fix", "select", "report"]
RECIPE: Final = "recipe.json"
DATASET: Final = "dataset"
REPORT: Final = "report"
_NOTES: Final = ".steps"


@dataclass(frozen=True)
class Step:
    """stage: what is done; of: the build or part it is done for; folder: under OUT, where to."""

    stage: Stage
    of: str
    folder: str

    def __str__(self) -> str:
        return f"{self.stage} {self.of}"


def steps_of(recipe: Recipe) -> tuple[Step, ...]:
    """All steps in the order in which they are done: what was recorded first, since spliced pairs
    fill what it leaves."""
    steps = [Step("build", build.name, f"builds/{build.name}") for build in recipe.builds]
    for part in sorted(recipe.parts, key=lambda part: not part.take):
        if part.splice:
            steps.append(Step("splice", part.name, f"spliced/{part.name}"))
        steps.append(Step("physics-fix", part.name, f"repaired/{part.name}"))
        if part.where:
            steps.append(Step("select", part.name, f"chosen/{part.name}"))
    return (*steps, Step("select", "dataset", DATASET), Step("report", "all", REPORT))


@dataclass(frozen=True)
class Done:
    """What a step did. seconds: of all sessions that worked at it; bytes: of its folder."""

    n_in: int
    n_kept: int
    seconds: float
    bytes: int


class Notes:
    """The notes of one OUT: which steps are done, of what."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def has(self, step: Step) -> bool:
        """Whether the step was done once; `done` says whether that still holds."""
        return self._path(step).is_file()

    def done(self, step: Step, asked: Mapping[str, Any]) -> Done | None:
        """What the step did, if it was done with the same options and inputs and its result
        stands as it left it."""
        path = self._path(step)
        if not path.is_file():
            return None
        note = read_json(path)
        try:
            if note["asked"] != sha256_of_json(asked) or note["result"] != self._result(step):
                return None
            return Done(**note["done"])
        except (KeyError, TypeError):
            return None

    def write(self, step: Step, asked: Mapping[str, Any], done: Done) -> None:
        note = {"asked": sha256_of_json(asked), "result": self._result(step), "done": asdict(done)}
        self._path(step).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(step), json_bytes(note))

    def _path(self, step: Step) -> Path:
        return self.out / _NOTES / f"{step.stage}-{step.of}.json"

    def _result(self, step: Step) -> str:
        """Hash of the file that a step writes last."""
        name = "numbers.json" if step.stage == "report" else INDEX
        path = self.out / step.folder / name
        return sha256_of_file(path) if path.is_file() else ""


def check_same_recipe(out: Path, recipe: Recipe) -> None:
    """Note the recipe in OUT, or hold it against the one OUT was begun with.

    Raises DataError naming the first option that differs, old and new: parts of two recipes are
    not put into one dataset.
    """
    path = out / RECIPE
    told = {"name": recipe.name, "title": recipe.title, "options": recipe.record()}
    if path.is_file():
        before = dict(_flat(read_json(path).get("options", {})))
        now = dict(_flat(told["options"]))
        for key in sorted({*before, *now}):
            old, new = (options.get(key, "(nothing)") for options in (before, now))
            if old != new:
                raise DataError(
                    f"{out} was begun with {key} = {old!r}, the recipe now has {new!r}: repeat it "
                    "as it was to go on, or choose another --out"
                )
    write_whole(path, json_bytes(told))


def fingerprint(paths: Iterable[Path]) -> str:
    """Names, sizes and times of all files under `paths`: changes when they may have changed."""
    digest = hashlib.sha256()
    for path in paths:
        for file, stat in _files(path):
            digest.update(f"{file} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterable[tuple[str, os.stat_result]]:
    if not path.is_dir():
        return [(path.name, path.stat())] if path.exists() else []
    found = []
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = Path(folder, name)
            if file.exists():
                found.append((str(file.relative_to(path)), file.stat()))
    return found


def _flat(value: Any, key: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted key, value) of nested tables; a list is a value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    else:
        yield key, list(value) if isinstance(value, tuple) else value
