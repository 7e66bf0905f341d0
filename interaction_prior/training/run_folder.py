"""`RunFolder`: the folder of one training run, its files, and who may write it.

    options.json  what is trained on what, compared before a run goes on
    run.json      each session: when, by what, from which step; the data; the rotation
    metrics.jsonl, tensorboard/, curves.png   see `metrics`, `curves`
    checkpoints/  see `checkpoint`
    card.md, prior.safetensors   at the end, the prior last: where it lies, the run is finished

A run of another kind ends with a file of another name, its `product`.

One process at a time writes it: a lock that the kernel lets go of when the process dies.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interaction_prior.prior.files import PRIOR_FILE
from twohand500k.errors import DataError
from twohand500k.shards.files import (
    WORK,
    disk_error,
    json_bytes,
    read_json,
    remove_temporaries,
    write_whole,
)

try:
    import fcntl
except ImportError:  # Windows has none: there nothing keeps two processes apart
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class RunFolder:
    """The files of a run in `path`; product: the file that it ends with."""

    path: Path
    product: str = PRIOR_FILE

    @property
    def options(self) -> Path:
        return self.path / "options.json"

    @property
    def run(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def card(self) -> Path:
        return self.path / "card.md"

    @property
    def result(self) -> Path:
        return self.path / self.product

    @property
    def finished(self) -> bool:
        """Whether the run is done."""
        return self.result.exists()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The folder made, and nobody else's while inside.

        Raises DataError for a folder of something else, one that another process writes, or one
        that cannot be made. A folder made here in which nothing came to lie is gone afterwards.
        """
        made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            content = {entry.name for entry in self.path.iterdir()}
            if content - {WORK} and not self.options.exists():
                raise DataError(
                    f"{self.path} holds other things ({sorted(content - {WORK})[0]}, …) and no "
                    "options.json of a training run: choose another --out"
                )
            (self.path / WORK).mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.path) from error
        with _locked(self.path):
            remove_temporaries(self.path)
            remove_temporaries(self.checkpoints)
            try:
                yield
            finally:
                if made and {entry.name for entry in self.path.iterdir()} == {WORK}:
                    shutil.rmtree(self.path, ignore_errors=True)

    def begin(self, what: Mapping[str, Any]) -> bool:
        """Write what is trained, or compare it with what is there; whether it was there.

        Raises DataError naming the first key that differs, with both values.
        """
        if not self.options.exists():
            write_whole(self.options, json_bytes(what))
            return False
        before, now = _flat(read_json(self.options)), _flat(what)
        for key in sorted({*before, *now}):
            old, new = (side.get(key, "(nothing)") for side in (before, now))
            if old != new:
                raise DataError(
                    f"{self.path} was begun with {key} = {old!r}, this command has {new!r}: "
                    "repeat the first command to resume it, or choose another --out"
                )
        return True

    def write_run(self, facts: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        """`run.json`: facts of the run, and one more session."""
        sessions = read_json(self.run)["sessions"] if self.run.exists() else []
        write_whole(self.run, json_bytes({**facts, "sessions": [*sessions, dict(session)]}))

    def facts(self) -> dict[str, Any]:
        """The facts of the run in `run.json`, without its sessions; empty before the first."""
        if not self.run.exists():
            return {}
        return {k: v for k, v in read_json(self.run).items() if k != "sessions"}

    def last_session(self) -> Mapping[str, Any]:
        """The session before this one; empty for none."""
        return read_json(self.run)["sessions"][-1] if self.run.exists() else {}


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    # Kept open, never removed: whoever opens it sees the same file.
    with (path / WORK / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DataError(
                f"{path} is being written by another run (process {file.read() or 'unknown'}): "
                "wait for it, or choose another --out"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested objects as one, ``{"a.b": …}``; the outermost group's name is left out."""
    if not isinstance(value, Mapping):
        return {name: value if not isinstance(value, tuple) else list(value)}
    parts: dict[str, Any] = {}
    for key, item in value.items():
        parts |= _flat(item, f"{name}.{key}" if name else key)
    return {key.removeprefix("options."): item for key, item in parts.items()}
