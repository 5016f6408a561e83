"""Sets and their columns by names, and what of a Reading each set heeds."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from engine.config import Reading
from engine.errors import RequestError

ARRAYS, DIGITS, IMAGE_FOLDER, TABLE = "arrays", "digits", "image_folder", "table"
# Kinds of sets that lie where the user says, as in table:PATH.
TABLES = TABLE, "csv"
FROM_PATHS = IMAGE_FOLDER, *TABLES
SCIKIT = "iris", "wine", "breast_cancer", "diabetes"  # its own tables, embedded
EMBEDDED = DIGITS, *SCIKIT
PLAIN = Reading()
# Which sets a field of Reading is for, where not for all; pictures to predict heed some of them.
_PICTURES = "pictures", IMAGE_FOLDER, "table"
_FOR = {
    "image_size": _PICTURES, "background": _PICTURES, "skip_bad": _PICTURES,
    "labels": (IMAGE_FOLDER,), "target": (IMAGE_FOLDER, "table"),
    "group": (IMAGE_FOLDER, "table"), "weight": ("table",), "embed": ("table", ARRAYS),
    "pixels": ("table",),
}


def short(name: str) -> str:
    """What to call a set's runs: its name; for table:~/letters/all.csv, table-all."""
    kind, _, path = name.partition(":")
    stem = Path(os.path.abspath(os.path.expanduser(path))).stem
    return "-".join(filter(None, (kind, stem))) if kind in FROM_PATHS else name


def columns_in(asked: str, names: Collection[str]) -> tuple[str, ...]:
    """What a flag asks for by commas, each once; of a table's `names` those with commas, too, of
    which the longest is meant."""
    known, parts, found = {*names}, asked.split(","), []
    most = 1 + max((name.count(",") for name in known), default=0)
    while parts:
        joined = {count: ",".join(parts[:count]) for count in range(most, 0, -1)}
        name, count = next(((name, count) for count, text in joined.items()
                            for name in (text, text.strip()) if name in known),
                           (parts[0].strip(), 1))
        found.append(name)
        parts = parts[count:]
    return tuple(dict.fromkeys(filter(None, found)))


def folder_of(name: str) -> str:
    """What to type where a folder of that name is meant, or ""."""
    return f"to learn from the folder of that name, type image_folder:{name}, or table:{name}" \
        if os.path.isdir(name) else ""


def unused(name: str, reading: Reading) -> dict[str, Any]:
    """The fields of `reading` that say something, and nothing that the set `name` heeds; objects
    are called arrays."""
    kind = name.partition(":")[0]
    own = "table" if kind in TABLES else kind if kind in (*FROM_PATHS, ARRAYS) else \
        "numbers" if name in SCIKIT else "pictures"
    return {field: value for field, value in reading._asdict().items()
            if value != getattr(PLAIN, field) and own not in _FOR.get(field, (own,))}


def check_heeded(name: str, reading: Reading) -> None:
    """Raise RequestError for a field that the set `name` doesn't heed."""
    for field, value in unused(name, reading).items():
        typed = f"--{field}" if value is True else f"--{field} {value}"
        sets = [f"{which}:PATH" if which in FROM_PATHS else which for which in _FOR[field]]
        own = name == ARRAYS
        what, meant = ("data that are objects", "") if own else (
            f"--dataset {name}", folder_of(name))
        raise RequestError(f"{typed} has no effect with {what}: it is for {' and '.join(sets)}. "
                           f"{f'T{meant[1:]}' if meant else 'Leave it out'}.")
