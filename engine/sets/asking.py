"""What a user's own objects are asked for: they raise what they like."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.errors import RequestError, one_line
from engine.sets import values


@contextlib.contextmanager
def reading(split: str, what: str, instead: str) -> Iterator[None]:
    """Around the user's own code, which raises what it likes: its faults as RequestError."""
    try:
        yield
    except RequestError:  # ours
        raise
    except Exception as error:
        told = ": ".join([type(error).__name__, *str(error).strip().splitlines()[-1:]])
        raise values.refuse(split, f"{what} can't be read ({one_line(told)})", instead) from error


def as_array(given: Any, split: str, what: str = "array") -> np.ndarray:
    """NumPy's, but of a sequence that can't be iterated over as many as it says: NumPy would go on
    until it raises IndexError, which a PyTorch Dataset needn't. Raises RequestError where some of
    it are masked, which NumPy would forget."""
    parts = given if isinstance(given, list) else [given]
    if hidden := sum(map(np.ma.count_masked, filter(np.ma.isMaskedArray, parts))):
        size = sum(map(np.size, parts))
        raise values.refuse(split, f"{hidden:,} of the {size:,} values of its {what} are masked",
                            "fill them in, .filled(0) for one, or leave those examples out")
    endless = all(hasattr(given, name) for name in ("__len__", "__getitem__")) and not any(
        hasattr(given, name) for name in ("__iter__", "__array__"))
    try:
        return np.asarray([given[at] for at in range(len(given))] if endless else given)
    except ValueError as error:
        if not isinstance(given, list) or "inhomogeneous" not in str(error):
            raise
        raise ValueError("its examples are of several lengths: pad them to one, tokens with 0"
                         ) from None


def array(what: str, given: Any) -> np.ndarray:
    """Of whatever NumPy makes an array of numbers of. Raises RequestError."""
    with reading(what, "as an array, it", "give numbers, as many for each example"):
        found = as_array(given, what, "inputs")
    if found.dtype.kind not in "biuf" and found.dtype.name != "bfloat16":
        raise values.refuse(what, f"it is of type {found.dtype}", "give numbers")
    return found
