"""`Interruption`: Ctrl-C and SIGTERM as a flag, so that a run stops between two steps."""

import signal
import threading
import time
from types import FrameType, TracebackType

# torchrun passes Ctrl-C on to processes that the terminal has told already: that is no second one.
_IMPATIENT_S = 1.0


class Interruption:
    """``with Interruption() as stop: … if stop.asked: …``. A second Ctrl-C stops at once.

    Outside the main thread signals are left as they are.
    """

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.asked:
            self.asked, self._asked_at = True, now
        elif number == signal.SIGINT and now - self._asked_at > _IMPATIENT_S:
            raise KeyboardInterrupt
