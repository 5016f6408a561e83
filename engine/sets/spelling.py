"""Classes by their names, however these are spelled."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from engine.errors import some


def joined(labels: Mapping[str, Iterable[str]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Every label of split → labels as the class that it names, and a sentence for the user.

    Labels of different splits are one class where they differ in case, Unicode form, spaces around
    or the form of a whole number alone, and no split tells them apart (as letters A and a are)."""
    held = {split: set(own) for split, own in labels.items()}
    alike: dict[str, list[str]] = {}
    for own in held.values():
        for name in sorted(own):
            if name not in alike.setdefault(_plain(name), []):
                alike[_plain(name)].append(name)
    classes: dict[str, str] = {}
    told = []
    for names in alike.values():
        one = all(len(own.intersection(names)) <= 1 for own in held.values())
        classes |= {name: names[0] if one else name for name in names}
        if one and len(names) > 1:
            told.append(" and ".join(map(repr, names)))
    notes = (f"one class each, by different spellings: {some(told)}",) if told else ()
    return classes, notes


def _plain(name: str) -> str:
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", plain)
