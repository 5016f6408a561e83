"""Whether the other processes of a job are there: all meet again and again, in the background.

jax's heartbeats notice too, and end the process with a C++ stack and a core dump. This speaks
first, in a line.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from orbax.checkpoint import multihost

MEETINGS = 5  # in the time that a process may be silent
PATIENCE = 3  # of jax's heartbeats, times ours
LOOK_SECONDS = 0.5
_leaving = threading.Event()
_last_word = threading.RLock()  # whoever takes it keeps it to the end of the process


def _end(words: str) -> None:
    """At once: the main thread may wait in a computation that never ends."""
    _last_word.acquire()
    try:
        print(f"flaxmill: {words}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    finally:  # whoever read them may be gone too
        os._exit(1)


@contextlib.contextmanager
def within(seconds: float, words: str) -> Iterator[None]:
    """End the process, with these words, where the block takes longer."""
    timer = threading.Timer(seconds, _end, [words])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stop() -> None:
    """Miss nobody from now on: this process is about to leave, and has its own last word."""
    _last_word.acquire()
    _leaving.set()


def first_is_gone(address: str) -> None:
    """End the process, unless it is about to leave anyway."""
    if not _leaving.is_set():
        _end(f"the first process of the job, at {address}, is gone. Start all of them again, with "
             "--resume.")


def keep_meeting(seconds: float) -> None:
    """Meet the others until `stop`; where they stay away for so long, end the process.

    To be called by all of them, with the same seconds, once jax's devices are known.
    """
    met = time.monotonic()

    def meet() -> None:
        nonlocal met
        barrier = multihost.get_barrier_sync_fn()
        while not _leaving.wait(seconds / MEETINGS):
            with contextlib.suppress(Exception):  # jax's, where somebody stays away
                # One name for all meetings: the coordinator remembers every name for ever.
                barrier(key="flaxmill presence", timeout_ms=int(1000 * seconds))
                met = time.monotonic()

    def look() -> None:
        nonlocal met
        looked = time.monotonic()
        while not _leaving.wait(LOOK_SECONDS):
            now = time.monotonic()
            if now - looked > seconds / 2:  # this process itself was stopped
                met = now
            looked = now
            if now - met > seconds:
                _end(f"another process of the job has been silent for {seconds:g} s: it is lost "
                     "or stopped. Start all of them again, with --resume.")

    for work in (meet, look):
        threading.Thread(target=work, name=f"presence: {work.__name__}", daemon=True).start()
