"""Ctrl-C, SIGTERM and SIGHUP: a wish that the loop grants between segments, elsewhere the end."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

GRACE = 2.0  # seconds
STOPPED = "stopped; what was saved before is kept."
# Exit statuses; SIGHUP comes from a terminal that closes.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGHUP: 75}


def _handle(handler: Callable) -> dict[int, Any]:
    """Give the signals to `handler`, but for a SIGHUP that is ignored, as nohup has it; the
    handlers of before. Only the main thread may handle any."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    return {number: signal.signal(number, handler) for number in STATUS.keys() - kept}


class Interruption:
    """A context in which the first signal is only noted; a second one leaves at once.

    `status` is 0, or the exit status that the first one asks for.
    """

    status = 0

    def __enter__(self) -> "Interruption":
        self._before = _handle(self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.status:
            os._exit(self.status)
        self.status = STATUS[signal.Signals(number)]


class Ending(Interruption):
    """The same where no loop listens: the first one raises KeyboardInterrupt, and where a library
    swallows that, or takes its time, the process ends GRACE seconds later; at once within an
    import, where it would abort an extension that begins."""

    def _note(self, number: int, frame: FrameType | None) -> None:
        super()._note(number, frame)
        if _importing(frame):
            self._leave()
        # Who swallows it would print it.
        sys.unraisablehook = lambda _: None
        sys.excepthook = lambda *_: None
        leaving = threading.Timer(GRACE, self._leave)
        leaving.daemon = True
        leaving.start()
        raise KeyboardInterrupt

    def _leave(self) -> None:
        os.write(2, f"flaxmill: {STOPPED}\n".encode())
        os._exit(self.status)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported there."""
    while frame and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None
