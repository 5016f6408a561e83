"""What can't be meant, or has no effect, whatever the data: asked before anything is imported.

The command line, `fit` and `train` all ask it.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from engine.config import Config, Hyper, is_ours
from engine.doors import course, rounds
from engine.errors import RequestError, one_line, unknown
from engine.fields import fits
from engine.hyper import AT_MOST, BELOW_ONE
from engine.optim import groups, lengths, schedules
from engine.optim.optimizers import is_named, users

_WANTED = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}


def check_fields(asked: Any) -> None:
    """Raise RequestError for a field of a Config or Place whose value is wrong by itself."""
    for f in dataclasses.fields(asked):
        value, choices, least = getattr(asked, f.name), f.metadata["choices"], f.metadata["least"]
        if f.metadata["brought"] and not is_ours(value):
            continue
        if not (fits(value, f.default) or f.metadata["duration"] and isinstance(value, str)):
            raise RequestError(f"{f.name}: {one_line(repr(value)):.80} is a {type(value).__name__};"
                               f" give {_WANTED[type(f.default)]}.")
        if choices and value not in choices:
            raise unknown(f.name, value, choices)
        if f.metadata["duration"] and isinstance(value, str) and not lengths.is_steps(value):
            raise RequestError(f"--{f.name} {value}: {lengths.SUCH}.")
        most = 1 if f.name == "threshold" else 2 ** (32 if f.name.endswith("seed") else 31)
        if not (isinstance(value, str | bool) or least <= value < most):  # nor NaN
            bound = f"less than {most}" if value >= most else f"{least} or more"
            raise RequestError(f"--{f.name} {value}: type {bound}.")


def check(config: Config, hyper: Any) -> None:
    """Raise RequestError for what is wrong whatever the data, or has no effect. The command line,
    `fit` and `train` all ask it; a traced value of `hyper` is taken as it is."""
    if config.precision == "float16":
        raise RequestError("--precision float16: gradients fall below its range unless the loss is "
                           "scaled, which is not done here: type --precision bf16, whose range is "
                           "float32's.")
    check_fields(config)
    for name, value in vars(config).items():
        try:
            hash(value)
        except TypeError as error:
            raise RequestError(
                f"{name}: this {type(value).__name__} can't be hashed ({one_line(error)}), and "
                "equal Configs share a program by their hash: use tuples for lists, frozen "
                "dataclasses, and where it holds arrays __hash__ = object.__hash__ in its class."
            ) from None
    for said in (*rounds.wrong(config, hyper), *_impossible(config, hyper),
                 *course.refused(config, hyper), *_without_effect(config, hyper)):
        raise RequestError(said)


def _impossible(config: Config, hyper: Any) -> Iterator[str]:
    """What can't be meant, in words."""
    for name, value in (*hyper._asdict().items(), ("threshold", config.threshold)):
        if isinstance(value, str):
            yield f"{name}: {value!r} is text; give a number."
        if not isinstance(value, float | int):
            continue
        if not (math.isfinite(value) and value >= 0):
            yield f"--{name} {value}: type a finite number of 0 or more."
        if value and not 1.2e-38 < abs(value) < 3.4e38:
            yield f"--{name} {value}: float32 has none such: type 0, or from 1.2e-38 to 3.4e38."
        if name in (*BELOW_ONE, "threshold") and value >= 1:
            yield f"--{name} {value}: type a number below 1."
        if value > (most := AT_MOST.get(name, value)):
            yield f"--{name} {value}: type {most:g} or less."
        if name == "cutout" and value % 1:
            yield f"--cutout {value}: type a whole number of pixels."
        if name == "clip_norm" and not value:
            yield "--clip_norm 0 would train nothing: type a norm above 0, such as 1."
        if name == "period_factor" and value < 1:
            yield f"--period_factor {value}: type a number of 1 or more."
    if found := groups.asked(config.freeze, config.unfreeze, config.rate):
        yield from _of_groups(found, not is_named(config.optimizer), hyper)
    if config.microbatch and config.batch_size % config.microbatch:
        yield f"--microbatch {config.microbatch} does not divide --batch_size {config.batch_size}."
    if config.embed and getattr(hyper, "mixup", None) is not None:
        yield ("--mixup mixes numbers, and --embed makes codes of words, between which there is "
               "nothing: leave one of them out.")


def _of_groups(found: groups.Groups, own: bool, hyper: Any) -> Iterator[str]:
    """What --freeze, --unfreeze and --rate can't mean, whatever the network."""
    if found.late and own:
        yield ("--unfreeze knows no optimizer of your own, whose steps would count from there: "
               "leave it out.")
    rate = getattr(hyper, "learning_rate", 0)
    absolute = next((rule for rule in found.rates if rule.absolute), None)
    if absolute and isinstance(rate, float | int) and not rate:
        yield (f"--rate {absolute.glob}={absolute.value} is a rate of its own, and there is no "
               "learning_rate above 0 that it would be a multiple of: type one, or 0.1x.")


def _without_effect(config: Config, hyper: Any) -> Iterator[str]:
    """What nothing would use, naming what would."""
    if config.init_map and not config.init_from:
        yield "--init_map has no effect without --init_from: type both, or leave it out."
    gamma = getattr(hyper, "focal_gamma", None)
    if gamma is not None and "focal" not in (config.loss, getattr(config.task, "loss_name", "")):
        yield (f"--focal_gamma {gamma} has no effect without --loss focal: type both, or leave it "
               "out.")
    magnitude = getattr(hyper, "magnitude", None)
    if magnitude is not None and not config.randaugment:
        yield (f"--magnitude {magnitude} has no effect without RandAugment: type --randaugment 2, "
               "or leave it out.")
    if not is_named(config.optimizer):
        if config.schedule != Config.schedule or config.nesterov:
            what = "--nesterov" if config.nesterov else f"--schedule {config.schedule}"
            yield f"{what} has no effect with an optimizer of your own: leave it out."
        return
    given = hyper._asdict() | {"nesterov": config.nesterov or None}
    for name in _idle(config.optimizer):
        if given.get(name) is not None:
            shown = "" if name == "nesterov" else f" {given[name]}"
            yield (f"--{name}{shown} has no effect with --optimizer {config.optimizer}: "
                   f"{' and '.join(users(name))} would use it; leave it out.")
    if config.nesterov and (hyper.momentum is None or isinstance(hyper.momentum, float | int)
                            and not hyper.momentum):
        yield (f"--nesterov has no effect with --optimizer {config.optimizer} without momentum: "
               "type --momentum 0.9.")


def _idle(optimizer: str) -> list[str]:
    """The values that the named optimizer doesn't use, and another one would."""
    return [name for name in (*Hyper._fields, "nesterov")
            if (using := users(name)) and optimizer not in using]


def without_idle(config: Config, hyper: Any) -> tuple[Config, Any]:
    """Both without values that nothing uses, which runs of before were free to name."""
    if is_named(config.optimizer):
        idle = _idle(config.optimizer)
        hyper = hyper._replace(**{name: None for name in idle if name in hyper._fields})
        if "nesterov" in idle or not hyper.momentum:
            config = dataclasses.replace(config, nesterov=False)
    if config.schedule not in schedules.users("warmup"):
        config = dataclasses.replace(config, warmup_epochs=Config.warmup_epochs)
    return config, hyper
