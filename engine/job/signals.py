"""Ctrl-C and SIGTERM as a wish that the loop grants between segments."""

import os
import signal
import threading

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 75}


class Interruption:
    """A context in which the first signal is only noted; a second one leaves at once.

    `status` is 0, or the exit status the signal asks for: 130 for Ctrl-C, 75 for SIGTERM.
    """

    status = 0

    def __enter__(self) -> "Interruption":
        main = threading.current_thread() is threading.main_thread()  # no other may handle any
        self._before = {s: signal.signal(s, self._note) for s in STATUS if main}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        if self.status:
            os._exit(STATUS[signal.Signals(number)])
        self.status = STATUS[signal.Signals(number)]
