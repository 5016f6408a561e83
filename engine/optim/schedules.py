"""Schedules, a function each: the learning rate's course, by update step, as a multiple of its
peak. Their parameters are the lengths of Durations and the Hyper fields that they use.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from engine.optim.late import jax, jnp, optax
from engine.optim.lengths import Durations

FACTOR = 0.1  # of a drop
VALUES = ("drop_factor", "period_factor", "peak_at")  # of Hyper
PEAK_AT = 0.3  # of one cycle, as in PyTorch
LOW, LEAST = 1 / 25, 1 / 25e4  # where one cycle begins and ends


def constant():
    """The peak throughout."""
    return optax.constant_schedule(1.0)


def linear(total):
    """From the peak down to 0 in a line."""
    return optax.linear_schedule(1.0, 0.0, max(1, total))


def cosine(total):
    """From the peak down to 0 by half a cosine (Loshchilov & Hutter 2017)."""
    return optax.cosine_decay_schedule(1.0, max(1, total))


def warmup_cosine(total, warmup):
    """Up to the peak in a line over the warm-up, whose first step has a rate above 0 already, then
    down to 0 by half a cosine."""
    decay = max(1, total)
    warmup = min(warmup, decay - 1)
    return optax.warmup_cosine_decay_schedule(1.0 / (warmup + 1), 1.0, warmup, decay)


def step(milestones, period, drop_factor):
    """`drop_factor` once for every milestone that is past, or for every whole `period`."""
    ends = jnp.array(milestones, jnp.int32)
    factor = FACTOR if drop_factor is None else drop_factor

    def course(count):
        drops = jnp.sum(count >= ends) if milestones else count // max(1, period)
        some = jnp.float32(jnp.maximum(drops, 1))  # 0 to the 0th has no slope
        return jnp.where(drops > 0, factor ** some, 1.0)

    return course


def restarts(total, period, period_factor):
    """SGDR (Loshchilov & Hutter 2017): cosines to 0, each `period_factor` times as long as the one
    before, the first a `period`."""
    period = max(1, period)

    def course(count):
        count = jnp.float32(count)
        if period_factor is None:
            return _cosine(1.0, 0.0, count % period / period)
        # The ends of as many cycles as the run can have, in whole updates.
        longer = jnp.where(period_factor < 1.0, 1.0, jnp.float32(period_factor))
        growth = longer ** jnp.arange(-(-total // period), dtype=jnp.float32)
        lengths = jnp.round(jnp.minimum(period * growth, total + 1.0))
        ends = jnp.cumsum(lengths)
        at = jnp.minimum(jnp.sum(count >= ends), len(ends) - 1)
        return _cosine(1.0, 0.0, (count - ends[at] + lengths[at]) / lengths[at])

    return course


def one_cycle(total, peak_at):
    """Smith 2018, as PyTorch's OneCycleLR: cosines from 1/25 of the peak to it, at `peak_at` of the
    run, and down to 1/10,000 of the first rate. Momentum stays."""
    up = jnp.maximum((PEAK_AT if peak_at is None else peak_at) * total - 1.0, 0.0)

    def course(count):
        count = jnp.float32(count)
        rise = _cosine(LOW, 1.0, count / jnp.maximum(up, 1e-6))
        return jnp.where(count <= up, rise, _cosine(1.0, LEAST, (count - up) / (total - 1.0 - up)))

    return course


def plateau(drop_factor, plateau_patience):
    """Constant, and multiplied by `drop_factor` where the validation's score has not improved for
    `plateau_patience`: patience.heard keeps that in the state."""
    return constant()


def _cosine(first, last, share):
    """From `first` to `last` by half a cosine, at a `share` of the way."""
    return last + (first - last) * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(share, 0.0, 1.0)))


SCHEDULES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (constant, cosine, linear, warmup_cosine, step, restarts, one_cycle,
                            plateau)
}


def schedule(name: str, durations: Durations, hyper: Any) -> Any:
    """The learning rate's course as a multiple of its peak, by update step."""
    available = hyper._asdict() | durations._asdict()
    made = SCHEDULES[name]
    return made(**{value: available[value] for value in inspect.signature(made).parameters})


@functools.cache
def _compiled(name: str, durations: Durations) -> Callable[[Any, int], Any]:
    return jax.jit(lambda hyper, step: schedule(name, durations, hyper)(step))


def multiple(name: str, durations: Durations, hyper: Any, step: int) -> float:
    """The course's value for one update; `hyper` may lie on devices."""
    return float(_compiled(name, durations)(jax.device_get(hyper), step))


@functools.cache
def users(value: str) -> tuple[str, ...]:
    """The schedules that use a length or a Hyper field, by its name."""
    return tuple(n for n, f in SCHEDULES.items() if value in inspect.signature(f).parameters)
