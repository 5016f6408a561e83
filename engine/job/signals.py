"""Ctrl-C, SIGTERM and SIGHUP: a wish that the loop grants between segments, elsewhere the end."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

GRACE = 2.0  # seconds
STOPPED = "stopped; what was saved before is kept."
HEARD = "stopping after this segment and saving"
ONCE_MORE = "; once more ends at once."
# Exit statuses; SIGHUP comes from a terminal that closes.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGHUP: 75}


class Stopped(KeyboardInterrupt):
    """A signal asked to stop, and all is saved; the process exits with `status`. No Exception, so
    that a script which goes on after a run that failed doesn't go on after this one."""

    def __init__(self, message: str, status: int = 130, shared: bool = False):
        super().__init__(message)
        self.status, self.shared = status, shared


def _handle(handler: Callable) -> dict[int, Any]:
    """Give the signals to `handler`, but for a SIGHUP that is ignored, as nohup has it; the
    handlers of before. Only the main thread may handle any."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    return {number: signal.signal(number, handler) for number in STATUS.keys() - kept}


class _Signals:
    """A context in which signals come to `_note`. `status` is 0, or the exit status that the first
    one asks for."""

    status = 0

    def __enter__(self) -> Self:
        self._before = _handle(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.status = self.status or STATUS[signal.Signals(number)]


def signalled() -> bool:
    """Whether a signal has asked the process to end, where no loop listens: whatever fails then, a
    library has made of that."""
    ending = _ending(signal.getsignal(signal.SIGINT))
    return ending is not None and bool(ending.status)


def _ending(handler: Any) -> "Ending | None":
    """The Ending to which a signal's handler belongs, which makes the process ours to end."""
    own = getattr(handler, "__self__", None)
    return own if isinstance(own, Ending) else None


class Interruption(_Signals):
    """The first signal is only noted, and said to be heard; a second one leaves at once, or, where
    the process isn't ours to end, goes where it went before.

    Python calls a handler only once the device's work of a segment is over, so a thread reads what
    the interpreter writes into a pipe (`signal.set_wakeup_fd`) the moment that a signal comes.
    """

    _noted = False

    def __enter__(self) -> Self:
        super().__enter__()
        if self._before:
            heard, self._pipe = os.pipe()
            os.set_blocking(self._pipe, False)
            self._woken = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(heard,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before:
            signal.set_wakeup_fd(self._woken)
            os.close(self._pipe)
        super().__exit__()

    def _note(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if self._noted and callable(before):
            before(number, frame)
        elif self._noted and before is signal.SIG_DFL:
            signal.signal(number, before)
            signal.raise_signal(number)
        self._noted = True
        super()._note(number, frame)

    def _listen(self, pipe: int) -> None:
        """Until the other end is closed."""
        heard, ours = False, any(map(_ending, self._before.values()))
        while number := os.read(pipe, 1):
            if number[0] not in STATUS:
                continue
            self.status = self.status or STATUS[signal.Signals(number[0])]
            if heard and ours:
                os._exit(self.status)
            if not heard:
                told = f"{signal.Signals(number[0]).name} heard: {HEARD}{ONCE_MORE * ours or '.'}"
                with contextlib.suppress(OSError):  # of a terminal that closed
                    os.write(2, f"\n{told}\n".encode())
            heard = True
        os.close(pipe)


class Ending(_Signals):
    """Where no loop listens: the first one raises KeyboardInterrupt, and where a library
    swallows that, or takes its time, the process ends GRACE seconds later; at once within an
    import, where it would abort an extension that begins."""

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.status:
            os._exit(self.status)
        super()._note(number, frame)
        if _importing(frame):
            self._leave()
        # A library that catches KeyboardInterrupt would print it.
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
