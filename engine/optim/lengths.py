"""Durations as they are typed: epochs as 5, 2.5 or 5ep, updates as 300st; a run's in updates."""

import re
from typing import NamedTuple

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
