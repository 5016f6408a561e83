"""Fonts of the PNG pictures: one that has a name's characters, else the name's number instead."""

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any

RIGHT_TO_LEFT = "R", "AL"  # Unicode's classes of letters, which matplotlib joins from 3.11 on


@functools.cache
def _faces() -> list[tuple[str, str]]:
    """Families and files that may be drawn with: matplotlib's own first, then those whose names
    tell of many scripts, then any other."""
    from matplotlib import font_manager

    own = font_manager.FontProperties()
    found = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist
             if "Last Resort" not in entry.name}  # which has a box for every script
    others = sorted(found.items(), key=lambda face: (
        "Sans" not in face[0], "Noto" not in face[0], face[0]))
    return [(own.get_name(), font_manager.findfont(own)), *others]


def _has(file: str, character: str) -> bool:
    from matplotlib import font_manager

    try:
        face = font_manager.get_font(file)
        return bool(face.scalable and face.get_char_index(ord(character)))
    except (OSError, RuntimeError):  # a damaged file, or a kind that can't be drawn with
        return False


@functools.cache
def family(character: str) -> str:
    """The first family that draws a character; "" where there is none."""
    import matplotlib

    shaped = matplotlib.__version_info__[:2] >= (3, 11)
    if not shaped and unicodedata.bidirectional(character) in RIGHT_TO_LEFT:
        return ""
    return next((name for name, file in _faces() if _has(file, character)), "")


def is_drawn(text: str) -> bool:
    """Whether some font here has each of its characters."""
    return all(c.isspace() or family(c) for c in ([] if text.isascii() else text))


def named(names: Sequence[str]) -> list[str]:
    """The names, and in place of each that no font has its number, from 1."""
    return [name if is_drawn(name) else str(number) for number, name in enumerate(names, 1)]


def numbered(names: Sequence[str]) -> list[list[Any]]:
    """The legend of `named`: number and name."""
    return [[number, name] for number, name in enumerate(names, 1) if not is_drawn(name)]


def known(text: str) -> str:
    """With a question mark for each character that no font has."""
    return "".join(c if is_drawn(c) else "?" for c in text)


def drawn_with(drawn: Any) -> None:
    """Give every text of a figure the families that it needs."""
    import matplotlib
    from matplotlib.text import Text

    for text in drawn.findobj(Text):
        words = text.get_text()
        if words.isascii():
            continue
        text.set_text(known(words))
        text.set_fontfamily([*matplotlib.rcParams["font.family"],
                             *sorted({family(c) for c in words if not c.isspace()} - {""})])
