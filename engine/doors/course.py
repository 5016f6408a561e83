"""The course of a run by its config: its durations in updates, its rate; and what can't be meant of
them, of stopping and of averages, or has no effect."""

import math
from collections.abc import Iterator
from typing import Any

from engine.config import Config, Hyper
from engine.errors import RequestError
from engine.optim import lengths, schedules
from engine.optim.lengths import LENGTH, Durations
from engine.optim.optimizers import is_named


def durations(config: Config, num_train: int) -> Durations:
    """Epochs as steps: the only place where one becomes the other. Raises RequestError for what is
    typed in updates and as long as the run, or shorter than an update."""
    epoch = math.ceil(num_train / config.batch_size)
    total = config.epochs * epoch
    for name, value in config.durations:
        steps = lengths.in_steps(value, epoch)
        if lengths.is_steps(value) and steps >= total or not steps and name != "warmup_epochs":
            is_long = f"as long as the run of {total} updates" if steps else "not one update"
            raise RequestError(f"--{name} {value} is {is_long}: type "
                               f"{'less, or more --epochs' if steps else 'more'}.")
    found = {name: lengths.in_steps(getattr(config, lengths.FLAG.get(name, name)), epoch)
             for name in Durations._fields if name not in ("epoch", "total", "milestones")}
    milestones = tuple(lengths.in_steps(at, epoch) for at in lengths.listed(config.milestones))
    return Durations(epoch=epoch, total=total, milestones=milestones, **found)


def rate_at(asked: Config, durations: Durations, hyper: Any, step: int) -> float | None:
    """The learning rate of an update; None of a forest, and of an optimizer of one's own, whose
    schedule is its own too."""
    peak = getattr(hyper, "learning_rate", None)
    return None if peak is None or not is_named(asked.optimizer) else \
        float(peak) * schedules.multiple(asked.schedule, durations, hyper, step)


def refused(config: Config, hyper: Any) -> Iterator[str]:
    """Why a run can't be meant so, in words."""
    if not _sound(config.milestones):
        yield f"--milestones {config.milestones}: {lengths.SUCH}, with commas between: 30,60,90."
        return
    for name, value in config.durations:
        if not lengths.is_steps(value) and float(value) >= config.epochs:
            yield (f"--{name} {value} is as long as the run of {config.epochs} epochs: type less, "
                   "or more --epochs.")
    yield from _idle(config, hyper)
    yield from _needed(config)
    if config.average_from and isinstance(hyper, Hyper) and hyper.ema_decay is not None:
        yield (f"--average_from {config.average_from} and --ema_decay are two averages: type one "
               "of the two.")


def _sound(milestones: str) -> bool:
    try:
        return all(lengths.is_steps(value) or 0 < float(value) < math.inf
                   for value in lengths.listed(milestones))
    except ValueError:
        return False


def _idle(asked: Config, hyper: Any) -> Iterator[str]:
    """What nothing would use. The values of an optimizer of the user's own are its own."""
    schedule = asked.schedule
    given = {name: (getattr(asked, name), getattr(Config, name)) for name in
             ("warmup_epochs", "milestones", "period", "plateau_patience")}
    if isinstance(hyper, Hyper):
        given |= {name: (getattr(hyper, name), None) for name in schedules.VALUES}
    for name, (value, default) in given.items():
        using = schedules.users(LENGTH.get(name, name))
        if schedule not in using and not (value is default or value == default):
            yield (f"--{name} {value} has no effect with --schedule {schedule}: type --schedule "
                   f"{' or '.join(using)}, or leave it out.")
    if asked.min_delta and not asked.patience:
        yield (f"--min_delta {asked.min_delta} has no effect without --patience: type --patience "
               "5, or leave it out.")
    if asked.monitor and not asked.watches:
        yield (f"--monitor {asked.monitor} has no effect without --patience or --schedule "
               "plateau: type one, or leave it out.")


def _needed(asked: Config) -> Iterator[str]:
    """What a schedule lacks."""
    if asked.schedule == "step" and bool(asked.milestones) == bool(asked.period):
        yield ("--schedule step drops the rate at --milestones 30,60 or every --period 30: type "
               "one of the two.")
    if asked.schedule == "restarts" and not asked.period:
        yield "--schedule restarts needs the first cosine's length: type --period 10."
    if asked.schedule == "plateau" and not asked.plateau_patience:
        yield "--plateau_patience 0 would drop the rate every epoch: type 1 or more."
