"""What a sweep tries: --sweep axes, seeds and folds → one (Config, Hyper) a run."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.config import BELOW_ONE, Config, Hyper, check
from engine.doors import bring
from engine.errors import RequestError, unknown
from engine.request import Request
from engine.store import record

# Fields that have a flag of their own, or that would make runs of different data compare.
UNSWEPT = {
    "seed": "type --seeds 16 instead",
    "order_seed": "type --same_data_order instead",
    "validation_split": "type --folds 5 instead",
    "dataset": "start a sweep for each, since their accuracies don't compare",
    "train_split": "start a sweep for each",
    "image_size": "start a sweep for each",
}


MOST = 100_000  # runs of a sweep, and values of a range
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}


class Search(NamedTuple):
    """A sweep's own flags."""

    axes: tuple[str, ...] = ()
    seeds: int = 1
    samples: int = 0
    folds: int = 0
    same_data_order: bool = False
    halving: int = 0
    pbt: bool = False


SEARCH_HELP = {
    "axes": "NAME=0.1,0.2 or NAME=log:1e-4:1e-1:16 or NAME=lin:0:1:5; more than one make a grid",
    "seeds": "runs of every setting, from --seed on",
    "samples": "draw so many settings from the axes' ranges instead of their grid",
    "folds": "k-fold cross-validation on the training split",
    "same_data_order": "every run meets the same batches",
    "halving": "keep one in so many runs at each rung (successive halving)",
    "pbt": "population-based training: every epoch the worst copy the best and move on from there",
}


class Axis(NamedTuple):
    """A swept field: its values in order and, where it is a range, low, high and logarithmic."""

    name: str
    values: tuple[Any, ...]
    span: tuple[float, float, bool] | None = None
    traced: bool = False  # a field of the traced values, which never recompiles

    def at(self, share: float) -> Any:
        """The value at `share` in [0, 1) of the way along."""
        if self.span is None:
            return self.values[int(share * len(self.values))]
        low, high, logarithmic = self.span
        return low * (high / low) ** share if logarithmic else low + (high - low) * share


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


class Study(NamedTuple):
    """A sweep as asked for, and its folder."""

    path: Path
    request: Request
    search: Search
    axes: list[Axis]
    trials: list[Trial]


def _types(hyper: Any) -> dict[str, type]:
    static = {f.name: type(f.default) for f in dataclasses.fields(Config)}
    return static | dict.fromkeys(hyper._fields, float)


def _value(name: str, kind: type, text: str) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        raise RequestError(f"--sweep {name}: {text!r} is not {WORDS[kind]}.") from None


def _range(name: str, kind: type, text: str) -> Axis:
    """log:LOW:HIGH[:COUNT] or lin:LOW:HIGH[:COUNT]."""
    scale, *rest = text.split(":")
    usage = f"--sweep {name}={text}: type {scale}:LOW:HIGH:COUNT, such as log:1e-4:1e-1:16"
    try:
        low, high = float(rest[0]), float(rest[1])
        count = int(rest[2]) if len(rest) > 2 else 0
    except (ValueError, IndexError):
        raise RequestError(f"{usage}.") from None
    if len(rest) > 3 or not low < high or (scale == "log" and low <= 0) or count < 0 or count == 1:
        raise RequestError(
            f"{usage}, with LOW below HIGH{', above 0' if scale == 'log' else ''} and a COUNT of 2 "
            "or more."
        )
    if count > MOST:
        raise RequestError(f"{usage}, with a COUNT of {MOST:,} at most.")
    if kind is not float:
        raise RequestError(f"{usage} only for numbers with a fraction: list {name}'s values.")
    axis = Axis(name, (), (low, high, scale == "log"))
    # Rounded to six digits, so that 1e-3 is 0.001 in a table and in a recipe.
    values = (float(f"{axis.at(i / max(1, count - 1)):.6g}") for i in range(count))
    return axis._replace(values=tuple(dict.fromkeys(values)))


def axis(text: str, hyper: Any = Hyper()) -> Axis:  # noqa: B008  # a tuple, which none can change
    """An axis as typed, of a Config's fields and those of `hyper`. Raises RequestError for an
    unknown field or an empty range."""
    name, equals, values = text.partition("=")
    types, traced = _types(hyper), name in hyper._fields
    if name in UNSWEPT:
        raise RequestError(f"--sweep {name}: {UNSWEPT[name]}.")
    if name not in types:
        raise unknown("field to sweep", name, types.keys() - UNSWEPT.keys())
    if not equals or not values.strip(", "):
        raise RequestError(f"--sweep {text}: it has no values; type {name}=A,B,C.")
    if values.split(":")[0] in ("log", "lin"):
        return _range(name, types[name], values)._replace(traced=traced)
    listed = tuple(_value(name, types[name], v.strip()) for v in values.split(",") if v.strip())
    return Axis(name, tuple(dict.fromkeys(listed)), traced=traced)


def axes(search: Search, hyper: Any = Hyper()) -> list[Axis]:  # noqa: B008
    """Every axis of a search. Raises RequestError for what can't be searched as typed."""
    found = [axis(text, hyper) for text in search.axes]
    names = [a.name for a in found]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"--sweep {name} is given twice: put all its values in one.")
    for a in found:
        if not a.values and not search.samples:
            raise RequestError(f"--sweep {a.name}: a range needs a COUNT, or type --samples 16.")
    for flag, least in (("seeds", 1), ("samples", 0), ("folds", 0), ("halving", 0)):
        if getattr(search, flag) < least:
            raise RequestError(f"--{flag} {getattr(search, flag)}: type {least} or more.")
    settings = search.samples or math.prod(len(a.values) for a in found)
    runs = settings * search.seeds * max(1, search.folds)
    if runs > MOST:
        raise RequestError(f"a sweep of {runs:,} runs: type fewer values, --samples, --seeds or "
                           f"--folds, for {MOST:,} runs at most.")
    if search.folds == 1 or search.halving == 1:
        raise RequestError(f"--{'folds' if search.folds == 1 else 'halving'} 1: type 2 or more.")
    if search.samples and not found:
        raise RequestError("--samples needs a --sweep to draw from.")
    if search.halving and search.pbt:
        raise RequestError("--halving drops runs and --pbt replaces them: type one of the two.")
    if search.folds and (search.halving or search.pbt):
        raise RequestError(f"--{'pbt' if search.pbt else 'halving'} compares runs, and --folds "
                           "measures each on other examples: type one of the two.")
    fixed = [a.name for a in found if not a.traced]
    if fixed and (search.halving or search.pbt):
        raise RequestError(
            f"--{'pbt' if search.pbt else 'halving'} compares runs in one compiled program, and "
            f"{fixed[0]} is static: sweep {', '.join(hyper._fields)} only."
        )
    if search.pbt and not found:
        raise RequestError("--pbt moves the swept values: type a --sweep, such as "
                           "learning_rate=log:1e-4:1e-2:16.")
    return found


def _settings(found: list[Axis], search: Search, seed: int) -> Iterator[tuple[Any, ...]]:
    """The axes' values of every setting: their grid, or a quasi-random sample (Halton 1960)."""
    if not search.samples:
        yield from itertools.product(*(a.values for a in found))
        return
    from scipy.stats import qmc

    drawn = []
    for point in qmc.Halton(len(found), rng=seed).random(search.samples):
        values = (a.at(share) for a, share in zip(found, point, strict=True))
        drawn.append(tuple(float(f"{v:.6g}") if isinstance(v, float) else v for v in values))
    yield from dict.fromkeys(drawn)  # listed values alone can come twice


def trials(request: Request, search: Search) -> list[Trial]:
    """Every run of the sweep, settings outermost, then folds, then seeds."""
    config, hyper, *_ = request
    found = axes(search, hyper)
    if search.folds and config.validation_split != Config.validation_split:
        raise RequestError("--folds holds parts of the training split out: leave out "
                           f"--validation_split {config.validation_split}.")
    parts = [f"{n}/{search.folds}" for n in range(1, search.folds + 1)]
    made: list[Trial] = []
    for values in _settings(found, search, config.seed):
        named = dict(zip((a.name for a in found), values, strict=True))
        static = {a.name: named[a.name] for a in found if not a.traced}
        traced = {a.name: named[a.name] for a in found if a.traced}
        for part in parts or [config.validation_split]:
            for seed in range(config.seed, config.seed + search.seeds):
                shared = search.same_data_order and config.order_seed < 0
                order = config.seed if shared else config.order_seed
                one = bring.absolute(dataclasses.replace(
                    config, **static, seed=seed, order_seed=order, validation_split=part
                ))
                check(one, hyper._replace(**traced))
                _check_values(one, hyper)
                made.append(Trial(len(made), one, hyper._replace(**traced), named))
    return made


def _check_values(config: Config, hyper: Any) -> None:
    """Raise RequestError where a swept optimizer has other values than the sweep's."""
    wanted = record.hyper_type(config)
    if isinstance(config.optimizer, str) and not isinstance(hyper, wanted):
        raise RequestError(
            f"--sweep optimizer: {bring.short(config.optimizer)} has the values "
            f"{', '.join(wanted._fields)}, and others {', '.join(hyper._fields)}: start a sweep "
            "for each."
        )


def perturbed(name: str, value: float, up: bool) -> float:
    """Population-based training's step away from a copied value (Jaderberg et al. 2017)."""
    moved = value * (1.2 if up else 0.8)
    return min(moved, 0.999) if name in BELOW_ONE else moved
