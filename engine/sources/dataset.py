"""What every source returns: inputs and targets on the host."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine import errors

# Above ImageNet's 1,431,167 images, and its 16 GB at 64 × 64: they lie in memory, undivided.
MOST_EXAMPLES = 2_000_000
MOST_BYTES = 18_000_000_000


class Split(NamedTuple):
    """inputs [N, ...], uint8 or float32; targets [N, ...], int32 classes or float32: NumPy on the
    host, jax arrays on a device."""

    inputs: Any
    targets: Any


@dataclass(frozen=True)
class Dataset:
    """Named splits of one set; `fingerprint` changes when its bytes do.

    `classes` are the names of the classes that targets [N] number; else of the outputs, the columns
    of targets [N, K].
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    fingerprint: str


def asked(name: str, present: Iterable[str], splits: Sequence[str] | None) -> list[str]:
    """The split names to load: `splits`, else all. Raises RequestError for one not `present`."""
    present = list(present)
    for split in splits or ():
        if split not in present:
            raise errors.unknown(f"split of {name}", split, present)
    return list(splits or present)


def room(shape: tuple[int, ...], itemsize: int = 1) -> int:
    """How many inputs of that shape, of `itemsize` bytes a number, a split may hold."""
    return min(MOST_EXAMPLES, MOST_BYTES // (itemsize * math.prod(shape)))


def refused(name: str, path: str, reason: object, instead: str) -> errors.RequestError:
    """That a set of the user's own can't be had, and what to do."""
    return errors.RequestError(f"{name}:{path}: {reason}; {instead}.")


def varying(name: str, first_HxW: tuple[int, ...], other_HxW: tuple[int, ...]) -> Exception:
    """The refusal of images that can't be one array."""
    return errors.RequestError(
        f"the images of {name} vary in size ({first_HxW}, then {other_HxW}): pass --image_size, "
        "64 for example"
    )
