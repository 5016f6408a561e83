"""A run cut into segments of some ten seconds, the unit of a signal's and of saving's patience."""

import faulthandler
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from engine.place import Place

SECONDS = 10.0
APART = 2.0  # seconds from save to save, where epochs are shorter
STUCK_SECONDS = 600  # among several processes


class Pace:
    """`steps` of a segment that takes about SECONDS, from one step at the start."""

    def __init__(self) -> None:
        self.steps = 1

    def learn(self, steps: int, seconds: float) -> None:
        """A segment of `steps` took so long."""
        self.steps = max(1, round(steps * SECONDS / max(seconds, 1e-6)))


class Segment(NamedTuple):
    """What a segment left: the state; its steps, their seconds, the epoch's steps so far."""

    state: Any
    steps: int
    seconds: float
    position: int


def rest_of_epoch(
    advance: Callable[[Any, int], Any], state: Any, position: int, epoch: int,
    most: Callable[[], int], place: Place,
) -> Iterator[Segment]:
    """`advance(state, count)` until the epoch's steps are done: each segment is waited for, and has
    `most()` steps at most. The caller may stop asking."""
    while position < epoch:
        count = min(most(), epoch - position)
        with watched(place):
            began = time.perf_counter()
            state = jax.block_until_ready(advance(state, count))
            seconds = time.perf_counter() - began
        position += count
        yield Segment(state, count, seconds, position)


def due(saved_at: float, whole: bool, place: Place) -> bool:
    """Whether it is time to save again, within an epoch or at the end of a `whole` one."""
    apart = min(APART, place.save_seconds) if whole else place.save_seconds
    return time.monotonic() - saved_at > apart


@contextmanager
def watched(place: Place) -> Iterator[None]:
    """Where the block takes longer than --stuck_seconds, print every thread's stack and leave at
    once, status 1: for a process that is alive and stuck, whose heartbeats go on."""
    seconds = place.stuck_seconds or STUCK_SECONDS * (jax.process_count() > 1)
    if not seconds:  # a timer that another has set goes on
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
