"""Schedules, a function each of the run's durations: the learning rate's course, by update step, as
a multiple of its peak.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.optim.late import optax

if TYPE_CHECKING:
    from engine.config import Durations


def constant(durations):
    """The peak throughout."""
    return optax.constant_schedule(1.0)


def linear(durations):
    """From the peak down to 0 in a line."""
    return optax.linear_schedule(1.0, 0.0, max(1, durations.total))


def cosine(durations):
    """From the peak down to 0 by half a cosine (Loshchilov & Hutter 2016)."""
    return optax.cosine_decay_schedule(1.0, max(1, durations.total))


def warmup_cosine(durations):
    """Up to the peak in a line over the warm-up, whose first step has a rate above 0 already, then
    down to 0 by half a cosine."""
    decay = max(1, durations.total)
    warmup = min(durations.warmup, decay - 1)
    return optax.warmup_cosine_decay_schedule(1.0 / (warmup + 1), 1.0, warmup, decay)


SCHEDULES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (constant, cosine, linear, warmup_cosine)
}


def schedule(name: str, durations: "Durations") -> Any:
    """The learning rate's course as a multiple of its peak, by update step."""
    return SCHEDULES[name](durations)
