"""Columns that are the pixels of pictures, one a row: which are, in which order and shape."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import some
from engine.sets import image
from engine.sets.content import content
from engine.sets.limits import fits
from engine.sets.stored import Stored
from engine.sets.tabular import is_stored
from engine.tables import frames
from engine.tables.dialect import Unreadable

_NUMBER = re.compile(r"\d+")
_STEMS = re.compile(r"(p|px|pix|pixel|pixels)?[ _.-]?#([ _.x,-]#)*", re.IGNORECASE)
_SAID = re.compile(r"(px|pix|pixels?)[ _.-]?#([ _.x,-]#)*", re.IGNORECASE)  # they are no others
_LEAST = 64  # pixels of a picture whose columns' names don't speak of any
_INSTEAD = ("pixels are whole numbers of 0 to 255, or any of 0 to 1: mend it, or call columns that "
            "are none by other names")


def shape(count: int) -> tuple[int, int, int] | None:
    """[H, W, C] of a square picture of so many numbers, 2 × 2 at least, grey or else in colour."""
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side > 1 and side * side * channels == count:
            return side, side, channels
    return None


def numbered(names: Sequence[str]) -> list[str]:
    """Those that differ in their numbers alone, in the order of these: pixel2 before pixel10, so
    row by row. Of several kinds, the most."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        if _NUMBER.search(name):
            kinds.setdefault(_NUMBER.sub("#", name), []).append(name)
    kinds["#"] = kinds.get("#", []) + kinds.pop("#.#", [])  # pandas calls a second 0 0.1
    most = max(kinds.values(), key=len)
    return sorted(most, key=lambda name: [int(n) for n in _NUMBER.findall(name)])


def unnumbered(names: Sequence[str]) -> tuple[str, ...]:
    """The names whose order numbers in them don't tell, else none."""
    return () if len(numbered(names)) == len(names) else tuple(names)


def likely(names: Sequence[str]) -> bool:
    """Whether columns of these names, all of them, are a picture's, if their numbers are."""
    return (shape(len(names)) is not None and len(numbered(names)) == len(names)
            and (len(names) >= _LEAST or bool(_STEMS.fullmatch(_NUMBER.sub("#", names[0])))))


class Pixels(Stored):
    """The pictures [N, *image_HxWxC] uint8 or float32 that the rows of a StoredTable are, of its
    columns `names` in the order of pixels, resized where these make others."""

    scattered = True

    def __init__(
        self, table: Any, names: Sequence[str], image_HxWxC: tuple[int, ...], dtype: Any
    ):
        super().__init__((len(table), *image_HxWxC), dtype, table.reason, table.hashes)
        self.table, self.names, self.stamp = table, tuple(names), table.stamp

    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        for which, frame in self.table.frames(rows, self.names):
            out[which] = resized(_shaped(frame.to_numpy(), self.dtype), self.shape[1])

    def take(self, rows: np.ndarray, hashes: np.ndarray | None = None) -> "Pixels":
        """Those rows, in that order, whose `hashes` may be known."""
        return Pixels(self.table.take(rows, hashes), self.names, self.shape[1:], self.dtype)

    def content(self) -> np.ndarray:
        """`dataset.content` of all of them, as the files have them, in one reading."""
        return np.concatenate([content(_shaped(values_NxP, self.dtype))
                               for values_NxP in _blocks(self.table, self.names)])


def resized(pictures: Any, side: int) -> Any:
    """An array's or Pixels, uint8 where they aren't of so many pixels a side, brought to it."""
    if pictures.shape[1] == side:
        return pictures
    if isinstance(pictures, Pixels):
        return Pixels(pictures.table, pictures.names, (side, side, pictures.shape[3]),
                      pictures.dtype)
    return image.resize(pictures, side)


def sized(images: Any, side: int) -> Any:
    """Columns, or the pictures that they are, of so many pixels a side where one is asked for.
    Raises Unreadable for pixels that are fractions, RequestError for too many of them."""
    if not side or side == images.shape[1]:
        return images
    if images.dtype != np.uint8:
        raise Unreadable("its pixels are fractions, which --image_size can't resize",
                         "leave it out, or write whole numbers of 0 to 255")
    if isinstance(images, np.ndarray):
        fits("table", len(images), (side, side, images.shape[3]))
    return resized(images, side)


def pictures(parts: Mapping[str, Any], asked: bool = False) -> tuple[dict[str, Any], str]:
    """By split [N, H, W, C], and what to say: float32 as they are where all are of 0..1, else uint8
    of whole numbers 0..255, Pixels of a StoredTable; {} where the columns, the same ones in all
    parts, are no pixels. They are in the order of the numbers in their names, or where these have
    none in the columns' own. Raises Unreadable where they are pixels by their names, or are `asked`
    to be, and their number or values are none."""
    names = list(next(iter(parts.values())).columns)
    if not asked and not likely(names):
        return {}, ""
    try:
        (height, width, channels), ordered = _laid(names)
        seen = [_seen(columns, ordered) for columns in parts.values()]
    except Unreadable as error:
        if asked or _SAID.fullmatch(_NUMBER.sub("#", names[0])):
            raise
        return {}, f"they are numbered as pixels, but {error}" if len(names) >= _LEAST else ""
    floats = all(fractions for _, fractions in seen)
    if not floats and not all(whole for whole, _ in seen):
        return {}, "the columns are whole numbers of 0 to 255 in one part, fractions in another"
    dtype = np.float32 if floats else np.uint8
    return {split: _made(columns, ordered, dtype) for split, columns in parts.items()}, (
        f"each row is a picture of {height} × {width} in {'grey' if channels == 1 else 'colour'}: "
        f"its {len(names):,} columns are pixels, {'0 to 1' if floats else 'whole numbers'}")


def like(
    columns: Any, image_HxWxC: Sequence[int], dtype: str, names: Sequence[str] = ()
) -> Any:
    """The pictures of a file to predict, [N, *image_HxWxC] of `dtype`, Pixels of a StoredTable, for
    a run that learned from such: of the columns `names`, or without these numbered alike, whatever
    else there is. Raises Unreadable."""
    present = list(columns.columns)
    if missing := [repr(name) for name in names if name not in present]:
        raise Unreadable(f"it lacks {len(missing):,} of the {len(names):,} columns of pixels that "
                         f"the run learned from: {some(missing)}", "give them all")
    (side, _, channels), ordered = _laid(list(names) or numbered(present))
    whole, _ = _seen(columns, ordered)
    if dtype == "uint8":
        if not whole:
            raise Unreadable("its pixels aren't whole numbers", "give them as the run had them")
        side = image_HxWxC[0]
    if (side, side, channels) != tuple(image_HxWxC):
        raise Unreadable(f"its pictures are {(side, side, channels)}, those of the run "
                         f"{tuple(image_HxWxC)}", "give columns of as many pixels")
    return resized(_made(columns, ordered, dtype), side)


def _laid(names: list[str]) -> tuple[tuple[int, int, int], list[str]]:
    """The shape of the pictures that these columns are, and their names in its order. Raises
    Unreadable."""
    if not (found := shape(len(names))):
        raise Unreadable(f"it has {len(names):,} columns of pixels, neither n² for grey pictures "
                         "nor 3n² for colour, n being 2 or more", "keep the label and the pixels "
                         "alone")
    order = numbered(names)
    return found, order if len(order) == len(names) else names


def _blocks(columns: Any, names: Sequence[str]) -> Iterator[np.ndarray]:
    """The numbers [n, P] of the columns `names`, of all rows, of a StoredTable some at a time."""
    if is_stored(columns):
        for _, frame in columns.frames(np.arange(len(columns)), names):
            yield frame.to_numpy()
    else:
        yield columns[names].to_numpy()


def _made(columns: Any, names: Sequence[str], dtype: Any) -> Any:
    if is_stored(columns):
        return Pixels(columns, names, shape(len(names)) or (), dtype)
    return _shaped(columns[names].to_numpy(), dtype)


def _shaped(values_NxP: np.ndarray, dtype: Any) -> np.ndarray:
    return values_NxP.astype(dtype).reshape(-1, *(shape(values_NxP.shape[1]) or ()))


def _seen(columns: Any, names: Sequence[str]) -> tuple[bool, bool]:
    """Whether all numbers are whole and of a byte, and whether all are of 0 to 1. Raises Unreadable
    where neither is so."""
    kinds = columns.kinds if is_stored(columns) else {
        name: frames.kind(columns[name]) for name in names}
    if words := [name for name in names if kinds[name] != "number"]:
        raise Unreadable(f"its pixels {words[0]!r} are words or dates", _INSTEAD)
    strange, first, fractions = 0, "", True
    for values_NxP in _blocks(columns, names):
        with np.errstate(invalid="ignore"):
            byte = (values_NxP >= 0) & (values_NxP <= 255) & (values_NxP == np.floor(values_NxP))
            fractions = fractions and bool(((values_NxP >= 0) & (values_NxP <= 1)).all())
        if not first and not byte.all():
            row, place = np.unravel_index(np.argmin(byte), byte.shape)
            cell = values_NxP[row, place]
            what = "an empty cell" if np.isnan(cell) else f"{cell:g}"
            first = f"{what} of {names[int(place)]!r}"
        strange += byte.size - int(byte.sum())
    if strange and not fractions:
        raise Unreadable(f"{strange:,} of its pixels are none, as {first}", _INSTEAD)
    return not strange, fractions
