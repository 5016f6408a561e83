"""Columns that are the pixels of pictures, one a row: which are, in which order and shape."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from engine.sources import image
from engine.sources.dataset import StoredTable
from engine.sources.dialect import Unreadable

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


def pictures(
    parts: Mapping[str, pd.DataFrame], asked: bool = False
) -> tuple[dict[str, np.ndarray], str]:
    """By split [N, H, W, C], and what to say: float32 as they are where all are of 0..1, else uint8
    of whole numbers 0..255; {} where the columns, the same ones in all parts, are no pixels. They
    are in the order of the numbers in their names, or where these have none in the columns' own.
    Raises Unreadable where they are pixels by their names, or are `asked` to be, and their number
    or values are none."""
    names = list(next(iter(parts.values())).columns)
    if not asked and not likely(names):
        return {}, ""
    if any(isinstance(columns, StoredTable) for columns in parts.values()):
        raise Unreadable(f"its {len(names):,} columns are pixels, which no table is streamed of",
                         "leave --stream out, or make a folder of pictures, image_folder:PATH")
    try:
        found = {split: _pixels(columns) for split, columns in parts.items()}
    except Unreadable as error:
        if asked or _SAID.fullmatch(_NUMBER.sub("#", names[0])):
            raise
        return {}, f"they are numbered as pixels, but {error}" if len(names) >= _LEAST else ""
    floats = all(x.max() <= 1 for x in found.values())
    if not floats and not all(_bytes(x) for x in found.values()):
        return {}, "the columns are whole numbers of 0 to 255 in one part, fractions in another"
    _, height, width, channels = next(iter(found.values())).shape
    return {split: x.astype(np.float32 if floats else np.uint8) for split, x in found.items()}, (
        f"each row is a picture of {height} × {width} in {'grey' if channels == 1 else 'colour'}: "
        f"its {len(names):,} columns are pixels, {'0 to 1' if floats else 'whole numbers'}")


def like(
    columns: pd.DataFrame, image_HxWxC: Sequence[int], dtype: str, names: Sequence[str] = ()
) -> np.ndarray:
    """The pictures of a file to predict, [N, *image_HxWxC] of `dtype`, for a run that learned from
    such: of the columns `names`, or without these numbered alike, whatever else there is. Raises
    Unreadable."""
    if missing := [repr(name) for name in names if name not in columns]:
        raise Unreadable(f"it lacks {len(missing):,} of the {len(names):,} columns of pixels that "
                         f"the run learned from: {', '.join(missing[:10])}", "give them all")
    found = _pixels(columns[list(names) or numbered(list(columns.columns))])
    if dtype == "uint8":
        if not _bytes(found):
            raise Unreadable("its pixels aren't whole numbers", "give them as the run had them")
        if found.shape[1] != image_HxWxC[0]:
            found = image.resize(found.astype(np.uint8), image_HxWxC[0])
    if found.shape[1:] != tuple(image_HxWxC):
        raise Unreadable(f"its pictures are {found.shape[1:]}, those of the run "
                         f"{tuple(image_HxWxC)}", "give columns of as many pixels")
    return found.astype(dtype)


def _pixels(columns: pd.DataFrame) -> np.ndarray:
    """[N, H, W, C] as the columns have them, each whole and of a byte, or of 0 to 1. Raises
    Unreadable."""
    names = list(columns.columns)
    if not (found := shape(len(names))):
        raise Unreadable(f"it has {len(names):,} columns of pixels, neither n² for grey pictures "
                         "nor 3n² for colour, n being 2 or more", "keep the label and the pixels "
                         "alone")
    if len(order := numbered(names)) == len(names):
        columns = columns[order]
    if words := [name for name in columns if columns[name].dtype.kind not in "uf"]:
        raise Unreadable(f"its pixels {words[0]!r} are words or dates", _INSTEAD)
    values_NxP = columns.to_numpy()
    with np.errstate(invalid="ignore"):
        byte = (values_NxP >= 0) & (values_NxP <= 255) & (values_NxP == np.floor(values_NxP))
        if not byte.all() and not ((values_NxP >= 0) & (values_NxP <= 1)).all():
            row, place = np.unravel_index(np.argmin(byte), byte.shape)
            seen = values_NxP[row, place]
            cell = "an empty cell" if np.isnan(seen) else f"{seen:g}"
            raise Unreadable(f"{(~byte).sum():,} of its pixels are none, as {cell} of "
                             f"{columns.columns[place]!r}", _INSTEAD)
    return values_NxP.reshape(-1, *found)


def _bytes(pixels: np.ndarray) -> bool:
    return pixels.dtype == np.uint8 or bool((pixels == np.floor(pixels)).all())
