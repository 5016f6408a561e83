"""Pictures with a mask each, a file whose pixels are classes: which belong together, by their
names, and what masks say."""

import dataclasses
import itertools
import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from engine.errors import some
from engine.examples import UNLABELLED
from engine.pictures.tree import refuse
from engine.sets import image
from engine.sets.dataset import Dataset
from engine.sets.splits import splits_within
from engine.sets.values import MOST_CLASSES

PICTURES = {"image", "images", "img", "imgs", "jpegimages", "picture", "pictures", "photo",
            "photos"}
MASKS = {"mask", "masks", "label", "labels", "annotation", "annotations", "annot", "annots", "gt",
         "segmentation", "segmentations", "segmentationclass"}
_SUFFIX = re.compile(r"[_-](masks?|labels?|l|gt|seg|segmentation|annotations?)$", re.IGNORECASE)
LOSSLESS = "PNG", "BMP", "GIF", "TIFF", "PPM"
VOID = 255  # of numbers up to it, what has no class; of 0 and 255 alone, a class
MOST_COLOURS = 256
NONE = f"{VOID} is none, neither learned nor scored"
WHITE = f"masks: {VOID} is class 1"
READING = 2  # raise it when the same masks would say other classes
INSTEAD = ("put pictures in images/ and their masks in masks/, or in train/images and train/masks, "
           "each mask by its picture's name")


class Masks(NamedTuple):
    """What the masks of a set say, by their files' names: int32 [H, W], their `classes`, and
    sentences for the user."""

    found: dict[str, np.ndarray]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


class Read(NamedTuple):
    """A mask's file as it lies: its `pixels`, numbers or colours, uint32 of red, green and blue;
    the number that is `white` in it; of a GIF the colour that each number `shows`."""

    pixels: np.ndarray
    white: int = VOID
    shows: dict[int, int] = {}


class _Place(NamedTuple):
    """What the folders of a file tell: whether it is a mask, or called a picture; its split; and
    what is left of its name, by which the two of an example are alike."""

    mask: bool
    picture: bool
    split: str
    left: str


def paired(
    root: str, names: Iterable[str], empty: Iterable[str] = ()
) -> dict[str, tuple[str, str]]:
    """Of each picture its split and its mask; {} where the folders' names tell of no masks, or of
    others besides. Raises RequestError where a picture has none, as beside `empty` folders of
    masks where none lies in a class's, or two are alike."""
    places = {name: _place(name) for name in names}
    if all(place and place.picture and "/" not in place.left for place in places.values()):
        for folder in empty:
            if (place := _place(f"{folder}/")) and place.mask:
                raise refuse(root, f"its folder {folder!r} is empty, so that no picture has a mask",
                             INSTEAD)
    if None in places.values() or len({place.mask for place in places.values() if place}) < 2:
        return {}
    pictures, masks = (_keyed(root, places, which) for which in (False, True))
    for key in [key for key in masks if key not in pictures]:  # cat_mask.png of cat.jpg
        whose = key[0], _SUFFIX.sub("", key[1])
        if whose in pictures and masks.setdefault(whose, masks[key]) != masks[key]:
            raise refuse(root, f"{masks[whose]!r} and {masks[key]!r} are both masks of "
                         f"{pictures[whose]!r}", "take one of them elsewhere")
    if masks.keys().isdisjoint(pictures):
        return {}
    if lone := sorted(name for key, name in pictures.items() if key not in masks):
        raise refuse(root, f"{len(lone):,} of its {len(pictures):,} pictures have no mask, "
                     f"{lone[0]!r} for one", INSTEAD)
    return {name: (key[0] or "train", masks[key]) for key, name in pictures.items()}


def _keyed(root: str, places: Any, masks: bool) -> dict[tuple[str, str], str]:
    """The masks, or the pictures, by their split and what is left of their names."""
    found: dict[tuple[str, str], str] = {}
    for name, place in places.items():
        key = place.split, place.left
        if place.mask == masks and found.setdefault(key, name) != name:
            raise refuse(root, f"{name!r} and {found[key]!r} have one name but for their endings",
                         "rename one")
    return found


def _place(name: str) -> _Place | None:
    """None where a folder is neither of pictures nor of masks, nor of a split."""
    *folders, file = name.split("/")
    mask = picture = False
    split, left = "", []
    for folder in folders:
        words = {word for word in re.split(r"[^a-z]+", folder.casefold()) if word}
        splits, words = splits_within(words)
        if words & MASKS or words & PICTURES:
            if words - MASKS - PICTURES:
                return None
            mask, picture = mask or bool(words & MASKS), picture or bool(words & PICTURES)
        elif words or not splits:
            left.append(folder)
            continue
        split = splits or split
    if not (mask or picture or split) or mask and picture:
        return None
    return _Place(mask, picture, split, "/".join([*left, os.path.splitext(file)[0]]))


def read(root: str, picture: str, mask: str, size: int) -> Read:
    """A mask, brought to `size` pixels a side, or where that is 0 as it is. Raises Unusable for
    what is no mask, or not of its picture's size."""
    path = os.path.join(root, mask)
    with image.opened(path) as (found, white):
        if found.format not in LOSSLESS:
            raise image.Undecodable(f"{found.format} changes the numbers: save it as PNG")
        height, width, _ = image.check(os.path.join(root, picture)).shape
        if found.size != (width, height):
            raise image.Undecodable(f"it has {found.height} × {found.width} pixels, its picture "
                                    f"{height} × {width}")
        gif = found.format == "GIF"
        if found.mode not in ("1", "L", "P", "I", "I;16"):
            found = found.convert("RGB")
        if size:
            found = found.resize((size, size), Image.Resampling.NEAREST)
        if found.mode == "RGB":
            return Read(_colours(found))
        pixels = np.asarray(found)
        shows = {}
        if gif:
            numbers, first = np.unique(pixels, return_index=True)
            colours = _colours(found.convert("RGB")).ravel()[first]
            shows = dict(zip(numbers.tolist(), colours.tolist(), strict=True))
    if white < VOID:  # to which Pillow has brought it, of one bit to true
        scale = 1 if pixels.dtype == bool else white / VOID
        pixels = np.rint(pixels * scale).astype(np.uint8)
    return Read(pixels, white, shows)


def _colours(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


def understood(root: str, raw: dict[str, Read]) -> Masks:
    """What masks say that `read` has read, by their names. Raises RequestError for numbers or
    colours that are no classes."""
    raw = _as_shown(root, raw)
    found = {name: mask.pixels for name, mask in raw.items()}
    colours = {name for name, array in found.items() if array.dtype == np.uint32}
    if colours and len(colours) < len(found):
        raise refuse(root, f"{min(colours)!r} has colours, and other masks numbers",
                     "save all as one or the other")
    if not colours and all(np.isin(mask.pixels, (0, mask.white)).all() for mask in raw.values()):
        found = {name: np.uint8(VOID) * (array > 0) for name, array in found.items()}
    values = np.unique(np.concatenate([np.unique(array) for array in found.values()]))
    if colours:
        if len(values) > MOST_COLOURS:
            raise refuse(root, f"its masks have {len(values):,} colours, more than the "
                         f"{MOST_COLOURS} that can be classes", "save the number of a pixel's "
                         "class instead, as a grey or a palette's PNG")
        named = tuple(f"#{value:06x}" for value in values.tolist())
        told = f"masks: {len(values)} colours are the classes ({some([*named])})"
        return Masks({name: np.searchsorted(values, array).astype(np.int32)
                      for name, array in found.items()}, named, (told,))
    table, told = _numbers(root, values)
    if told == WHITE and any(mask.white < VOID for mask in raw.values()):
        told = "masks: white is class 1"
    return Masks({name: table[array] for name, array in found.items()},
                 tuple(map(str, range(1 + max(0, *table[values].tolist())))), (told,))


def _as_shown(root: str, raw: dict[str, Read]) -> dict[str, Read]:
    """GIFs as the greys that they show: writers number anew what each file has. Raises RequestError
    where these are colours, and a number stands for several."""
    shown = sorted({pair for mask in raw.values() for pair in mask.shows.items()})
    if all(colour % 0x010101 == 0 for _, colour in shown):
        return {name: _grey(mask) if mask.shows else mask for name, mask in raw.items()}
    for (number, one), (other, another) in itertools.pairwise(shown):
        if number == other:
            raise refuse(root, f"its GIFs number their colours each in its own way: {number} is "
                         f"#{one:06x} in one and #{another:06x} in another", "save them as PNG")
    return raw


def _grey(gif: Read) -> Read:
    table = np.zeros(256, np.uint8)
    table[[*gif.shows]] = [colour & 255 for colour in gif.shows.values()]
    return gif._replace(pixels=table[gif.pixels])


def _numbers(root: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    """The class of each number, int32, and what it is."""
    if values[-1] >= MOST_CLASSES:
        raise refuse(root, f"a mask has the number {values[-1]:,}",
                     f"number classes from 0 to less than {MOST_CLASSES:,}")
    table = np.arange(int(values[-1]) + 1, dtype=np.int32)
    if values.tolist() in ([0, VOID], [VOID]):
        table[VOID] = 1
        return table, WHITE
    void = values[-1] == VOID and len(values) > 1
    if void:
        table[VOID] = UNLABELLED
    return table, f"masks: the numbers 0 to {values[-1 - void]} are the classes" + \
        f"; {NONE}" * bool(void)


def as_learned(dataset: Dataset, notes: Iterable[str]) -> Dataset:
    """A set to judge a run of those `notes`: where 255 was none, it is, also with 0 alone."""
    if WHITE not in dataset.notes or not any(note.endswith(NONE) for note in notes):
        return dataset
    splits = {name: split._replace(targets=np.where(split.targets == 1, UNLABELLED, split.targets))
              for name, split in dataset.splits.items()}
    told = [note if note != WHITE else f"masks: {NONE}, as in the run" for note in dataset.notes]
    return dataclasses.replace(dataset, splits=splits, notes=tuple(told))
