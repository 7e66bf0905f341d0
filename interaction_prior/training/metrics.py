"""`Metrics`: what a run tells while it goes, `metrics.jsonl` and TensorBoard.

Lines are {"step", the terms of the loss, "lr", "samples_per_s", "seconds"}, means over the steps
since the line before, null where there is no such term ("kl" of an AE), and {"step", "validation":
{…}}. A run that resumes from a checkpoint cuts the lines after it, so the file
reads as if nothing had happened.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.shards.files import disk_error, json_line, write_whole

Row = dict[str, Any]


def read_metrics(path: Path) -> list[Row]:
    """The lines of a `metrics.jsonl`; a last one cut short is left out.

    Raises DataError for a line before it that is not JSON, and where the file is missing.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path} line {number} is not JSON ({error})") from error
    return rows


def cut_metrics(path: Path, step: int, steps: int) -> None:
    """Leave out what came after the checkpoint of `step`.

    In a step, the validation comes before the checkpoint; in the very last one, after it.
    """
    if not path.exists():
        return

    def before(row: Row) -> bool:
        last = "validation" in row and row["step"] == steps
        return row["step"] <= step and not last

    write_whole(path, b"".join(json_line(row) for row in read_metrics(path) if before(row)))


class Metrics:
    """``with Metrics(file, tensorboard, from_step, log) as metrics: metrics.write(row)``."""

    def __init__(
        self, file: Path, tensorboard: Path, from_step: int, log: Callable[[str], None]
    ) -> None:
        self._path = file
        try:
            self._file = file.open("ab")
        except OSError as error:
            raise disk_error(error, file) from error
        self._board = _board(tensorboard, from_step, log)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        if self._board is not None:
            # A full disk has been told of already.
            with contextlib.suppress(OSError):
                self._board.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """One line, on its way to the disk at once."""
        try:
            self._file.write(json_line(dict(row)))
            self._file.flush()
            self._show(row)
        except OSError as error:
            raise disk_error(error, self._path) from error

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A picture (H, W, 3) in TensorBoard, where there is one."""
        if self._board is not None:
            self._board.add_image(name, pixels, step, dataformats="HWC")

    def _show(self, row: Mapping[str, Any]) -> None:
        """The same in TensorBoard."""
        group = "validation" if "validation" in row else "train"
        values = row.get("validation", row)
        for name, value in values.items():
            if value is not None and name not in ("step", "seconds") and self._board is not None:
                self._board.add_scalar(f"{group}/{name}", value, row["step"])


def _board(folder: Path, from_step: int, log: Callable[[str], None]) -> Any:
    """A TensorBoard writer; None, and said, where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log("no tensorboard/ is written: `pip install tensorboard` adds it")
        return None
    # What a run that was killed had told after its checkpoint is hidden.
    return SummaryWriter(str(folder), purge_step=from_step + 1 if from_step else None)
