"""Durations as they are typed: epochs as 5, 2.5 or 5ep, updates as 300st; and a run's in steps."""

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import RequestError

if TYPE_CHECKING:
    from engine.config import Config

LENGTH = {"warmup_epochs": "warmup"}  # of a Durations, whose others are called as their flags
FLAG = {length: flag for flag, length in LENGTH.items()}
SUCH = "type epochs, as 5 or 5ep, or updates, as 300st"
_STEPS = re.compile(r"(\d{1,9})st")

Duration = float | str


def duration(typed: Duration) -> Duration:
    """A duration as a Config holds it: epochs as a number, updates as the word 300st. Raises
    ValueError for what is neither."""
    if isinstance(typed, str) and _STEPS.fullmatch(typed):
        return typed
    return float(typed.removesuffix("ep") if isinstance(typed, str) else typed)


def is_steps(value: object) -> bool:
    """Whether it is a duration in updates."""
    return isinstance(value, str) and bool(_STEPS.fullmatch(value))


def listed(typed: str) -> tuple[Duration, ...]:
    """Durations that are separated by commas. Raises ValueError for what is none."""
    return tuple(duration(part.strip()) for part in typed.split(",")) if typed else ()


def in_steps(value: Duration, epoch: int) -> int:
    """A duration in updates, of which an epoch has so many."""
    return int(value.removesuffix("st")) if isinstance(value, str) else round(value * epoch)


class Durations(NamedTuple):
    """The run's lengths in update steps; 0 where one isn't asked for."""

    epoch: int
    warmup: int
    total: int
    milestones: tuple[int, ...] = ()
    period: int = 0
    plateau_patience: int = 0
    patience: int = 0
    average_from: int = 0


def durations(config: "Config", num_train: int) -> Durations:
    """Epochs as steps: the only place where one becomes the other. Raises RequestError for what is
    typed in updates and as long as the run, or shorter than an update."""
    epoch = math.ceil(num_train / config.batch_size)
    total = config.epochs * epoch
    for name, value in config.durations:
        steps = in_steps(value, epoch)
        if is_steps(value) and steps >= total or not steps and name != "warmup_epochs":
            is_long = f"as long as the run of {total} updates" if steps else "not one update"
            raise RequestError(f"--{name} {value} is {is_long}: type "
                               f"{'less, or more --epochs' if steps else 'more'}.")
    found = {name: in_steps(getattr(config, FLAG.get(name, name)), epoch)
             for name in Durations._fields if name not in ("epoch", "total", "milestones")}
    milestones = tuple(in_steps(at, epoch) for at in listed(config.milestones))
    return Durations(epoch=epoch, total=total, milestones=milestones, **found)
