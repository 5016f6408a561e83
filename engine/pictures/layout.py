"""What the names of folders say of the pictures in them: split and class. Names alone are judged.

PATH/<split>/<class>/…, or PATH/<class>/…; a class's pictures may lie in folders of their own.
"""

from collections.abc import Mapping
from typing import NamedTuple

from engine.pictures.tree import refuse
from engine.sets.splits import rank, split_of, word_of


class Layout(NamedTuple):
    """Of each picture's name its split and its label, the class's folder, "" where it lies in none;
    in which folder `inside` the root they lie ("" or "a/b/"); whether folders name `splits`;
    sentences for the user."""

    members: dict[str, tuple[str, str]]
    inside: str
    splits: bool
    notes: tuple[str, ...]


def understood(root: str, names: list[str]) -> Layout:
    """The layout of pictures by their `names` relative to `root`. Raises RequestError."""
    inside = _wrapping(names)
    notes = [f"the set lies in its folder {inside[:-1]!r}"] if inside else []
    tops: dict[str, list[str]] = {}  # folder → the pictures in it; "" for those in none
    for name in names:
        top, slash, _ = name[len(inside) :].partition("/")
        tops.setdefault(top if slash else "", []).append(name)
    splits = _splits(tops, len(inside))
    _check_alike(root, splits)
    members: dict[str, tuple[str, str]] = {}
    for top, own in tops.items():
        skipped = len(inside) + (len(top) + 1 if splits and top else 0)
        if splits and (again := _repeated(own, top, skipped)):
            notes.append(f"split {splits[top]} lies in {own[0][: skipped + again - 1]!r}")
            skipped += again
        for name in own:
            label, slash, _ = name[skipped:].partition("/")
            members[name] = splits.get(top, "train"), label if slash else ""
    if splits:
        told = ", ".join(f"{splits[top]} from {inside + top!r}" for top in
                         sorted(filter(None, splits), key=lambda top: rank(splits[top])))
        notes.append(f"splits are named by folders: {told}")
    return Layout(members, inside, bool(splits), tuple(notes))


def _wrapping(names: list[str]) -> str:
    """The folder that holds all there is, in folders of their own; "" where the root does."""
    inside = ""
    while names:
        top, slash, _ = names[0][len(inside) :].partition("/")
        below = f"{inside}{top}/"
        if not slash or split_of(top) or not all(
            name.startswith(below) and "/" in name[len(below) :] for name in names
        ):
            break
        inside = below
    return inside


def _splits(tops: Mapping[str, list[str]], skipped: int) -> dict[str, str]:
    """Top folder → split; {} where they are classes.

    Splits are told by a usual name of one that holds folders (a `train` full of pictures may be a
    vehicle), by words in the names of two of these, train one of them, or by a word in all names.
    """
    deep = {top for top, own in tops.items()
            if any(name[skipped:].count("/") > 1 for name in own)}
    words = {top: word_of(top) for top in tops}
    if any(split_of(top) for top in deep):
        return {top: split_of(top) or top for top in tops}
    if {"train"} < {words[top] for top in deep} - {""}:
        return {top: word or top for top, word in words.items()}
    usual = len(tops) > 1 or any(map(split_of, tops))
    return words if usual and all(words.values()) else {}


def _repeated(names: list[str], top: str, skipped: int) -> int:
    """The length of a folder in `top` that has its name again, as in seg_train/seg_train, and holds
    all; 0 where there is none."""
    again, _, _ = names[0][skipped:].partition("/")
    alike = again.casefold() == top.casefold() or split_of(again) == split_of(top) != ""
    below = names[0][:skipped] + again + "/"
    held = all(name.startswith(below) and "/" in name[len(below) :] for name in names)
    return len(again) + 1 if alike and held else 0


def _check_alike(root: str, splits: Mapping[str, str]) -> None:
    meant: dict[str, str] = {}
    for top, split in splits.items():
        if split in meant:
            raise refuse(root, f"its folders {meant[split]!r} and {top!r} both mean the "
                         f"split {split}", "join them, or take one elsewhere")
        meant[split] = top


def classes_of(root: str, layout: Layout) -> str:
    """A sentence on which folders are classes. Raises RequestError for a picture in none."""
    where = "<split>/<class>/" if layout.splits else "<class>/"
    for name, (_, label) in layout.members.items():
        if not label:
            raise refuse(root, f"{name!r} lies in no class's folder",
                         f"put it in {where}, or elsewhere; or name a table of files and labels: "
                         "--labels FILE.csv")
    inside = f"in {layout.inside[:-1]!r}" if layout.inside else "of the set"
    return f"classes are named by the folders {'of each split' if layout.splits else inside}"
