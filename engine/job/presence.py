"""Whether the other processes of a job are there: all meet again and again, in the background."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from engine.errors import tell

MEETINGS = 5  # in the time that a process may be silent
RETRY_SECONDS = 0.1
_leaving = threading.Event()


def _end(words: str) -> None:
    """End the process at once, unless it is about to leave: the main thread may wait in a
    computation that never ends."""
    if _leaving.is_set():
        return
    try:
        tell(f"flaxmill: {words}")
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
    """Miss nobody from now on: this process is about to leave, with its own last word."""
    _leaving.set()


def keep_meeting(seconds: float) -> None:
    """Meet the others until `stop`; where one is silent for so long, end the process. To be called
    by all of them, with the same seconds, once jax's devices are known."""
    from orbax.checkpoint import multihost  # late, as in Checkpoints

    pause = seconds / MEETINGS
    words = (f"another process of the job has been silent for {seconds:g} s: it is lost or "
             "stopped. Start all of them again, with --resume.")

    def meet() -> None:
        barrier = multihost.get_barrier_sync_fn()
        while not _leaving.wait(pause):
            # A timer of our own, as no answer ever comes from a coordinator that is stopped.
            with within(seconds - pause, words):
                while not _leaving.is_set():
                    try:
                        # One name for all meetings: the coordinator never forgets a name.
                        barrier(key="flaxmill presence", timeout_ms=int(1000 * seconds))
                        break
                    except Exception:  # jax's, where somebody stays away
                        _leaving.wait(RETRY_SECONDS)

    threading.Thread(target=meet, name="presence", daemon=True).start()
