"""What a sweep tries: --sweep axes, seeds and folds → one (Config, Hyper) a run."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from engine.config import DURATIONS, Config, Hyper, Reading
from engine.doors import bring, hypers, rounds
from engine.doors.checks import check
from engine.errors import RequestError, repeated, unknown
from engine.optim import trees
from engine.optim.lengths import duration
from engine.request import Request
from engine.sweep.search import Search

# Fields that have a flag of their own, or that would make runs of different data compare.
UNSWEPT = {
    **dict.fromkeys(("class_weights", "freeze", "unfreeze", "rate", "init_from", "init_map",
                      "rank_by"), "start a sweep for each"),
    "seed": "type --seeds 16 instead",
    "order_seed": "type --same_data_order instead",
    "choose_threshold": "type it with --config best.py, after the sweep",
    "validation_split": "type --folds 5 instead",
    "dataset": "start a sweep for each, since their accuracies don't compare",
    **{name: "start a sweep for each"
       for name in ("train_split", "drop_unlabelled", *Reading._fields)},
}
MOST = 100_000  # runs of a sweep, and values of a range
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a name",
         duration: "epochs, as 5 or 5ep, or updates, as 300st"}


class Axis(NamedTuple):
    """A swept field: its values in order and, where it is a range, low, high and logarithmic. One
    that is `traced` never recompiles."""

    name: str
    values: tuple[Any, ...]
    span: tuple[float, float, bool] | None = None
    traced: bool = False

    def at(self, share: float) -> Any:
        """The value at `share` in [0, 1) of the way along; a range's rounded to six digits, so that
        1e-3 is 0.001 in a table and in a recipe."""
        if self.span is None:
            return self.values[int(share * len(self.values))]
        low, high, log = self.span
        return float(f"{low * (high / low) ** share if log else low + (high - low) * share:.6g}")


class Trial(NamedTuple):
    """One run of a sweep; `values` are those of the swept axes."""

    number: int
    config: Config
    hyper: Any
    values: dict[str, Any]

    @property
    def fold(self) -> str:
        """Such as 2/5, or nothing."""
        return self.config.validation_split if "/" in self.config.validation_split else ""

    @property
    def whole(self) -> Config:
        """Its config without the fold, as a run of its own has it."""
        return dataclasses.replace(
            self.config, validation_split=Config.validation_split) if self.fold else self.config


class Asked(NamedTuple):
    """A sweep as asked for, and its folder."""

    path: Path
    request: Request
    search: Search
    axes: list[Axis]
    trials: list[Trial]


def refuse_threshold(chosen: str) -> None:
    """Raise RequestError for a threshold to be `chosen`, which no run of many does."""
    if chosen != "off":
        raise RequestError(f"--choose_threshold {chosen} chooses at the end of a run of its own, "
                           "and not in a sweep: train its best.py with it.")


def _value(name: str, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise RequestError(f"--sweep {name}: {text!r} is not {WORDS[kind]}.") from None


def _range(name: str, text: str) -> Axis:
    """log:LOW:HIGH[:COUNT] or lin:LOW:HIGH[:COUNT]."""
    scale, *numbers = text.split(":")
    try:
        low, high, count = map(float, numbers if len(numbers) == 3 else [*numbers, "0"])
        sound = low < high and (scale == "lin" or low > 0) and (
            count % 1 == 0 and 2 <= count <= MOST or count == 0)
    except ValueError:
        sound = False
    if not sound:
        raise RequestError(f"--sweep {name}={text}: type {scale}:LOW:HIGH:COUNT, such as "
                           "log:1e-4:1e-1:16, with LOW below HIGH"
                           f"{', above 0' * (scale == 'log')} and a COUNT of 2 to {MOST:,}.")
    span = Axis(name, (), (low, high, scale == "log"))
    values = (span.at(i / max(1, count - 1)) for i in range(int(count)))
    return span._replace(values=tuple(dict.fromkeys(values)))


def axis(text: str, hyper: Any = Hyper()) -> Axis:  # noqa: B008  # a tuple, which none can change
    """An axis as typed, of a Config's fields and those of `hyper`. Raises RequestError for an
    unknown field or an empty range."""
    name, _, values = text.partition("=")
    types: dict[str, Any] = {f.name: type(f.default) for f in dataclasses.fields(Config)}
    types |= dict.fromkeys(DURATIONS, duration)
    types |= dict.fromkeys(hyper._fields, float)
    if name in UNSWEPT and name not in hyper._fields:
        raise RequestError(f"--sweep {name}: {UNSWEPT[name]}.")
    if name not in types:
        raise unknown("field to sweep", name, types.keys() - UNSWEPT.keys())
    if not values.strip(", "):
        raise RequestError(f"--sweep {text}: it has no values; type {name}=A,B,C.")
    if values.split(":")[0] in ("log", "lin"):
        if types[name] not in (float, duration):
            raise RequestError(f"--sweep {text}: a range is only for numbers with a fraction: list "
                               f"{name}'s values.")
        found = _range(name, values)
    else:
        listed = (_value(name, types[name], v.strip()) for v in values.split(",") if v.strip())
        found = Axis(name, tuple(dict.fromkeys(listed)))
    return found._replace(traced=name in hyper._fields)


def axes(search: Search, hyper: Any = Hyper()) -> list[Axis]:  # noqa: B008
    """Every axis of a search. Raises RequestError for what can't be searched as typed."""
    found = [axis(text, hyper) for text in search.axes]
    twice, fixed = repeated(a.name for a in found), [a.name for a in found if not a.traced]
    for flag, least in (("seeds", 1), ("samples", 1), ("folds", 2), ("halving", 2)):
        value = getattr(search, flag)
        if value < least and value != Search._field_defaults[flag]:
            raise RequestError(f"--{flag} {value}: type {least} or more.")
    settings = search.samples or math.prod(len(a.values) for a in found)
    runs = settings * search.seeds * max(1, search.folds)
    chooser = "--pbt" if search.pbt else "--halving" * bool(search.halving)
    for wrong, why in (
        (twice, f"--sweep {''.join(twice[:1])} is given twice: put all its values in one."),
        (not settings, f"--sweep {' '.join(a.name for a in found if not a.values)}: a range needs "
         "a COUNT, or type --samples 16."),
        (runs > MOST, f"{runs:,} runs: type fewer values, --samples, --seeds or --folds, for "
         f"{MOST:,} runs at most."),
        (search.samples and not found, "--samples needs a --sweep to draw from."),
        (search.halving and search.pbt, "--halving drops settings, --pbt replaces runs: type one "
         "of the two."),
        (search.halving and search.median, "--halving and --median both stop settings: type one of "
         "the two."),
        (search.folds and chooser, f"{chooser} compares runs, and --folds measures each on other "
         "examples: type one of the two."),
        (fixed and chooser, f"{chooser} compares runs in one compiled program, and "
         f"{' '.join(fixed)} is static: sweep {', '.join(hyper._fields)} only."),
        (search.pbt and not found, "--pbt moves the swept values: type a --sweep, such as "
         "learning_rate=log:1e-4:1e-2:16."),
        (search.sampler not in ("", "tpe"), f"--sampler {search.sampler}: type tpe, or leave it "
         "out for the grid or Halton's points."),
        ((search.sampler or search.median) and not search.study, "--sampler and --median go by "
         "what a study's other settings came to: type --study FILE too, or leave them out."),
        (search.sampler and not search.samples, "--sampler tpe needs --samples, how many settings "
         "to try."),
        (search.sampler and fixed, "--sampler tpe would compile a program for every value of "
         f"{' '.join(fixed)} that it comes to: sweep {', '.join(hyper._fields)} only."),
        (search.study and search.pbt, "--pbt copies runs of one process, and --study has many: "
         "type one of the two."),
        (search.halving > settings, f"--halving {search.halving} needs as many settings or more, "
         f"and has {settings}: type more values, or --samples."),
        (search.pbt and runs < 2, "--pbt needs 2 runs or more: type more values, --samples or "
         "--seeds."),
    ):
        if wrong:
            raise RequestError(why)
    return found


def _settings(found: list[Axis], search: Search, seed: int) -> Iterable[tuple[Any, ...]]:
    """The axes' values of every setting: their grid, or a quasi-random sample (Halton 1960)."""
    if not search.samples:
        return itertools.product(*(a.values for a in found))
    from scipy.stats import qmc

    points = qmc.Halton(len(found), rng=seed).random(search.samples)
    drawn = (tuple(a.at(share) for a, share in zip(found, point, strict=True)) for point in points)
    return dict.fromkeys(drawn)  # listed values alone can come twice


def of(request: Request, search: Search, path: Path = Path()) -> Asked:  # noqa: B008
    """The sweep of all its runs. Raises RequestError for what can't be searched, or meant."""
    found = Asked(path, request, search, axes(search, request.hyper), [])
    return found._replace(trials=trials(found))


def trials(sweep: Asked, settings: Iterable[tuple[Any, ...]] | None = None) -> list[Trial]:
    """Every run of the sweep, or of these settings of it; settings outermost, then folds, then
    seeds."""
    _, (config, hyper, *_), search, found, _ = sweep
    if search.folds and config.validation_split != Config.validation_split:
        raise RequestError("--folds holds parts of the training split out: leave out "
                           f"--validation_split {config.validation_split}.")
    others = next((n for n in ("halving", "pbt", "median") if getattr(search, n)), "")
    if config.patience and others:
        raise RequestError(f"--patience {config.patience} stops runs by their own history, and "
                           f"--{others} by the others': type one of the two.")
    if (together := others or "study" * bool(search.study)) and trees.values_of(config.model):
        raise RequestError(f"--{together} is of runs in one compiled program, and --model "
                           f"{config.model} has none: leave it out.")
    if search.halving > config.epochs:
        raise RequestError(f"--halving {search.halving} has its first rung after epoch 1 of "
                           f"{search.halving} or more: type --epochs {search.halving} or more.")
    parts = [f"{n}/{search.folds}" for n in range(1, search.folds + 1)] or [config.validation_split]
    seeds = range(config.seed, config.seed + search.seeds)
    shared = search.same_data_order and config.order_seed < 0
    config = dataclasses.replace(config, order_seed=config.seed if shared else config.order_seed)

    @cache  # traced values, of which there are many, leave it as it is
    def one_of(static: tuple[tuple[str, Any], ...], part: str, seed: int) -> Config:
        one = dataclasses.replace(config, **dict(static), seed=seed, validation_split=part)
        return bring.absolute(one)

    made: list[Trial] = []
    settings = settings or _settings(found, search, seeds[0])
    for values, part, seed in itertools.product(settings, parts, seeds):
        named = dict(zip((a.name for a in found), values, strict=True))
        traced = {name: value for name, value in named.items() if name in hyper._fields}
        static = tuple(each for each in named.items() if each[0] not in traced)
        one, own = one_of(static, part, seed), hyper._replace(**traced)
        check(one, own)
        wanted = hypers.kind_of(one)
        if isinstance(one.optimizer, str) and not isinstance(hyper, wanted):
            raise RequestError(f"--sweep optimizer: {bring.short(one.optimizer)} has the values "
                               f"{', '.join(wanted._fields)}, and others "
                               f"{', '.join(hyper._fields)}: start a sweep for each.")
        made.append(Trial(len(made), rounds.in_rounds(one), own, named))
    if len({bool(trial.config.average_from) for trial in made}) > 1:
        raise RequestError("--sweep average_from: 0 keeps no average, and its scores don't compare "
                           "with those of one: leave it out.")
    return made
