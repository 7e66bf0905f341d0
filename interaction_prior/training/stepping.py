"""`Steps`: the steps of a run, whatever it trains: when to tell, validate, save, and stop.

Comes in: a `Work` (what one step does, how it is judged and kept). Goes out: metrics, checkpoints,
a stop between two steps when asked (`Interruption`), and a `DataError` with its reason where a
number is none: then nothing of it is kept.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from interaction_prior.training.distributed import Processes
from interaction_prior.training.interruption import Interruption
from interaction_prior.training.metrics import Metrics
from interaction_prior.training.summary import Progress, Report
from twohand500k.errors import DataError


class Rhythm(Protocol):
    """How often, in steps; batch: samples of a step over all processes."""

    @property
    def batch(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def log_every(self) -> int: ...
    @property
    def validate_every(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...


class State(Protocol):
    """A run between two steps, to be kept."""

    @property
    def weights(self) -> Mapping[str, Tensor]: ...


class Work(Protocol):
    """What is done in a step, and what is to be known of it.

    terms: of the loss, by their name in the metrics, and as one says them; the first is their sum.
    remedy: what would help where a number is none.
    """

    terms: Mapping[str, str]
    remedy: str

    def taken(self, first: int, last: int) -> Iterator[Tensor]:
        """Take steps first .. last - 1; after each, its terms (k,) on the device."""
        ...

    def rate(self, step: int) -> float:
        """The learning rate in a step."""
        ...

    def line(self, means: Mapping[str, float]) -> Mapping[str, Any]:
        """What a line of the metrics says of terms' means, and of what else it knows."""
        ...

    def figures(self, step: int) -> Mapping[str, Any]:
        """Of held-out samples after `step` steps; empty where there are none. All processes ask."""
        ...

    def state(self, step: int, seconds: float, window: Tensor) -> State:
        """Where the run is, on the CPU."""
        ...

    def write(self, state: State) -> None:
        """Keep it."""
        ...


class Steps:
    """Where a run is, what it cost, what it has told.

    step, seconds, window: of the checkpoint it goes on from. resume: what to type to go on.
    """

    def __init__(
        self,
        work: Work,
        rhythm: Rhythm,
        processes: Processes,
        metrics: Metrics | None,
        progress: Report,
        *,
        step: int,
        seconds: float,
        window: Tensor,
        resume: str | None,
    ) -> None:
        self.work, self.rhythm, self.processes = work, rhythm, processes
        self.metrics, self.progress, self.resume = metrics, progress, resume
        self.step, self.seconds = step, seconds
        # Terms of the steps since the last line, on the device: fetched once a line.
        self.window = torch.zeros(rhythm.log_every, len(work.terms), device=processes.device)
        self.filled = len(window)
        self.window[: self.filled] = window.to(processes.device)
        self.last_validation: Mapping[str, Any] = {}
        self.saved = step
        self._row_began = seconds
        self._row_steps = 0

    def take(self) -> None:
        """All steps that are left. Raises KeyboardInterrupt when stopped, DataError on NaN."""
        o, last = self.rhythm, self.rhythm.steps
        with Interruption() as interruption, self._clock() as clock:
            for terms in self.work.taken(self.step, last):
                self.window[self.filled] = terms
                self.filled += 1
                self.step, self._row_steps = self.step + 1, self._row_steps + 1
                line = self.step % o.log_every == 0 or self.step == last
                # Processes agree on stopping; asking costs an exchange, so once a line.
                alone = self.processes.size == 1
                stop = (alone or line) and self.processes.any(interruption.asked)
                check = self.step % o.validate_every == 0 and self.step < last
                save = self.step % o.checkpoint_every == 0 or self.step == last or stop
                if not (line or check or save):
                    continue
                means = self._fetched()
                clock()
                if line:
                    self._tell(means)
                if check:
                    self.last_validation = self.validated()
                if save:
                    self.save()
                if stop and self.step < last:
                    raise KeyboardInterrupt(self._how_to_resume())
                clock(counts=False)

    @contextlib.contextmanager
    def _clock(self) -> Iterator[Callable[..., None]]:
        """Time of the steps alone, without validation and checkpoints."""
        since = time.perf_counter()

        def tick(counts: bool = True) -> None:
            nonlocal since
            now = time.perf_counter()
            if counts:
                self.seconds += now - since
            since = now

        yield tick

    def _fetched(self) -> Tensor:
        """The window's rows (n, k), means over processes, on the CPU.

        Raises DataError if one is no finite number: then nothing of it is saved.
        """
        rows = self.window[: self.filled].clone()
        self.processes.average([rows])
        rows = rows.double().cpu()
        finite = torch.isfinite(rows)
        if not finite.all():
            k = int((~finite).any(1).nonzero()[0])
            step = self.step - self.filled + k
            # The sum is named only where all its parts are numbers.
            term = next(t for t in reversed(range(rows.shape[1])) if not finite[k, t])
            said = list(self.work.terms.values())[term]
            raise DataError(
                f"training stopped: in step {step + 1:,} the {said} became "
                f"{rows[k, term].item()} at the learning rate {self.work.rate(step):g}; "
                f"{self._kept()}"
            )
        return rows

    def _tell(self, rows: Tensor) -> None:
        """A line of the metrics: means of the window, which begins anew."""
        took = max(self.seconds - self._row_began, 1e-9)
        row = {
            "step": self.step,
            **self.work.line(dict(zip(self.work.terms, rows.mean(0).tolist(), strict=True))),
            "lr": self.work.rate(self.step - 1),
            "samples_per_s": round(self._row_steps * self.rhythm.batch / took, 1),
            "seconds": round(self.seconds, 3),
        }
        self.filled, self._row_steps, self._row_began = 0, 0, self.seconds
        if self.metrics is not None:
            self.metrics.write(row)
        self.progress(Progress(self.step, self.rhythm.steps, row, self.last_validation))

    def validated(self) -> Mapping[str, Any]:
        """Figures of the held-out samples, written; empty where none are held out."""
        figures = self.work.figures(self.step)
        if self.metrics is None or not figures:
            return figures
        bad = [name for name, x in figures.items() if x is not None and not math.isfinite(x)]
        if bad:
            raise DataError(
                f"training stopped: after step {self.step:,} the held-out {bad[0]} is "
                f"{figures[bad[0]]}; {self._kept()}"
            )
        self.metrics.write({"step": self.step, "validation": figures})
        return figures

    def save(self) -> None:
        """A checkpoint, by the first process. Raises DataError where weights are not finite."""
        if not self.processes.first:
            return
        state = self.work.state(self.step, self.seconds, self.window[: self.filled].cpu())
        bad = [name for name, w in state.weights.items() if not torch.isfinite(w).all()]
        if bad:
            raise DataError(
                f"training stopped: after step {self.step:,} the weights {bad[0]} are not finite, "
                f"though the loss is; {self._kept()}"
            )
        self.work.write(state)
        self.saved = self.step

    def _kept(self) -> str:
        return f"{self.work.remedy}; the last checkpoint kept is of step {self.saved:,}"

    def _how_to_resume(self) -> str:
        return (
            f"stopped after step {self.step:,} of {self.rhythm.steps:,}, a checkpoint is saved; "
            + (f"resume with: {self.resume}" if self.resume else "the same call resumes")
        )
