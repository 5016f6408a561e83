"""The files of a folder of pictures, and what is to be learned of each, before one is opened.

`tree.py` finds the files, `layout.py` reads splits and classes from folders, `labels.py` from a
table.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from engine.config import Reading
from engine.errors import some
from engine.pictures import layout, masks, tree
from engine.pictures.tree import refuse
from engine.sets import image, spelling
from engine.sets.splits import rank
from engine.tables.dialect import TABLES

Notes = tuple[str, ...]
Splits = dict[str, tuple[list[str], np.ndarray]]  # names, and the target of each
Read = tuple[Splits, dict[str, np.ndarray], tuple[str, ...], Notes]  # groups, and class names
_TABLE = "labels.csv"


class Listing(NamedTuple):
    """The files of a set and what is to be learned from each, before a pixel is decoded.

    `splits`: names relative to `root` in the set's fixed order, with targets as a Dataset has them.
    `seen` is what the system said of each file; `groups` are a Dataset's. `shape` [H, W, C] is what
    all decode to, `largest` the pixels of the largest as it lies there: 0 until headers are
    checked. `masks` has the file that says the classes of a picture's pixels, whose target here is
    its place among these."""

    root: str
    classes: tuple[str, ...]
    splits: Splits
    seen: dict[str, os.stat_result]
    notes: Notes
    groups: dict[str, np.ndarray]
    shape: tuple[int, int, int] = (0, 0, 0)
    largest: int = 0
    masks: Mapping[str, str] = {}

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def check_unchanged(self) -> None:
        """Raises RequestError where a file isn't as it was listed."""
        tree.check_unchanged(self.root, self.seen)


def of(path: str, reading: Reading) -> Listing:
    """The set by its files' names, and its table's where there is one. Raises RequestError."""
    found = tree.walk(path)
    if not found.pictures:
        raise refuse(path, f"it holds no {', '.join(image.ENDINGS)}",
                     "put pictures in folders named after their classes")
    for name in found.pictures:
        if not name.isprintable():  # nor UTF-8, perhaps: it could be neither printed nor saved
            raise refuse(path, f"the name {ascii(name)} can't be printed", "rename it")
    tables = reading.labels or any(name.lower().endswith(TABLES) for name in found.others)
    if pairs := masks.paired(path, sorted(found.pictures), [] if tables else found.empty):
        return _of_masks(found, pairs, reading)
    laid = layout.understood(path, sorted(found.pictures))
    names = tree.ordered(found.pictures, laid.inside)
    table = _table(found, laid, reading.labels)
    read = _of_table if table else _of_folders
    splits, groups, classes, notes = read(found, laid, names, table, reading)
    used = [name for own, _ in splits.values() for name in own]
    seen = {name: found.pictures[name] for name in used}
    if table:
        seen[table] = os.stat(found.path(table))
    notes = (*laid.notes, *notes, *_passed_by(found, table))
    return Listing(found.root, classes, splits, seen, notes, groups)


def _of_masks(found: tree.Tree, pairs: dict[str, tuple[str, str]], reading: Reading) -> Listing:
    for flag in ("labels", "target"):
        if word := getattr(reading, flag):
            raise refuse(found.root, f"masks tell its pixels' classes, and --{flag} {word} a "
                         "table's", "leave it out")
    names = tree.ordered(pairs, "")
    splits = _by_split({name: pairs[name][0] for name in names})
    used = {name: mask for name, (_, mask) in pairs.items()}
    notes = [f"{len(pairs):,} pictures have a mask each, which says the classes of their pixels"]
    if others := found.pictures.keys() - {*used, *used.values()}:
        notes.append(f"{len(others):,} masks have no picture, and are left out: {min(others)!r} is "
                     "one")
    return Listing(
        found.root, (), {split: (own, np.arange(len(own), dtype=np.int32))
                         for split, own in splits.items()},
        {name: found.pictures[name] for name in (*used, *used.values())},
        (*notes, *_passed_by(found, "")), {}, masks=used)


def _of_folders(
    found: tree.Tree, laid: layout.Layout, names: list[str], table: str, reading: Reading
) -> Read:
    if reading.target:
        raise refuse(found.root, f"folders name its classes, and --target {reading.target} a "
                     "column", "leave it out, or name a table of files and labels: --labels "
                     "FILE.csv")
    named = layout.classes_of(found.root, laid)
    splits = _by_split({name: laid.members[name][0] for name in names})
    written = {split: [laid.members[name][1] for name in own] for split, own in splits.items()}
    called, notes = spelling.joined(written)
    classes = tuple(sorted({*called.values()}))
    numbers = {name: number for number, name in enumerate(classes)}
    return {split: (own, np.array([numbers[called[label]] for label in written[split]], np.int32))
            for split, own in splits.items()}, {}, classes, (named, *notes)


def _of_table(
    found: tree.Tree, laid: layout.Layout, names: list[str], table: str, reading: Reading
) -> Read:
    from engine.pictures import labels  # late: pandas and pyarrow take a second

    if reading.group and reading.skip_bad:
        raise refuse(found.root, "--skip_bad leaves files out, and --group needs all",
                     "leave one of both out")
    path = found.path(table)
    read = labels.read(path, reading.target, reading.group, names)
    beside = laid.inside if os.path.isabs(table) else table.removesuffix(os.path.basename(table))
    rows, notes = labels.matched(path, read, names, beside)
    splits = _by_split({name: rows[name].split or laid.members[name][0]
                        for name in names if name in rows})
    learned, groups = labels.learned(
        path, read, {split: [rows[name] for name in own] for split, own in splits.items()})
    return ({split: (own, learned.targets[split]) for split, own in splits.items()}, groups,
            learned.classes, (*notes, *learned.notes))


def _by_split(splits: Mapping[str, str]) -> dict[str, list[str]]:
    """Of name → split, the names of each split: train, validation, test, then others."""
    found: dict[str, list[str]] = {split: [] for split in sorted({*splits.values()},
                                                                 key=rank)}
    for name, split in splits.items():
        found[split].append(name)
    return found


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
    return min(filter(_is_table, found.others), key=len, default="")


def _is_table(name: str) -> bool:
    return os.path.basename(name).casefold() == _TABLE


def _passed_by(found: tree.Tree, table: str) -> Notes:
    """Sentences on what is no picture."""
    notes, others = [], [name for name in found.others if name != table]
    unused = [] if table else [name for name in others if _is_table(name)]
    if unused:
        notes.append(f"{min(unused, key=len)} isn't used, as folders tell the classes: --labels "
                     f"{min(unused, key=len)} would take it instead")
    if others:
        notes.append(f"{len(others):,} files are no {', '.join(image.ENDINGS)}, and left out: "
                     f"{min(others)!r} is one")
    if found.empty:
        notes.append("folders without a file are neither classes nor splits: "
                     f"{some([*map(repr, sorted(found.empty))])}")
    if found.hidden:
        notes.append(f"{found.hidden:,} hidden files or folders, or a system's own, are left out")
    return tuple(notes)
