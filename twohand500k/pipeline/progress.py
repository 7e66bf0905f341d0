"""How far a run is: a bar on a terminal, plain lines otherwise, both on stderr."""

import sys
import time
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_S: Final = 10.0


# Whether a run shows how far it is; a bar chart of several runs is joined instead.
Shown = bool | Progress


def bars() -> Progress:
    """Bars on the terminal, one a task, which runs may join."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class RunProgress:
    """Units done, samples kept and refused, samples a second, time left.

    `reused` units were done by an earlier session: they count as done, not as speed.
    """

    def __init__(self, stage: str, units: int, reused: int, show: Shown) -> None:
        self._stage, self._units, self._done, self._reused = stage, units, reused, reused
        self._kept = self._rejected = 0
        self._started = self._last_line = time.monotonic()
        self._show = bool(show)
        self._bar: Progress | None = show if isinstance(show, Progress) else None
        self._joins = self._bar is not None
        if show and self._bar is None and sys.stderr.isatty():
            self._bar = bars()
        if self._bar is not None:
            self._task = self._bar.add_task(stage, total=units, completed=reused, rate="units")

    def __enter__(self) -> "RunProgress":
        if self._bar is not None:
            if not self._joins:
                self._bar.start()
        elif self._show and self._reused:
            print(
                f"{self._stage}: {self._reused} of {self._units} units are already done",
                file=sys.stderr,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None and self._joins:
            self._bar.remove_task(self._task)
        elif self._bar is not None:
            self._bar.stop()

    def unit_done(self, kept: int, rejected: int) -> None:
        """Count one more unit."""
        self._done += 1
        self._kept += kept
        self._rejected += rejected
        now = time.monotonic()
        rate = (self._kept + self._rejected) / max(now - self._started, 1e-9)
        what = f"{self._kept:,} kept, {self._rejected:,} rejected, {rate:,.0f} samples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=f"units · {what}")
        elif self._show and (now - self._last_line >= _LINE_EVERY_S or self._done == self._units):
            self._last_line = now
            left = (now - self._started) / (self._done - self._reused) * (self._units - self._done)
            print(
                f"{self._stage}: {self._done} of {self._units} units, {what}"
                + (f", about {left:,.0f} s left" if left else ""),
                file=sys.stderr,
            )
