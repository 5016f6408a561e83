"""A table of the user's own, CSV or Parquet: its columns are features, or the pixels of pictures.

PATH is one file, the split `train`; or a folder with a file a split: train, validation and test.
"""

import dataclasses
import functools
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from engine.config import Reading
from engine.errors import RequestError, tell
from engine.examples import Split
from engine.sets import cache, values
from engine.sets.content import content
from engine.sets.dataset import Dataset, asked
from engine.sets.limits import TooLarge, refused
from engine.sets.names import TABLE, columns_in
from engine.sets.splits import rank, split_of, word_of
from engine.sets.tabular import is_frame
from engine.tables import dialect, doubts, frames, pixels, sheet, target
from engine.tables.dialect import Unreadable
from engine.tables.pixels import Pixels
from engine.tables.sheet import Sheet, alike

_refused = functools.partial(refused, TABLE)


def load(
    path: str, reading: Reading, splits: Sequence[str] | None = None, reason: str = "",
    text: Collection[str] = (),
) -> Dataset:
    """The set that the file or folder `path` holds; where there is a `reason`, its columns stay in
    their files, which are Parquet, and its fingerprint is of names, sizes and times. Columns of
    `text`, and those that are words in training, are words in all files, as they are written: 01 is
    no 1.

    Inputs are columns, a DataFrame [N] (`frames` says which types), or pictures [N, H, W, C] uint8
    or float32 (`pixels`); targets are int32 [N] of classes or float32 [N] of numbers. A split that
    lacks the target's column is unlabelled. Rows have an order that is their content's own. Raises
    RequestError."""
    named = dict.fromkeys((*columns_in(reading.target, ()), reading.target), "--target")
    flags = named | {reading.group: "--group", reading.weight: "--weight"}
    for name in columns_in(reading.leave_out, flags):
        if flag := flags.get(name):
            raise RequestError(f"--leave_out {reading.leave_out}: {name!r} is what {flag} names: "
                               "leave it out of one of both.")
    files = _files(path)
    wanted = asked(TABLE, files, splits)
    tell(f"reading {TABLE} {path}")
    first = sheet.read(files.pop("train"), reading, lambda names: _learned(names, reading), reason,
                       text, (*named, reading.group, reading.weight))
    try:
        learned = _learned(list(first.columns), reading)
        kinds = sheet.kinds(first, _apart(learned, reading))
        text = {*text, *(name for name, kind in kinds.items() if kind == "word")}
        others = {split: sheet.read(file, reading, lambda _: learned, reason, text,
                                    list(first.columns))
                  for split, file in files.items()}
        return _set({"train": first} | others, learned, kinds, reading, wanted)
    except Unreadable as error:
        raise _refused(path, error, error.instead) from None


def _set(
    found: dict[str, Sheet], learned: Sequence[str], kinds: Mapping[str, str], reading: Reading,
    wanted: list[str],
) -> Dataset:
    """Of the files as they were read, the columns of training of these kinds. Raises Unreadable."""
    first, apart = found["train"], _apart(learned, reading)
    said = f"{_which(learned)} learned, {_how(list(first.columns), learned, reading)}"
    found = {split: alike(part, first, kinds, apart) for split, part in found.items()}
    targets, classes, notes = target.learned(
        learned, {split: part.columns for split, part in found.items()},
        {split: len(part.columns) for split, part in found.items()})  # fmt: skip
    groups = frames.groups({split: part.columns[reading.group] for split, part in found.items()
                           if reading.group in part.columns})  # fmt: skip
    weights = {split: [_weights(part, reading.weight)] if reading.weight in part.columns else []
               for split, part in found.items()}
    features = {split: part.columns.drop(columns=list(apart), errors="ignore")
                for split, part in found.items()}
    pictured, told = pixels.pictures(features, reading.pixels)
    notes = [*_told(found, learned, said), *notes, *filter(None, [told]),
             *doubts.of_target({split: part.columns for split, part in found.items()}, learned),
             *([] if pictured else doubts.doubtful(features["train"], targets["train"]))]
    if not pictured and (vain := [name for name in ("image_size", "background", "skip_bad")
                                  if getattr(reading, name) != getattr(Reading(), name)]):
        raise Unreadable(f"its columns are no pixels, and --{vain[0]} is for pictures",
                         "leave it out, or type --pixels if they are")
    examples = pictured or features
    order, held = {}, {}
    for split in wanted:
        hashes = _hashed(examples[split])
        own = targets[split], *weights[split]
        order[split] = frames.ordered(hashes, *own)
        inputs = _taken(examples[split], order[split], hashes)
        inputs = pixels.sized(inputs, reading.image_size)
        held[split] = Split(inputs, *(x[order[split]] for x in own))
    whole = cache.together(TABLE, {split: cache.entry(one, classes) for split, one in held.items()})
    return dataclasses.replace(
        whole, notes=tuple(notes), left_out=first.left_out, target=tuple(learned),
        labels=f" ({said}{'' if reading.target else '; --target COLUMN learns another'})",
        pixels=pixels.unnumbered(list(features["train"].columns)) if pictured else (),
        groups={split: groups[split][order[split]] for split in wanted if split in groups})


def _learned(names: list[str], reading: Reading) -> tuple[str, ...]:
    return target.chosen(_likely(names, reading), reading.target)


def _likely(names: list[str], reading: Reading) -> list[str]:
    """The columns of which one is learned: no group or weight, unless that is asked for."""
    asked = columns_in(reading.target, names)
    return [name for name in names
            if name not in (reading.group, reading.weight) or name in asked] or names


def _apart(learned: Sequence[str], reading: Reading) -> tuple[str, ...]:
    """What is no feature. Raises Unreadable for a weight that is something else too."""
    if reading.weight and reading.weight in (*learned, reading.group):
        what = "--group names" if reading.weight == reading.group else "is learned"
        raise Unreadable(f"--weight names the column {reading.weight!r}, which is what {what}",
                         "name another column, or leave it out")
    return (*learned, reading.group, reading.weight)


def _weights(part: Sheet, name: str) -> np.ndarray:
    """Of each row, float32 [N]. Raises Unreadable."""
    column = part.columns[name]
    try:
        if frames.kind(column) != "number":
            raise ValueError(f"are {frames.kind(column)}s")
        return values.weights(column.to_numpy(), len(column))
    except ValueError as error:
        raise Unreadable(f"the weights {name!r} of {os.path.basename(part.file)} {error}",
                         "give every row a finite number of 0 or more") from None


def _hashed(inputs: Any) -> np.ndarray:
    """A hash of each row or picture, uint64 [N]."""
    if not isinstance(inputs, Pixels | np.ndarray):
        return frames.hashed(inputs)
    return frames.mixed([inputs.content() if isinstance(inputs, Pixels) else content(inputs)])


def _taken(inputs: Any, order: np.ndarray, hashes: np.ndarray) -> Any:
    if isinstance(inputs, np.ndarray):
        return inputs[order]
    return frames.taken(inputs, order) if is_frame(inputs) else inputs.take(order, hashes[order])


def _how(names: list[str], learned: Sequence[str], reading: Reading) -> str:
    """How it was found which of the columns is learned."""
    if reading.target:
        return "as --target says"
    if target.named(names := _likely(names, reading)) == learned:
        return "by its name"
    return f"as the last of {len(names):,} columns" if names[-1:] == [*learned] else (
        "as the one that is no pixel")


def _which(learned: Sequence[str]) -> str:
    return f"the {len(learned)} columns {frames.listed(learned)} are" if len(learned) > 1 else \
        f"the column {learned[0]!r} is"


def _told(found: Mapping[str, Sheet], learned: Sequence[str], said: str) -> list[str]:
    """How each file was read, and what of it is learned."""
    notes = [f"{split}: {note}" for split, part in found.items() for note in part.notes]
    notes.append(said)
    notes += [f"{split} has no column {name!r}: its {len(part.columns):,} rows are unlabelled"
              for split, part in found.items() for name in learned if name not in part.columns]
    if left_out := found["train"].left_out:
        notes.append(f"columns left out, as asked: {frames.listed(left_out)}")
    return notes


def frame(path: str, reading: Reading, text: Collection[str] = ()) -> Any:
    """The columns of one file, those of `text` as words, its rows as they lie there, whether it has
    a target or not: a DataFrame, or where the memory can't hold it and it is Parquet a StoredTable.
    How it was read is told. Raises RequestError."""
    try:
        found = sheet.read(path, reading, lambda names: target.named(names, reading.target),
                           text=text)
        for note in found.notes:
            tell(f"{os.path.basename(path)}: {note}")
        return found.columns
    except TooLarge as error:
        if not is_parquet(path):
            raise _refused(path, error.reason, "predict a part of it at a time") from None
        stored = sheet.read(path, reading, lambda _: (), error.reason, text)
        return stored.columns.of_kinds(sheet.kinds(stored, ()), ())


def names(path: str, reading: Reading) -> tuple[str, ...]:
    """Of the columns of training's file. Raises RequestError."""
    return sheet.names_of(_files(path)["train"], reading)


def is_parquet(path: str) -> bool:
    """Whether all files of a table are Parquet by their names. Raises RequestError."""
    return all(file.lower().endswith(dialect.PARQUET) for file in _files(path).values())


def pictures(
    columns: Any, image_HxWxC: Sequence[int], dtype: str, names: Sequence[str] = ()
) -> Any:
    """Those that a `frame` holds, for a run of such pictures, in whose order the columns `names`
    were, if these have no numbers. Raises RequestError."""
    try:
        return pixels.like(columns, image_HxWxC, dtype, names)
    except Unreadable as error:
        raise RequestError(f"{TABLE}: {error}; {error.instead}.") from None


def _files(path: str) -> dict[str, str]:
    """Split → file. Raises RequestError."""
    try:
        if not os.path.isdir(path):
            return {"train": path}
        inside = sorted(os.listdir(path))
    except (OSError, ValueError) as error:
        raise _refused(path, error, "type the path of a table") from None
    tables = [name for name in inside if name.lower().endswith(dialect.TABLES) and name[0] != "."]
    if len(tables) == 1:
        return {"train": os.path.join(path, tables[0])}
    stems = {name: os.path.splitext(name)[0] for name in tables}
    called = {name: split_of(stem) for name, stem in stems.items()}
    if "train" not in called.values():  # as in mnist_train.csv
        called = {name: word_of(stem) for name, stem in stems.items()}
    found: dict[str, str] = {}
    for name, split in called.items():
        if split in found:
            raise _refused(path, f"{os.path.basename(found[split])} and {name} are both its "
                           f"{split} split", "take one of them away")
        if split:
            found[split] = os.path.join(path, name)
    if "train" not in found:
        told = f": it has {frames.listed(tables)}" if tables else ""
        raise _refused(path, f"it holds no train.csv or train.parquet{told}",
                       "call one so, or type the path of a file")
    return dict(sorted(found.items(), key=lambda item: rank(item[0])))
