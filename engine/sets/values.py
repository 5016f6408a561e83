"""What inputs and targets may be: their types, shapes and values, judged before anything learns.
Everything here raises RequestError: which split, what was seen, what to give instead."""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import RequestError, some
from engine.examples import UNLABELLED
from engine.sets.limits import refused, room
from engine.sets.names import ARRAYS
from engine.sets.rounding import unheld
from engine.sets.tabular import is_frame

MOST_CLASSES = 1 << 16
MOST_CODES = 1 << 18  # the classes of positions, such as a vocabulary
MOST_POSITIONS = (1 << 31) - 1  # which are counted in int32
_EXACT = 1 << 24  # float32 holds every whole number up to it
_LOOKED_AT = 256  # examples
By = Mapping[str, np.ndarray]  # split → an array
Targets = tuple[dict[str, np.ndarray], tuple[str, ...]]  # split → targets; names of their numbers
refuse = functools.partial(refused, ARRAYS)


def check_shape(split: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """That inputs of shape [N, ...] are some, have 2 to 5 dimensions, and fit in memory."""
    a_number = dtype.kind not in "USO"  # others are refused by `numbers`: their shape says nothing
    if a_number and (not 2 <= len(shape) <= 5 or 0 in shape):
        raise refuse(split, f"its inputs have the shape {shape}", "give some, of 2 to 5 dimensions,"
                     " the first of them the examples (x[:, None] where each is one number)")
    if shape[0] > (most := room(shape[1:], 1 if dtype == np.uint8 else 4)):
        raise refuse(split, f"its {shape[0]:,} inputs of shape {shape[1:]} are more than the "
                     f"{most:,} that can be held", "give fewer, smaller ones, or pictures as uint8")


def form(x: np.ndarray, y: np.ndarray, first: int = 0) -> str:
    """What an example is, in words, from the axis `first` on; uint8 alone is scaled to 0..1."""
    if is_frame(x):
        return f"rows of a table with a target of shape {y.shape[first:]}"
    scaled = "uint8" if x.dtype == np.uint8 else "not uint8"
    return f"of shape {x.shape[first:]} ({scaled}) with a target of shape {y.shape[first:]}"


def same_columns(split: str, table: Any, first: str, expected: Any) -> None:
    """That the tables of two splits have columns of the same names, in any order."""
    if not is_frame(table):
        return
    names, wanted = ({*map(str, frame.columns)} for frame in (table, expected))
    if names != wanted:
        told = [f"{what} {some(list(map(repr, sorted(which))))}" for what, which in
                (("lacks", wanted - names), ("has besides", names - wanted)) if which]
        raise refuse(split, f"of the columns of {first} its table {' and '.join(told)}",
                     "give all splits the same columns")


def numbers(split: str, what: str, given: np.ndarray) -> np.ndarray:
    """uint8 as it is; any other real and finite numbers [N, ...] as float32, rounded to it."""
    kind = given.dtype.kind
    if given.dtype == np.uint8:
        return given
    if kind not in "biuf" and given.dtype.name != "bfloat16":
        text = what != "targets" and isinstance(next(given.flat, 0), str | bytes)
        raise refuse(split, f"its {what} are of type {given.dtype}", "give real numbers" + (
            ": text isn't encoded here, make tokens of it, int32 [N, T], as docs/own.md does"
            if text else ", of one shape: np.stack makes one array of arrays"))
    if kind in "iu":
        _none(split, what, given, (given > _EXACT) | (given < -_EXACT), "are whole numbers beyond "
              f"{_EXACT:,}, and float32 would round them", "subtract an offset, or scale them")
    with np.errstate(over="ignore"):
        floats = given.astype(np.float32, copy=False)
    _none(split, what, floats, ~np.isfinite(floats), "are NaN or infinite as float32",
          "fill them in, or leave these examples out")
    return floats


def weights(given: np.ndarray, count: int) -> np.ndarray:
    """Of so many examples, float32 [N]. Raises ValueError for what can be none, in words."""
    if given.shape != (count,) or given.dtype.kind not in "biuf":
        raise ValueError(f"are {given.dtype} {given.shape}, one number for each of {count:,} "
                         "examples is needed")
    with np.errstate(over="ignore"):
        found = given.astype(np.float32)
    if wrong := int((~np.isfinite(found) | (found < 0)).sum()):
        raise ValueError(f"are negative, NaN or infinite in {wrong:,} of {count:,} examples")
    return found


def scale(inputs: Any) -> tuple[str, ...]:
    """What to say of the scale of inputs [N, ...] where it may not be the one that is meant."""
    if not isinstance(inputs, np.ndarray):
        return ()
    if inputs.dtype == np.uint8 and inputs.ndim == 2:
        return ("inputs of uint8 become 0 to 1, as pictures' do: give int32 where they are codes",)
    some = inputs[:_LOOKED_AT]
    pictures = inputs.dtype != np.uint8 and inputs.ndim == 4 and inputs.shape[3] in (1, 3, 4)
    if pictures and 1 < some.max() <= 255 and some.min() >= 0 and (some == np.floor(some)).all():
        return ("pictures of whole numbers up to 255 that aren't uint8 are taken as they are: give "
                "uint8 to have them as 0 to 1",)
    return ()


def targets(kind: str, given: By, names: tuple[str, ...] | None) -> Targets:
    """Those of a task of that kind; the classes or outputs are `names`, or as the data has them."""
    for split, y in given.items():
        if y.ndim == 1 and y.dtype.hasobject:
            missing_N = np.array([one is None or type(one).__name__ == "NAType"
                                  or isinstance(one, float) and one != one for one in y])
            _none(split, "targets", y[:, None], missing_N[:, None], "are missing", "leave these "
                  "examples out: with there = pandas.notna(y), give x[there], y[there]")
    if kind == "positions":
        return positions(given, names)
    return classes(given, names) if kind == "classes" else outputs(kind, given, names)


def positions(given: By, names: tuple[str, ...] | None) -> Targets:
    """int32 [N, ...] of class numbers, UNLABELLED where there is none."""
    most = len(names) if names else MOST_CODES
    found = {}
    for split, y in given.items():
        if y.ndim < 2 or 0 in y.shape or y.dtype.kind not in "biu" or y.size > MOST_POSITIONS:
            raise refuse(split, f"its targets are {y.dtype} of shape {y.shape}", "give [N, ...]: a "
                         "whole number for each position, y.astype(int), or y.argmax(-1) of "
                         "one-hot; for one class each, task='classification'")
        _none(split, "targets", y, (y < UNLABELLED) | (y >= most),
              f"are no whole numbers of 0 to {most - 1:,}, the classes that can be, nor "
              f"{UNLABELLED}, which is none", f"number the classes from 0, and give {UNLABELLED} "
              "where a position counts for nothing")
        found[split] = y.astype(np.int32)
    count = max(1, *(1 + int(y.max()) for y in found.values()))
    return found, names or tuple(map(str, range(count)))


def classes(given: By, names: tuple[str, ...] | None) -> Targets:
    """int32 [N] of class numbers or names; the classes are `names`, or those of all splits."""
    named = {split: y.tolist() for split, y in given.items()
             if y.ndim == 1 and all(isinstance(name, str) for name in y.tolist())}
    if not named:
        most = len(names) if names else MOST_CLASSES
        numbered = {split: _numbered(split, y, most) for split, y in given.items()}
        count = 1 + max(int(y.max()) for y in numbered.values())
        return numbered, names or tuple(map(str, range(count)))
    if other := [split for split in given if split not in named]:
        raise refuse(other[0], "its labels are numbers, and names elsewhere", "give all alike")
    found = set().union(*named.values())
    known = names or checked(sorted(found))
    if strange := found.difference(known):
        raise RequestError(f"{ARRAYS}: the label {min(strange)!r} is none of the {len(known)} "
                           "names; name it too, or leave its examples out.")
    number = {name: index for index, name in enumerate(known)}
    return {split: np.array([number[name] for name in text], np.int32)
            for split, text in named.items()}, known


def kind(given: By) -> str:
    """What targets are when nobody says: "numbers" where any has a fraction, else "positions" where
    an example's have two axes or more, else "classes"."""
    if all(y.ndim > 2 and y.dtype.kind in "iu" for y in given.values()):
        return "positions"
    fractions = [y for y in given.values() if y.dtype.kind == "f"
                 and (np.isfinite(y) & (y != np.floor(y))).any()]
    return "numbers" if fractions else "classes"


def outputs(kind: str, given: By, names: tuple[str, ...] | None) -> Targets:
    """float32 [N] or [N, K] of K outputs to predict ("numbers"); [N, K] of 0 and 1 ("labels")."""
    found = {}
    for split, y in given.items():
        if not (2 if kind == "labels" else 1) <= y.ndim <= 2 or not y.size:
            raise refuse(split, f"its targets have the shape {y.shape}", "give [N, K]: K numbers "
                         "an example, or 0 or 1 for each of K labels, y.reshape(len(y), -1) where "
                         "they have a form; for one class each, task='classification'")
        exact = y
        found[split] = y = numbers(split, "targets", y).astype(np.float32, copy=False)
        for why, instead in filter(any, map(unheld, exact.reshape(len(y), -1).T)):
            raise refuse(split, f"its targets {why}", instead)
        if kind == "labels":
            _none(split, "targets", y, (y != 0) & (y != 1), "are neither 0 nor 1",
                  "give 0 or 1, or task='regression'")
    count = next(iter(found.values()))[:1].size
    if names and len(names) != count:
        raise RequestError(f"{ARRAYS}: {len(names)} names for {count} outputs; name each of them.")
    return found, names or tuple(map(str, range(count)))


def are_labels(targets: np.ndarray) -> bool:
    """Whether all of them are 0 or 1, but for NaN, which is none."""
    return bool(np.isin(targets[~np.isnan(targets)], (0, 1)).all())


def named(classes: tuple[str, ...]) -> np.ndarray:
    """The numbers that the classes' names are, float64 [C]. Raises RequestError for names that are
    none: their places as text would be learned as if they were quantities."""
    found = np.full(len(classes), np.nan)
    for at, name in enumerate(classes):
        with contextlib.suppress(ValueError):
            found[at] = float(name)
    if none := [repr(classes[at][:40]) for at in np.flatnonzero(~np.isfinite(found))]:
        raise RequestError(
            f"{len(none):,} of the {len(classes):,} labels to predict as numbers are none: "
            f"{some(none, 5)}. Empty them in the table, to be unlabelled; name another column, "
            "--target COLUMN; or leave --task out, which learns them as classes.")
    return found


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes or outputs, each its own and fit to print."""
    seen: set[str] = set()
    for name in names:
        if name is not None and not str(name).strip():
            raise RequestError(f"{ARRAYS}: the name {name!r} is empty; give each a text, or leave "
                               "the examples that have none out.")
        if not isinstance(name, str) or not name.isprintable() or name in seen:
            raise RequestError(f"{ARRAYS}: the name {name!r} comes twice, or can't be printed; "
                               "give each a text of its own.")
        seen.add(name)
    return tuple(map(str, names))


def _numbered(split: str, y: np.ndarray, most: int) -> np.ndarray:
    """int32 [N] of whole numbers below `most`."""
    if y.ndim != 1 or y.dtype.kind not in "biuf":
        raise refuse(split, f"its labels are {y.dtype} of shape {y.shape}", "give one whole number "
                     "or string each: y[:, 0] of a column, y.argmax(1) of one-hot rows; or "
                     "task='multilabel' where several are true; task='positions' where "
                     "each pixel or token has one")
    if y.dtype.kind == "f":
        y = y.astype(np.float64)  # in which `most` is a number, whatever the size
    whole = (y >= 0) & (y < most) & (y == np.floor(y))  # none for NaN
    _none(split, "labels", y, ~whole, f"are no whole numbers of 0 to {most - 1:,}",
          "number the classes as np.unique(y, return_inverse=True)[1] does, and name all or none; "
          "or predict quantities, task='regression'")
    return y.astype(np.int32)


def _none(split: str, what: str, given_Nx: Any, wrong_Nx: Any, why: str, instead: str) -> None:
    """Refuses examples of which any number is `wrong`: how many they are, and the first."""
    wrong_N = wrong_Nx.any((*range(1, wrong_Nx.ndim),))
    if wrong_N.any():
        first = int(wrong_N.argmax())
        value = given_Nx[first][wrong_Nx[first]].flat[0]
        raise refuse(split, f"the {what} of {wrong_N.sum():,} of its {len(wrong_N):,} examples "
                     f"{why}, the first at index {first} ({value})", instead)
