"""What inputs and targets may be: their types, shapes and values, judged before anything learns.

Everything here raises RequestError: which split, what was seen, what to give instead.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import RequestError, one_line
from engine.sources.dataset import MOST_EXAMPLES, refused, room

NAME = "arrays"
MOST_CLASSES = 1 << 16
_EXACT = 1 << 24  # float32 holds every whole number up to it
By = Mapping[str, np.ndarray]  # split → an array
Judged = tuple[dict[str, np.ndarray], tuple[str, ...]]  # split → targets; names of their numbers
refuse = functools.partial(refused, NAME)


def array(split: str, what: str, value: Any) -> np.ndarray:
    """What NumPy makes of it: of jax's arrays, and PyTorch's on the CPU, without a copy."""
    try:
        return np.asarray(value)
    except Exception as error:  # the user's own type raises what it likes
        raise refuse(split, f"its {what} can't be one array ({one_line(error)})",
                     "give arrays (x, y), of one shape an example; or a split each, as in "
                     '{"train": (x, y), "test": (x, y)}') from error


def check_shape(split: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """That inputs of shape [N, ...] are some, have 2 to 5 dimensions, and fit in memory."""
    if not 2 <= len(shape) <= 5:
        instead = "x[:, None]" if len(shape) == 1 else "reshape them"
        raise refuse(split, f"its inputs have the shape {shape}, {len(shape)} dimensions",
                     f"give 2 to 5, the first of them the examples ({instead})")
    if 0 in shape:
        reason = "its inputs hold no numbers" if shape[0] else "it holds no examples"
        raise refuse(split, f"{reason} (their shape is {shape})", "give some")
    if shape[0] > (most := room(shape[1:], 1 if dtype == np.uint8 else 4)):
        raise refuse(split, f"its {shape[0]:,} inputs of shape {shape[1:]} are more than the "
                     f"{most:,} that can be held", "give fewer, smaller ones, or pictures as uint8")


def check_count(split: str, count: int) -> None:
    """That a sequence has examples, and no more than can be held, before one is read."""
    if not 0 < count <= MOST_EXAMPLES:
        raise refuse(split, f"it holds {f'{count:,}' if count else 'no'} examples",
                     f"give 1 to {MOST_EXAMPLES:,}")


def numbers(split: str, what: str, given: np.ndarray) -> np.ndarray:
    """uint8 as it is, any other real number as the same in float32; float64 is rounded to it."""
    kind = given.dtype.kind
    if given.dtype == np.uint8:
        return given
    if kind not in "biuf" and given.dtype.name != "bfloat16":
        instead = {"c": "give real numbers, such as np.abs(x) or x.real",
                   "O": "give numbers; np.stack makes one array of arrays"}
        raise refuse(split, f"its {what} are of type {given.dtype}",
                     instead.get(kind, "give numbers"))
    with np.errstate(over="ignore"):
        floats = given.astype(np.float32, copy=False)
    if kind in "iu" and (lost := _lost(given, floats)).size:
        raise refuse(split, f"its {what} hold {lost[0]}, which is no float32 (whole numbers are, "
                     f"to {_EXACT:,})", "subtract an offset, or scale them as floats")
    return floats


def finite(split: str, what: str, given: np.ndarray) -> np.ndarray:
    """The same numbers [N, ...], none of them NaN or infinite."""
    if given.dtype != np.uint8:
        _none(split, what, given, ~np.isfinite(given), "are NaN or infinite as float32",
              "fill them in, or leave these examples out")
    return given


def alike(by: By, what: str) -> None:
    """That all splits have examples of one shape, and of uint8 or none."""
    first, *others = by
    for split in others:
        one, other = by[first].shape[1:], by[split].shape[1:]
        if one != other:
            raise refuse(split, f"its {what} have the shape {other}, those of {first} {one}",
                         "give all splits one shape")
        if by[first].dtype != by[split].dtype:
            raise refuse(split, f"its {what} are {by[split].dtype}, those of {first} "
                         f"{by[first].dtype}, and uint8 alone is scaled to 0..1",
                         "give all splits one type")


def classes(given: By, names: tuple[str, ...] | None) -> Judged:
    """int32 [N] of class numbers or names; the classes are `names`, or those of all splits."""
    texts = {split: _texts(y) for split, y in given.items()}
    if all(text is None for text in texts.values()):
        most = len(names) if names else MOST_CLASSES
        numbered = {split: _numbered(split, y, most, bool(names)) for split, y in given.items()}
        highest = max(int(y.max()) for y in numbered.values())
        return numbered, names or tuple(map(str, range(highest + 1)))
    found: set[str] = set()
    for split, text in texts.items():
        if text is None:
            raise refuse(split, "its labels are numbers, and names elsewhere", "give all alike")
        found.update(text)
    known = checked(names or sorted(found))
    if strange := found.difference(known):
        raise RequestError(f"{NAME}: the label {min(strange)!r} is none of the {len(known)} names; "
                           "name it too, or leave its examples out.")
    number = {name: index for index, name in enumerate(known)}
    return {split: np.array([number[name] for name in text or ()], np.int32)
            for split, text in texts.items()}, known


def quantities(given: By, names: tuple[str, ...] | None) -> Judged:
    """float32 [N] or [N, K], K outputs to predict."""
    for split, y in given.items():
        if y.ndim not in (1, 2) or not y.size:
            raise refuse(split, f"its targets have the shape {y.shape}", "give [N] or [N, K]")
    found = {split: _floats(split, y) for split, y in given.items()}
    alike(found, "targets")
    return found, _outputs(found, names)


def labels(given: By, names: tuple[str, ...] | None) -> Judged:
    """float32 [N, K] of 0 and 1, each of K labels false or true."""
    for split, y in given.items():
        if y.ndim != 2 or not y.size:
            raise refuse(split, f"its targets have the shape {y.shape}",
                         "give 0 or 1 for every label, [N, K]; for one class an example, "
                         "kind='classes'")
    found = {split: _floats(split, y) for split, y in given.items()}
    for split, y in found.items():
        _none(split, "targets", y, (y != 0) & (y != 1), "are neither 0 nor 1",
              "give 0 or 1, or kind='numbers'")
    alike(found, "targets")
    return found, _outputs(found, names)


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes or outputs, each its own and fit to print."""
    if isinstance(names, str) or not len(names):
        raise RequestError(f"{NAME}: the names are {names!r}; give a list of them.")
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise RequestError(f"{NAME}: the name {name!r} can't be printed; give text.")
        if name in seen:
            raise RequestError(f"{NAME}: two are called {name!r}; give each a name of its own.")
        seen.add(name)
    return tuple(map(str, names))


def _lost(whole: np.ndarray, floats: np.ndarray) -> np.ndarray:
    """Which whole numbers are no float32."""
    if not whole.size or (-_EXACT <= int(whole.min()) and int(whole.max()) <= _EXACT):
        return np.empty(0)
    with np.errstate(invalid="ignore"):
        back = floats.astype(np.int64)  # beyond its bounds every processor has its own answer
    return whole[(back != whole) | (np.abs(floats) >= 2.0**63)]


def _floats(split: str, y: np.ndarray) -> np.ndarray:
    return finite(split, "targets", numbers(split, "targets", y).astype(np.float32, copy=False))


def _outputs(found: By, names: tuple[str, ...] | None) -> tuple[str, ...]:
    shape = next(iter(found.values())).shape[1:]
    count = shape[0] if shape else 1
    if names and len(names) != count:
        raise RequestError(f"{NAME}: {len(names)} names for {count} outputs; name each of them.")
    return names or tuple(map(str, range(count)))


def _texts(y: np.ndarray) -> list[str] | None:
    """Labels that are names; None where they aren't."""
    if y.ndim != 1 or y.dtype.kind not in "UTO":
        return None
    listed = y.tolist()
    return listed if all(isinstance(name, str) for name in listed) else None


def _numbered(split: str, y: np.ndarray, most: int, named: bool) -> np.ndarray:
    """int32 [N] of whole numbers below `most`."""
    if y.ndim == 2:
        raise refuse(split, f"its labels have the shape {y.shape}, and a class is one number",
                     "give y[:, 0]" if y.shape[1] == 1 else
                     "give y.argmax(1) of one-hot rows, or kind='labels' where several are true")
    if y.ndim != 1:
        raise refuse(split, f"its labels have the shape {y.shape}", "give one number each, [N]")
    if y.dtype.kind not in "biuf":
        raise refuse(split, f"its labels are of type {y.dtype}", "give whole numbers, or strings")
    if y.dtype.kind == "f":
        y = y.astype(np.float64)  # in which the greatest number below is not infinite
        _none(split, "labels", y, ~np.isfinite(y), "are NaN or infinite",
              "leave these examples out")
        _none(split, "labels", y, y != np.floor(y), "are no whole numbers",
              "give class numbers, or kind='numbers' to predict quantities")
    _none(split, "labels", y, y < 0, "are negative", "number the classes from 0, and leave out "
          "what has no label")
    _none(split, "labels", y, y >= most, f"are beyond the {most:,} classes that "
          + ("are named" if named else "can be had"),
          "name every class" if named else
          "number the classes from 0: np.unique(y, return_inverse=True)[1]")
    return y.astype(np.int32)


def _none(
    split: str, what: str, given_Nx: np.ndarray, wrong_Nx: Any, why: str, instead: str
) -> None:
    """Refuses examples of which any number is `wrong`: how many they are, and the first."""
    wrong_N = wrong_Nx.reshape(len(wrong_Nx), -1).any(1)
    if wrong_N.any():
        first = int(wrong_N.argmax())
        value = given_Nx[first][wrong_Nx[first]].flat[0]
        raise refuse(split, f"the {what} of {wrong_N.sum():,} of its {len(wrong_N):,} examples "
                     f"{why}, the first at index {first} ({value})", instead)
