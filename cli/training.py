"""What the commands that train share: torch found, a device, how far it is, how to resume."""

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from twohand500k.errors import DataError
from twohand500k.export.licences import licences_of
from twohand500k.pipeline.progress import bars
from twohand500k.shards import Dataset

if TYPE_CHECKING:
    from interaction_prior.training import Progress

_LINE_EVERY_S = 10.0


def positive(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """An option's callback: above 0, and finite."""
    if value is not None and not 0 < value < float("inf"):
        raise click.BadParameter(f"{value} is not above 0")
    return value


def need_torch(*more: str) -> None:
    """DataError with the command that installs what training needs; more: beside torch."""
    for name in ("safetensors", "torch", *more):
        try:
            __import__(name)
        except ImportError as error:
            raise DataError(
                f"training needs {error.name}, which is not installed: "
                'pip install "twohand500k[train]"'
            ) from error


def device_of(choice: str) -> str:
    """ "cpu" or "cuda" of auto, cpu, cuda. DataError for a GPU that is not there."""
    import torch

    there = torch.cuda.is_available()
    if choice == "cuda" and not there:
        raise DataError(
            "--device cuda: torch sees no GPU here (torch.cuda.is_available() is False); choose "
            "--device cpu, or install a torch with CUDA"
        )
    return "cuda" if choice == "cuda" or (choice == "auto" and there) else "cpu"


def typed_command() -> str:
    """This process's command line, as one types it."""
    program = [Path(sys.argv[0]).name]
    if program == ["__main__.py"]:
        each = os.environ.get("LOCAL_WORLD_SIZE")
        start = ["torchrun", "--nproc-per-node", each] if each else ["python"]
        program = [*start, "-m", "twohand500k.cli"]
    return shlex.join([*program, *sys.argv[1:]])


def terms_of(folder: Path) -> list[str]:
    """The licences of what went into a dataset, in words."""
    return [f"{licence.source}: {licence.terms}" for licence in licences_of(Dataset(folder))]


def duration(seconds: float) -> str:
    """In words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Shown:
    """How far a run is: a bar on a terminal, a line every ten seconds otherwise.

    command: its name. unit: of samples_per_s. held_out: what is said of a validation.
    """

    def __init__(self, show: bool, command: str, unit: str, held_out: Callable[[Any], str]) -> None:
        self._show, self._command, self._unit, self._held_out = show, command, unit, held_out
        self._bar = bars() if show and sys.stderr.isatty() else None
        self._task: Any = None
        self._last_line = time.monotonic()

    def __enter__(self) -> "Shown":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, at: "Progress") -> None:
        if not self._show:
            return
        loss, rate = f"loss {at.row['loss']:,.1f}", f"{at.row['samples_per_s']:,.0f}"
        if self._bar is not None:
            # Short: a terminal of 100 columns shows all of it.
            held_out = f" · {self._held_out(at.validation)}" if at.validation else ""
            what = f"{loss}{held_out} · {rate}/s"
            if self._task is None:
                self._task = self._bar.add_task(self._command, total=at.steps, rate=what)
            self._bar.update(self._task, completed=at.step, rate=what)
        elif time.monotonic() - self._last_line >= _LINE_EVERY_S or at.step == at.steps:
            self._last_line = time.monotonic()
            held_out = f", held out {self._held_out(at.validation)}" if at.validation else ""
            what = f"{loss}, {rate} {self._unit}/s{held_out}"
            click.echo(f"{self._command}: {at.step:,} of {at.steps:,} steps, {what}", err=True)
