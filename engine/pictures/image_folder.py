"""A folder of pictures, whose folders' names or whose table of labels say it all.

`listing.py` finds its files and what is to be learned of each; here they are judged and decoded.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np

from engine.config import Reading
from engine.console.bar import bar
from engine.devices import choose as devices
from engine.errors import some
from engine.examples import Split
from engine.pictures import listing, masks
from engine.pictures.listing import Listing, Notes
from engine.pictures.masks import Masks
from engine.pictures.tree import refuse
from engine.sets import cache, image
from engine.sets.dataset import Dataset, asked
from engine.sets.limits import fits, varying
from engine.sets.names import IMAGE_FOLDER

__all__ = ["Listing", "listed", "load"]
_BLOCK = 64
_AT_ONCE = 4 * image.MOST_PIXELS  # pixels that all threads decode at the same time
DECODER = 3  # raise it when the same files would decode to other pixels, or in another order
Faults = dict[str, str]  # a file's name → why it is no picture


def load(path: str, reading: Reading, splits: Sequence[str] | None = None) -> Dataset:
    """Images NxHxWxC uint8, labels N int32 (float32 where a table has fractions) of the folder
    `path`, in an order drawn from their names.

    Classes are those of any split, sorted as text: 10 comes before 9. C is 1 where every picture is
    grey, else 3. Raises RequestError, as where sizes vary without an `image_size`."""
    named = listing.of(path, reading)
    wanted = asked(IMAGE_FOLDER, named.splits, splits)

    @functools.cache
    def checked() -> tuple[Listing, Faults]:
        sound, bad = _checked(named, reading)
        *sides, depth = sound.shape
        each = *sides, depth + 4 * bool(named.masks)  # bytes, of a mask's int32 too
        fits(f"{IMAGE_FOLDER}:{named.root}", sum(len(own) for own, _ in sound.splits.values()),
             each)
        return sound, bad

    @functools.cache
    def masked() -> Masks:
        sound, _ = checked()
        pictures = {named.masks[name]: name for own, _ in sound.splits.values() for name in own}
        read, bad = _each(
            sound, lambda mask: masks.read(named.root, pictures[mask], mask, reading.image_size),
            [*pictures], _threads(sound.largest), f"reading masks of {named.root}")
        if bad:
            raise refuse(named.root, f"{len(bad):,} of its {len(pictures):,} masks can't be used: "
                         f"{_some(bad)}", "mend them, or take them out with their pictures")
        return masks.understood(named.root, read)

    def decode(split: str) -> tuple[Split, tuple[str, ...], Notes]:
        sound, bad = checked()
        found, worse = _decoded(sound, split, reading,
                                f"decoding {IMAGE_FOLDER} {split} from {path}")
        own = {name: bad[name] for name in named.splits[split][0] if name in bad}
        notes = *sound.notes, *_left_out(split, own | worse)
        if not named.masks:
            return found, named.classes, notes
        told, names = masked(), named.splits[split][0]
        targets = np.stack([told.found[named.masks[names[row]]] for row in found.targets])
        return found._replace(targets=targets), told.classes, (*told.notes, *notes)

    how = reading.image_size, reading.background, reading.skip_bad, reading.target, reading.labels
    masked_too = ("masks", masks.READING) if named.masks else ()
    found = cache.dataset(
        IMAGE_FOLDER, cache.key(IMAGE_FOLDER, named.seen, DECODER, *how, *masked_too), wanted,
        decode)
    groups = {split: named.groups[split] for split in wanted if split in named.groups}
    return dataclasses.replace(found, notes=(*named.notes, *found.notes), groups=groups)


def listed(path: str, reading: Reading) -> Listing:
    """The set's files, every header checked, without those that `skip_bad` leaves out for it.
    Raises RequestError, as for masks, which are held in memory."""
    named = listing.of(path, reading)
    if named.masks:
        raise refuse(path, "pictures with masks are held in memory, not streamed",
                     "type a smaller --image_size, or leave --stream out")
    sound, bad = _checked(named, reading)
    notes = *named.notes, *sound.notes, *_left_out("the folder", bad)
    return sound._replace(notes=notes)


def _checked(named: Listing, reading: Reading) -> tuple[Listing, Faults]:
    """With the shape that all sound pictures decode to, from their headers, and what is to be said
    of them; the faults of others. Raises RequestError where they don't make one array."""
    names = [name for own, _ in named.splits.values() for name in own]
    headers, bad = _each(named, lambda name: image.check(named.path(name), reading.background),
                         names, devices.cores(), f"checking {named.root}", silent=True)
    _judge(named, bad, reading)
    splits = {split: _without(bad, *found) for split, found in named.splits.items()}
    sides = [header.shape[:2] for header in headers.values()]
    height, width = sides[0]
    for other in sides:
        if not reading.image_size and other != (height, width):
            raise varying(IMAGE_FOLDER, (height, width), other)
    depth = max(header.shape[2] for header in headers.values())
    shape = reading.image_size or height, reading.image_size or width, depth
    more = [name for name, header in headers.items() if header.frames]
    notes = (f"{len(more):,} pictures have several frames or pages, of which the first is taken: "
             f"{min(more)!r} is one",) if more else ()
    return named._replace(splits=splits, shape=shape, notes=notes,
                          largest=max(height * width for height, width in sides)), bad


def _decoded(files: Listing, split: str, reading: Reading, told: str) -> tuple[Split, Faults]:
    """A split's sound pictures and their targets; the faults of others."""
    names, targets = files.splits[split]
    images = np.empty((len(names), *files.shape), np.uint8)
    rows = {name: row for row, name in enumerate(names)}

    def fill(name: str) -> None:
        images[rows[name]] = image.read(files.path(name), files.shape, reading.background)

    _, bad = _each(files, fill, names, _threads(files.largest), told)
    _judge(files, bad, reading)
    kept = [row for name, row in rows.items() if name not in bad]
    for to, row in enumerate(kept):
        if to < row:
            images[to] = images[row]
    return Split(images[: len(kept)], targets[kept]), bad


def _threads(pixels: int) -> int:
    """How many may decode pictures of so many at the same time."""
    return min(devices.cores(), _AT_ONCE // pixels)


def _each(
    files: Listing, work: Callable[[str], Any], names: list[str], threads: int, told: str,
    silent: bool = False,
) -> tuple[dict[str, Any], Faults]:
    """What `work` returns of each name, and the faults of the others: Pillow lets go of the lock.
    Raises RequestError where the files have changed since they were listed."""
    found: dict[str, Any] = {}
    bad: Faults = {}

    def tried(name: str) -> tuple[Any, str]:
        try:
            return work(name), ""
        except image.Unusable as refusal:
            return None, refusal.reason

    with ThreadPool(threads) as pool, bar(told, len(names), silent) as moved:
        for name, (result, fault) in zip(names, pool.imap(tried, names, _BLOCK), strict=True):
            moved(1)
            if fault:
                bad[name] = fault
            else:
                found[name] = result
    files.check_unchanged()
    return found, bad


def _judge(files: Listing, bad: Faults, reading: Reading) -> None:
    """Raises RequestError for faults that may not be skipped, and then for all there are: what is
    truncated is only found by decoding. For a split without a sound picture too."""
    if not bad:
        return
    if reading.skip_bad:
        for split, (own, _) in files.splits.items():
            if bad.keys() >= {*own}:
                raise refuse(files.root, f"no picture of {split} can be read: {_some(bad)}",
                             "look at one of them")
        return
    names = [name for own, _ in files.splits.values() for name in own]

    def whole(name: str) -> None:
        path = files.path(name)
        image.read(path, image.check(path).shape)

    _, bad = _each(files, whole, names, _threads(image.MOST_PIXELS),
                   "looking for all that are damaged")
    raise refuse(files.root, f"{len(bad):,} of its {len(names):,} pictures can't be read: "
                 f"{_some(bad)}", "mend them, take them out, or leave them out by --skip_bad")


def _some(bad: Faults) -> str:
    """The first of them with their faults."""
    return some([f"{name} ({bad[name]})" for name in sorted(bad)])


def _left_out(where: str, bad: Faults) -> Notes:
    return (f"{len(bad):,} damaged files of {where} are left out: {_some(bad)}",) if bad else ()


def _without(bad: Faults, names: list[str], targets: np.ndarray) -> tuple[list[str], np.ndarray]:
    kept = [row for row, name in enumerate(names) if name not in bad]
    return [names[row] for row in kept], targets[kept]
