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
from typing import Any

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

        Raises DataError naming the first thing that differs, old and new. Units computed by
        different library versions are not put into one dataset.
        """
        before, now = read_json(folder / PLAN), json.loads(json_bytes(self._as_json()))
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
                key = next(k for k in sorted({*old, *new}) if old.get(k) != new.get(k))
                old, new = old.get(key, "(nothing)"), new.get(key, "(nothing)")
            elif isinstance(old, list) and isinstance(new, list):
                old, new = _first_difference(old, new)
            raise DataError(
                f"{folder} was begun with {what} {key} = {old!r}, this command has {new!r}: "
                f"{remedy}, or choose another --out"
            )

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
    "inputs": "the input",
    "conventions": "the convention",
    "history": "the input dataset's",
    "versions": "another version:",
    "unit_names": "other work units:",
}


def inputs_of(units: Sequence[Unit]) -> dict[str, str]:
    """All inputs of all units. Raises ValueError if one name stands for two files."""
    inputs: dict[str, str] = {}
    for unit in units:
        for name, sha256 in unit.inputs.items():
            if inputs.setdefault(name, sha256) != sha256:
                raise ValueError(f"the input name {name!r} stands for two different files")
    return dict(sorted(inputs.items()))


def _first_difference(old: list[Any], new: list[Any]) -> tuple[Any, Any]:
    for a, b in zip(old, new, strict=False):
        if a != b:
            return a, b
    shared = min(len(old), len(new))
    return (*old[shared:], "(nothing)")[0], (*new[shared:], "(nothing)")[0]
