"""Errors a person reads: what was wrong, the value seen, what to type instead."""

import difflib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from engine.width import fitted

NEAR = 0.72  # the share of their letters that two words have in common for "did you mean"


class RequestError(Exception):
    """A request that can't be carried out as typed. The process exits with status 2.

    One that every process of a job raises alike is `shared`: the first one says it for all.
    """

    def __init__(self, message: str, shared: bool = False):
        super().__init__(message)
        self.shared = shared


class RunError(Exception):
    """A sound request that failed on the way. The process exits with `status`."""

    def __init__(self, message: str, status: int = 1, shared: bool = False):
        super().__init__(message)
        self.status, self.shared = status, shared


def nearest(value: str, choices: Iterable[str]) -> list[str]:
    """Up to three of them that look like it: as they are written, else in any case, else, as mpl
    does, by their letters."""
    choices, folded = list(choices), value.casefold()
    words = {choice.casefold(): choice for choice in choices}
    return difflib.get_close_matches(value, choices, n=3, cutoff=NEAR) or [
        words[word] for word in difflib.get_close_matches(folded, words, n=3, cutoff=NEAR)
        or [word for word in words if sorted(word) == sorted(folded)][:3]]


def unknown(what: str, value: str, choices: Iterable[str]) -> RequestError:
    """A RequestError that names the nearest of `choices`, or all of them where none is near."""
    choices = sorted(choices)
    near = nearest(value, choices)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(choices)}."
    return RequestError(f"unknown {what} {value!r}: {hint}")


def visible(text: object, kept: str = "\n") -> str:
    """With control and format characters as escapes, but for those `kept`: a name that comes from a
    file can't move a terminal's cursor, nor add a column or a line."""
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode()
                   for c in str(text))


def some(texts: Sequence[str], most: int = 10) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def sides(shape: Iterable[object]) -> str:
    """As people write it: 28 × 28 × 1."""
    return " × ".join(map(str, shape))


def repeated(names: Iterable[str]) -> list[str]:
    """Those that come more than once, each once, in their order."""
    return [name for name, count in Counter(names).items() if count > 1]


def check_utf8(text: object) -> None:
    """Raises RequestError for the name of a file in another encoding: it could be neither printed
    nor saved, and no checkpoint written there."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        if (taken := sys.getfilesystemencoding()) != "utf-8":
            raise RequestError(f"{text}: Python takes names for {taken} under this locale: export "
                               "PYTHONUTF8=1.") from None
        raise RequestError(f"{text} is a name that is not UTF-8: rename what it names, or name "
                           "another.") from None


def tell(text: object) -> None:
    """A line on standard error, which isn't the result."""
    print(fitted(visible(text), sys.stderr), file=sys.stderr, flush=True)


def one_line(error: object) -> str:
    """An exception or message as one line of readable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
