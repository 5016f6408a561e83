"""What every source returns: inputs and targets on the host; and what each asks first."""

import dataclasses
import functools
import hashlib
import math
import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np

from engine.devices.choose import host_memory
from engine.errors import RequestError, sides, unknown

if TYPE_CHECKING:
    from engine.sources.bundle import Bundle
    from engine.sources.stored_table import StoredTable

# Above ImageNet's 1,431,167 images, and its 16 GB at 64 × 64: they lie in memory, undivided.
MOST_EXAMPLES = 2_000_000
MOST_BYTES = 18_000_000_000
MOST_COMPARED = 4_000_000_000  # bytes that are searched for equal examples
_HASHED = 1024  # examples at once
_SPLIT = re.compile(r"[\w.-]{1,64}")  # what --train_split can name


def is_frame(inputs: Any) -> bool:
    """Whether it is a pandas DataFrame; where pandas isn't imported, nothing is."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(inputs, pandas.DataFrame)


def is_stored(inputs: Any) -> TypeGuard["StoredTable"]:
    """Whether it is a table that lies in files; where that module isn't imported, nothing is."""
    module = sys.modules.get("engine.sources.stored_table")
    return module is not None and isinstance(inputs, module.StoredTable)


def has_columns(inputs: Any) -> bool:
    """Whether it is a table, in memory or in files, whose columns aren't features yet."""
    return is_frame(inputs) or is_stored(inputs)


class Split(NamedTuple):
    """inputs [N, ...], uint8 or float32, or a table's columns, a pandas DataFrame of N rows or a
    StoredTable; targets [N, ...], int32 classes, of which UNLABELLED is none, or float32, NaN where
    there is none; weights float32 [N], by which training multiplies each one's loss, or None: NumPy
    on the host, jax arrays on a device."""

    inputs: Any
    targets: Any
    weights: Any = None


UNLABELLED = -1


@dataclass(frozen=True)
class Dataset:
    """Named splits of one set; `fingerprint` changes when its bytes do.

    `classes` are the names of the classes that targets [N] number; else of the outputs, the columns
    of targets [N, K]. `notes` are sentences for the user: what its source understood, left out and
    why. `groups` are int32 [N] by split, where examples of one group are never parted.
    `labels` says where a table's targets come from, as a person goes on reading, or is "".
    `left_out` are columns of a table that aren't learned from, as asked; `pixels` those that are a
    picture's, in its order, where their names don't tell it; `target` those that are learned;
    `bundle` what the inputs are where they are several by their names.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    fingerprint: str
    notes: tuple[str, ...] = ()
    groups: Mapping[str, Any] = field(default_factory=dict)
    labels: str = ""
    left_out: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    bundle: "Bundle | None" = None

    @property
    def is_table(self) -> bool:
        """Whether its inputs are columns, which become features once it is cut."""
        return any(has_columns(split.inputs) for split in self.splits.values())


def without(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The set without those of its tables' columns that have these names."""
    held = {name: split.inputs for name, split in dataset.splits.items()
            if has_columns(split.inputs)}
    gone = {name: [c for c in inputs.columns if str(c) in names] for name, inputs in held.items()}
    if not any(gone.values()):
        return dataset
    splits = {name: split._replace(inputs=held[name].drop(columns=gone[name]))
              for name, split in dataset.splits.items()}
    left_out = *dataset.left_out, *map(str, next(iter(gone.values())))
    return dataclasses.replace(dataset, splits=splits, left_out=left_out)


def asked(name: str, present: Iterable[Any], splits: Sequence[str] | None = None) -> list[str]:
    """The names to load: `splits`, else all that are `present`. Raises RequestError."""
    present = list(present)
    if not present:
        raise RequestError(f"{name} holds no examples.")
    for split in present:
        if not isinstance(split, str) or not _SPLIT.fullmatch(split):
            raise RequestError(f"{name}: the split {split!r} has a name that can't be typed; name "
                               "it with letters, digits, _, - and dots.")
    for split in splits or ():
        if split not in present:
            raise unknown(f"split of {name}", split, present)
    return list(splits or present)


@functools.lru_cache(maxsize=4)  # a sequence's examples come one after another
def _factors(width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**64, width, np.uint64) | np.uint64(1)


def content(inputs: np.ndarray) -> np.ndarray:
    """A hash of each example's bytes, uint64 [N]: equal examples have equal ones, wherever they
    lie. Not cryptographic: collisions can be made on purpose."""
    width = -(-math.prod(inputs.shape[1:]) * inputs.dtype.itemsize // 8)
    factors = _factors(width)
    found = np.empty(len(inputs), np.uint64)
    for start in range(0, len(inputs), _HASHED):
        some = np.ascontiguousarray(inputs[start : start + _HASHED])
        words = some.reshape(len(some), -1).view(np.uint8)
        if over := 8 * width - words.shape[1]:
            words = np.pad(words, ((0, 0), (0, over)))
        mixed = words.view(np.uint64) * factors
        found[start : start + _HASHED] = (mixed ^ (mixed >> np.uint64(32))).sum(axis=1)
    return found


def content_of(encoded: bytes) -> int:
    """The same of an example that is encoded, 64 bits."""
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")


def room(shape: tuple[int, ...], itemsize: int = 1) -> int:
    """How many inputs of that shape, of `itemsize` bytes a number, a split may hold."""
    return min(MOST_EXAMPLES, MOST_BYTES // (itemsize * math.prod(shape)))


class TooLarge(RequestError):
    """A set that the memory can't hold, and the `reason` in words."""

    def __init__(self, name: str, reason: str,
                 instead: str = "type a smaller --image_size, or take a smaller set"):
        super().__init__(f"{name}: {reason}: {instead}.")
        self.reason = reason


def free_bytes(times: int = 1) -> int:
    """How many can be held so many times over in the memory that is free now, MOST_BYTES at most.
    """
    memory = host_memory()
    return min(MOST_BYTES, memory[1] // times) if memory else MOST_BYTES


def fits(name: str, count: int, shape: tuple[int, ...]) -> None:
    """Raise TooLarge where so many pictures, uint8, can't be held, or not in the memory that is
    free now."""
    most = min(MOST_EXAMPLES, free_bytes() // math.prod(shape))
    if count > most:
        raise TooLarge(name, f"its {count:,} pictures of {sides(shape)} are more than "
                             f"the {most:,} that can be held")


def regular(path: str, most: int) -> os.stat_result:
    """Of a file that may be opened. Raises OSError, ValueError for no file, or too large a one."""
    seen = os.stat(path)
    if not stat.S_ISREG(seen.st_mode):  # opening a pipe would wait for its writer
        raise ValueError("it is no regular file")
    if seen.st_size > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return seen


def refused(name: str, path: str, reason: object, instead: str) -> RequestError:
    """That a set of the user's own can't be had, and what to do."""
    reason = getattr(reason, "strerror", None) or reason  # an OSError's, without its path
    return RequestError(f"{name}:{path}: {reason}; {instead}.")


def varying(name: str, first_HxW: tuple[int, ...], other_HxW: tuple[int, ...]) -> RequestError:
    """The refusal of images that can't be one array."""
    return RequestError(f"the images of {name} vary in size ({first_HxW}, then {other_HxW}): pass "
                        "--image_size, 64 for example")
