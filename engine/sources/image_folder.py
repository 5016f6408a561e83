"""A folder of pictures, whose folders' names or whose table of labels say it all.

`tree.py` finds the files, `layout.py` reads splits and classes from folders, `labels.py` from a
table; here they become one set.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any, NamedTuple

import numpy as np

from engine.config import Reading
from engine.devices import choose as devices
from engine.loggers.bar import bar
from engine.sources import cache, image, labels, layout, tree
from engine.sources.dataset import UNLABELLED, Dataset, Split, asked, fits, refused, varying

NAME = "image_folder"
_BLOCK = 64
_AT_ONCE = 4 * image.MOST_PIXELS  # pixels that all threads decode at the same time
_TOLD = 10  # damaged files that are named
DECODER = 2  # raise it when the same files would decode to other pixels, or in another order
_refused = functools.partial(refused, NAME)
Notes = tuple[str, ...]
Faults = dict[str, str]  # a file's name → why it is no picture


class Listing(NamedTuple):
    """The files of a set and what is to be learned from each, before a pixel is decoded.

    `splits`: names relative to `root` in the set's fixed order, with targets as a Dataset has them.
    `seen` is what the system said of each file. `shape` [H, W, C] is what all decode to, `largest`
    the pixels of the largest as it lies there; both are 0 until headers are checked."""

    root: str
    classes: tuple[str, ...]
    splits: dict[str, tuple[list[str], np.ndarray]]
    seen: dict[str, os.stat_result]
    notes: Notes
    shape: tuple[int, int, int] = (0, 0, 0)
    largest: int = 0

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def check_unchanged(self) -> None:
        """Raises RequestError where a file isn't as it was listed."""
        tree.check_unchanged(NAME, self.root, self.seen)


def load(path: str, reading: Reading, splits: Sequence[str] | None = None) -> Dataset:
    """Images NxHxWxC uint8, labels N int32 (float32 where a table has fractions) of the folder
    `path`, in an order drawn from their names.

    Classes are those of any split, sorted as text: 10 comes before 9. C is 1 where every picture is
    grey, else 3. Raises RequestError, as where sizes vary without an `image_size`."""
    named = _named(path, reading)
    wanted = asked(NAME, named.splits, splits)

    @functools.cache
    def checked() -> tuple[Listing, Faults]:
        listing, bad = _checked(named, reading)
        fits(f"{NAME}:{named.root}", sum(len(own) for own, _ in listing.splits.values()),
             listing.shape)
        return listing, bad

    def decode(split: str) -> tuple[Split, tuple[str, ...], Notes]:
        listing, bad = checked()
        found, worse = _decoded(listing, split, reading, f"decoding {NAME} {split} from {path}")
        own = {name: bad[name] for name in named.splits[split][0] if name in bad}
        return found, named.classes, (*listing.notes, *_left_out(split, own | worse))

    how = reading.image_size, reading.background, reading.skip_bad, reading.target, reading.labels
    found = cache.dataset(NAME, cache.key(NAME, named.seen, DECODER, *how), wanted, decode)
    return dataclasses.replace(found, notes=(*named.notes, *found.notes))


def listed(path: str, reading: Reading) -> Listing:
    """The set's files, every header checked, without those that `skip_bad` leaves out for it.
    Raises RequestError."""
    named = _named(path, reading)
    listing, bad = _checked(named, reading)
    notes = *named.notes, *listing.notes, *_left_out("the folder", bad)
    return listing._replace(notes=notes)


def _named(path: str, reading: Reading) -> Listing:
    """The set by its files' names, and its table's where there is one. Raises RequestError."""
    found = tree.walk(NAME, path)
    if not found.pictures:
        raise _refused(path, f"it holds no {', '.join(image.ENDINGS)}",
                       "put pictures in folders named after their classes")
    for name in found.pictures:
        if not name.isprintable():  # nor UTF-8, perhaps: it could be neither printed nor saved
            raise _refused(path, f"the name {ascii(name)} can't be printed", "rename it")
    laid = layout.understood(NAME, path, [*found.pictures])
    names = tree.ordered(found.pictures, laid.inside)
    table = _table(found, laid, reading.labels)
    column, notes = "", Notes()
    if table:
        read = labels.read(found.path(table), reading.target, names)
        column, beside = read.column, os.path.dirname(table)
        rows, notes = labels.matched(found.path(table), read, names,
                                     laid.inside if os.path.isabs(table) else beside)
        members = {name: (rows[name].split or laid.members[name][0], rows[name].label)
                   for name in names if name in rows}
    else:
        layout.check_labelled(NAME, path, laid)
        members = laid.members
    seen = {name: found.pictures[name] for name in names if name in members}
    splits: dict[str, list[str]] = {}
    for name in sorted(seen, key=lambda name: layout.rank(members[name][0])):
        splits.setdefault(members[name][0], []).append(name)
    written = {split: [members[name][1] for name in own] for split, own in splits.items()}
    classes, targets, spelled = _targets(written, column)
    if table:
        seen[table] = os.stat(found.path(table))
    pairs = {split: (own, targets[split]) for split, own in splits.items()}
    notes = (*laid.notes, *notes, *spelled, *_passed_by(found, table))
    return Listing(found.root, classes, pairs, seen, notes)


def _table(found: tree.Tree, laid: layout.Layout, typed: str) -> str:
    """The table of labels: the one `typed`, from where the user is or within the folder, else
    labels.csv where folders tell no classes apart; "" for none. Absolute where it lies outside."""
    if typed:
        path = os.path.realpath(os.path.expanduser(typed))
        if not os.path.exists(path):
            path = os.path.realpath(found.path(typed))
        inside = os.path.relpath(path, found.root)
        return path if inside.startswith("..") else inside
    if len({label for _, label in laid.members.values()}) > 1:
        return ""
    named = [name for name in found.others if os.path.basename(name).casefold() == labels.NAME]
    return min(named, key=len, default="")


def _passed_by(found: tree.Tree, table: str) -> Notes:
    """Sentences on what is no picture."""
    notes, others = [], [name for name in found.others if name != table]
    if others:
        notes.append(f"{len(others):,} files are no {', '.join(image.ENDINGS)}, and left out: "
                     f"{min(others)!r} is one")
    if found.hidden:
        notes.append(f"{found.hidden:,} hidden files or folders, or a system's own, are left out")
    return tuple(notes)


def _targets(
    written: Mapping[str, list[str]], column: str
) -> tuple[tuple[str, ...], dict[str, np.ndarray], Notes]:
    """(class names; split → their numbers int32 [N]; sentences) of labels as they are `written`.
    Where a table's `column` holds fractions, these are the targets, float32 [N]."""
    every = {label for own in written.values() for label in own if label}
    if column and labels.fractions(every):
        return (column,), {split: np.array([float(label or "nan") for label in own], np.float32)
                           for split, own in written.items()}, ()
    named, notes = layout.joined({split: {*own} - {""} for split, own in written.items()})
    classes = tuple(sorted({*named.values()}))
    number = {label: classes.index(name) for label, name in named.items()} | {"": UNLABELLED}
    return classes, {split: np.array([number[label] for label in own], np.int32)
                     for split, own in written.items()}, notes


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
            raise varying(NAME, (height, width), other)
    depth = max(header.shape[2] for header in headers.values())
    shape = reading.image_size or height, reading.image_size or width, depth
    more = [name for name, header in headers.items() if header.frames]
    notes = (f"{len(more):,} pictures have several frames or pages, of which the first is taken: "
             f"{min(more)!r} is one",) if more else ()
    return named._replace(splits=splits, shape=shape, notes=notes,
                          largest=max(height * width for height, width in sides)), bad


def _decoded(listing: Listing, split: str, reading: Reading, told: str) -> tuple[Split, Faults]:
    """A split's sound pictures and their targets; the faults of others."""
    names, targets = listing.splits[split]
    images = np.empty((len(names), *listing.shape), np.uint8)
    rows = {name: row for row, name in enumerate(names)}

    def fill(name: str) -> None:
        images[rows[name]] = image.read(listing.path(name), listing.shape, reading.background)

    threads = min(devices.cores(), _AT_ONCE // listing.largest)
    _, bad = _each(listing, fill, names, threads, told)
    _judge(listing, bad, reading)
    kept = [row for name, row in rows.items() if name not in bad]
    for to, row in enumerate(kept):
        if to < row:
            images[to] = images[row]
    return Split(images[: len(kept)], targets[kept]), bad


def _each(
    listing: Listing, work: Callable[[str], Any], names: list[str], threads: int, told: str,
    silent: bool = False,
) -> tuple[dict[str, Any], Faults]:
    """What `work` returns of each name, and the faults of the others: Pillow lets go of the lock.
    Raises RequestError where the files have changed since they were listed."""
    found: dict[str, Any] = {}
    bad: Faults = {}

    def tried(name: str) -> tuple[Any, str]:
        try:
            return work(name), ""
        except image.Refused as refusal:
            return None, refusal.reason

    with ThreadPool(threads) as pool, bar(told, len(names), silent) as moved:
        for name, (result, fault) in zip(names, pool.imap(tried, names, _BLOCK), strict=True):
            moved(1)
            if fault:
                bad[name] = fault
            else:
                found[name] = result
    listing.check_unchanged()
    return found, bad


def _judge(listing: Listing, bad: Faults, reading: Reading) -> None:
    """Raises RequestError for faults that may not be skipped, and then for all there are: what is
    truncated is only found by decoding. For a split without a sound picture too."""
    if not bad:
        return
    for split, (own, _) in listing.splits.items():
        if bad.keys() >= {*own}:
            raise _refused(listing.root, f"no picture of {split} can be read: {_some(bad)}", "look "
                           "at one of them")
    if reading.skip_bad:
        return
    names = [name for own, _ in listing.splits.values() for name in own]

    def whole(name: str) -> None:
        path = listing.path(name)
        image.read(path, image.check(path).shape)

    threads = min(devices.cores(), _AT_ONCE // image.MOST_PIXELS)
    _, bad = _each(listing, whole, names, threads, "looking for all that are damaged")
    raise _refused(listing.root, f"{len(bad):,} of its {len(names):,} pictures can't be read: "
                   f"{_some(bad)}", "mend them, take them out, or leave them out by --skip_bad")


def _some(bad: Faults) -> str:
    """The first of them with their faults."""
    told = [f"{name} ({bad[name]})" for name in sorted(bad)[:_TOLD]]
    return ", ".join(told) + (f" and {len(bad) - _TOLD:,} more" if len(bad) > _TOLD else "")


def _left_out(where: str, bad: Faults) -> Notes:
    return (f"{len(bad):,} damaged files of {where} are left out: {_some(bad)}",) if bad else ()


def _without(bad: Faults, names: list[str], targets: np.ndarray) -> tuple[list[str], np.ndarray]:
    kept = [row for row, name in enumerate(names) if name not in bad]
    return [names[row] for row in kept], targets[kept]
