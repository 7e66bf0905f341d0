"""What a run is going to do, written to `.work/plan.json` before anything else.

A later session compares its own plan with the one on the disk: equal, it resumes; different, it
refuses and names the first key that differs, with both values. Nothing in a plan depends on the
number of workers, the machine or the folder.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twohand500k.errors import DataError
from twohand500k.pipeline.units import Unit
from twohand500k.shards.files import PLAN, json_bytes, read_json, sha256_of_json, write_whole


@dataclass(frozen=True)
class Plan:
    """Stage, seed, options, versions, conventions, inputs {name: sha256}, history, unit names."""

    stage: str
    seed: int
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    conventions: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, str]
    unit_names: tuple[str, ...]
    command: str

    def __post_init__(self) -> None:
        name, times = Counter(self.unit_names).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{times} work units are called {name!r}")

    @property
    def config_sha256(self) -> str:
        """Hash of everything but the inputs, which each unit names for itself."""
        return sha256_of_json(self._config())

    def history_record(self) -> dict[str, Any]:
        """This stage's line in the index's history."""
        return {
            "stage": self.stage,
            "version": self.versions["twohand500k"],
            "seed": self.seed,
            "options": dict(self.options),
            "inputs": dict(self.inputs),
        }

    def write(self, folder: Path) -> None:
        write_whole(folder / PLAN, json_bytes(self._as_json()))

    def check_same(self, folder: Path, whatever_version: bool = False) -> None:
        """Compare with the plan in `folder`.

        whatever_version: for a dataset that is only looked at, what computed it may differ, and
        with it the inputs that are worked out of files (calibrations).

        Raises DataError naming the first thing that differs, old and new. Units computed by
        different library versions are not put into one dataset.
        """
        before, now = read_json(folder / PLAN), json.loads(json_bytes(self._as_json()))
        files_before, worked_out_before = _by_origin(before.get("inputs", {}))
        files, worked_out = _by_origin(now["inputs"])
        before, now = before | {"inputs": files_before}, now | {"inputs": files}
        for key, what in _COMPARED.items():
            if key == "versions" and whatever_version:
                continue
            old, new = before.get(key), now[key]
            if old == new:
                continue
            remedy = (
                "finish it with that version"
                if key == "versions"
                else "repeat the first command to resume it"
            )
            if isinstance(old, dict) and isinstance(new, dict):
                key = _first_key(old, new)
                old, new = old.get(key, "(nothing)"), new.get(key, "(nothing)")
            elif isinstance(old, list) and isinstance(new, list):
                old, new = _first_difference(old, new)
            raise DataError(
                f"{folder} was begun with {what} {key} = {old!r}, this command has {new!r}: "
                f"{remedy}, or choose another --out"
            )
        if worked_out != worked_out_before and not whatever_version:
            name = _first_key(worked_out_before, worked_out)
            old, new = (d.get(name, "(nothing)")[:12] for d in (worked_out_before, worked_out))
            raise DataError(
                f"{folder} was begun with another calibration of "
                f"{name.removesuffix(_WORKED_OUT)!r} ({old}, now {new}): it came out differently "
                "from the same files and options, so other code, another library or another "
                "processor computed it; finish it where it was begun, or choose another --out"
            )

    def inputs_in(self, folder: Path) -> dict[str, str]:
        """The inputs as the plan in `folder` has them: the hashes its markers were made with."""
        return dict(read_json(folder / PLAN).get("inputs", {}))

    def _config(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "seed": self.seed,
            "options": dict(self.options),
            "versions": dict(self.versions),
            "conventions": dict(self.conventions),
            "history": list(self.history),
        }

    def _as_json(self) -> dict[str, Any]:
        return self._config() | {
            "inputs": dict(self.inputs),
            "unit_names": list(self.unit_names),
            "units": len(self.unit_names),
            "command": self.command,
            "config_sha256": self.config_sha256,
        }


# Compared in this order, with the word for a difference.
_COMPARED = {
    "stage": "the",
    "options": "the option",
    "seed": "the",
    "versions": "another version:",
    "inputs": "the input",
    "conventions": "the convention",
    "history": "the input dataset's",
    "unit_names": "other work units:",
}
# An input of this name is no file: a stage worked it out of the files before it cut them into
# units. It follows every change above, so it is compared last.
_WORKED_OUT: Final = ": calibration"


def inputs_of(units: Sequence[Unit]) -> dict[str, str]:
    """All inputs of all units. Raises ValueError if one name stands for two files."""
    inputs: dict[str, str] = {}
    for unit in units:
        for name, sha256 in unit.inputs.items():
            if inputs.setdefault(name, sha256) != sha256:
                raise ValueError(f"the input name {name!r} stands for two different files")
    return dict(sorted(inputs.items()))


def _by_origin(inputs: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Inputs that are files, and inputs that were worked out of them."""
    worked_out = {name: sha for name, sha in inputs.items() if name.endswith(_WORKED_OUT)}
    return {name: sha for name, sha in inputs.items() if name not in worked_out}, worked_out


def _first_key(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first key under which two mappings differ."""
    return next(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))


def _first_difference(old: list[Any], new: list[Any]) -> tuple[Any, Any]:
    for a, b in zip(old, new, strict=False):
        if a != b:
            return a, b
    shared = min(len(old), len(new))
    return (*old[shared:], "(nothing)")[0], (*new[shared:], "(nothing)")[0]
