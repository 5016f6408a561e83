"""Inputs of several arrays by their names, which lie as one: data=({"text": x, "image": z}, y).

N: examples, F: numbers of one.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from engine.disk.files import is_count, is_text
from engine.errors import some
from engine.sets import values
from engine.sets.asking import as_array, reading
from engine.sets.columns import Columns

MOST_FIELDS, MOST_NUMBERS = 1000, 1 << 31
_DTYPES = "uint8", "int32", "float32"


class Field(NamedTuple):
    """One of them: the shape of an example's, and its dtype: uint8 is handed to a network as
    float32 from 0 to 1, the others as they are."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole ones, such as codes."""
        return self.dtype == "int32"

    @property
    def names(self) -> tuple[str, ...]:
        """Of its numbers."""
        return tuple(",".join([self.name, *map(str, at)]) for at in np.ndindex(*self.shape))

    def __str__(self) -> str:
        return f"{self.name} ({' × '.join([*map(str, self.shape), self.dtype])})"


@dataclass(frozen=True)
class Bundle:
    """Its fields lie in the order of their names in float32 [N, F], whole numbers up to 2²⁴ exact.
    It stands where a table's Columns do, and so they are its `columns`."""

    columns: tuple[Field, ...]
    embeddings: ClassVar[tuple[int, ...]] = ()
    words: ClassVar[tuple[str, ...]] = ()
    target_mean: ClassVar[tuple[float, ...]] = ()
    target_scale: ClassVar[tuple[float, ...]] = ()

    @classmethod
    def of(cls, split: str, given: Mapping[Any, Any]) -> "Bundle":
        """What arrays [N, ...] are. Raises RequestError for what are none."""
        fields = tuple(sorted(Field(name, array.shape[1:], array.dtype.name)
                              for name, array in _arrays(split, given)))
        if not 0 < len(fields) <= MOST_FIELDS:
            raise values.refuse(split, f"its inputs are a mapping of {len(fields):,}",
                                f"give 1 to {MOST_FIELDS:,} arrays by their names")
        return cls(fields)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers, F."""
        return tuple(name for field in self.columns for name in field.names)

    @property
    def width(self) -> int:
        """F."""
        return sum(field.size for field in self.columns)

    @property
    def text(self) -> str:
        """JSON, which `read` reads."""
        return json.dumps({"fields": [field._asdict() for field in self.columns]}, indent=1) + "\n"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def parts(self) -> Iterator[tuple[Field, slice]]:
        """Each field, and where it lies."""
        at = 0
        for field in self.columns:
            yield field, slice(at, at + field.size)
            at += field.size

    def pack(self, split: str, given: Any) -> np.ndarray:
        """float32 [N, F] of a mapping of arrays; others than these are passed over. Raises
        RequestError for those that are missing, and for other shapes, types or lengths."""
        if not isinstance(given, Mapping) or (lacks := [
                field.name for field in self.columns if field.name not in given]):
            seen = f"lack {some([*map(repr, lacks)])}" if isinstance(given, Mapping) else \
                f"are of type {type(given).__name__}"
            raise values.refuse(split, f"its inputs {seen}",
                                f"give a mapping of {', '.join(map(str, self.columns))}")
        found = dict(_arrays(split, {field.name: given[field.name] for field in self.columns}))
        count = len(next(iter(found.values())))
        values.check_shape(split, (max(count, 1), self.width), np.dtype("f4"))
        packed = np.empty((count, self.width), np.float32)
        for field, place in self.parts():
            array = found[field.name]
            _check(split, field, array, count)
            packed[:, place] = array.reshape(count, field.size)
            if field.dtype == "uint8":
                packed[:, place] /= 255
        return packed

    def encode(self, given: Any) -> np.ndarray:
        """`pack` of what is to be predicted."""
        return self.pack("predict", given)

    def unpacked(self, inputs: Any) -> dict[str, Any]:
        """Of [B, F], NumPy's or jax's, the arrays [B, ...] as a network is handed them."""
        return {field.name: inputs[:, place].reshape(inputs.shape[0], *field.shape).astype(
            "int32" if field.whole else inputs.dtype) for field, place in self.parts()}

    def __str__(self) -> str:
        return ", ".join(map(str, self.columns))


Encoder = Columns | Bundle  # what makes float32 [N, F] of what a user gives


def read(content: Any) -> Bundle:
    """Of `Bundle.text`'s JSON. Raises ValueError, KeyError or TypeError for what is none."""
    fields = [Field(each["name"], tuple(each["shape"]), each["dtype"])
              for each in content["fields"]]
    for field in fields:
        if not (is_text(field.name) and all(map(is_count, field.shape)) and len(field.shape) < 5
                and field.dtype in _DTYPES):
            raise ValueError(f"an input can't be {tuple(field)!r:.60}")
    if not fields or len({field.name for field in fields}) < len(fields) \
            or not 0 < Bundle(tuple(fields)).width < MOST_NUMBERS:
        raise ValueError("its inputs are none, too many, or twice the same")
    return Bundle(tuple(fields))


def _arrays(split: str, given: Mapping[Any, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Each, whole numbers as int32, but for uint8, and all others as float32."""
    for name, value in given.items():
        if not isinstance(name, str) or not name.isprintable() or not name.strip():
            raise values.refuse(split, f"an input is named {name!r:.40}", "name it by a text")
        with reading(split, f"its input {name!r}", "give an array of numbers"):
            array = as_array(value, split, f"input {name!r}")
        if not array.ndim or 0 in array.shape[1:] or array.ndim > 5:
            raise values.refuse(split, f"its input {name!r} has the shape {array.shape}",
                                "give arrays of 1 to 5 dimensions, the first of them the examples")
        kept = values.numbers(split, f"inputs {name!r}", array)
        yield name, kept.astype(np.int32) if array.dtype.kind in "iu" and kept.dtype != np.uint8 \
            else kept


def _check(split: str, field: Field, array: np.ndarray, count: int) -> None:
    """Raise RequestError where an array isn't of the field's form: floats may be whole numbers."""
    whole = field.whole and array.dtype == np.float32
    other = (array.dtype == np.uint8) != (field.dtype == "uint8") or \
        whole and bool((array != np.floor(array)).any())
    if len(array) != count or array.shape[1:] != field.shape or other:
        own = Field(field.name, array.shape[1:], array.dtype.name)
        raise values.refuse(split, f"its input {own} of {len(array):,} examples is not {field} of "
                            f"{count:,}", "give all one length, and every split and example one "
                            "shape and type, 0.0 where there are fractions")
