"""The files of a folder of pictures, and what is to be learned of each, before one is opened.

`tree.py` finds the files, `layout.py` reads splits and classes from folders, `labels.py` from a
table.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from engine.config import Reading
from engine.sources import image, labels, layout, tree
from engine.sources.dataset import UNLABELLED
from engine.sources.tree import refuse

Notes = tuple[str, ...]


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
    laid = layout.understood(path, [*found.pictures])
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
        notes = (layout.classes_of(path, laid),)
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
    return min(filter(_is_table, found.others), key=len, default="")


def _is_table(name: str) -> bool:
    return os.path.basename(name).casefold() == labels.NAME


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
