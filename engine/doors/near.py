"""Which known words look like one that was typed."""

import difflib
from collections.abc import Iterable

NEAR = 0.72  # the share of their letters that two words have in common for "did you mean"


def nearest(value: str, choices: Iterable[str]) -> list[str]:
    """Up to three of them that look like it: as they are written, else in any case, else, as mpl
    does, by their letters."""
    choices, folded = list(choices), value.casefold()
    words = {choice.casefold(): choice for choice in choices}
    return difflib.get_close_matches(value, choices, n=3, cutoff=NEAR) or [
        words[word] for word in difflib.get_close_matches(folded, words, n=3, cutoff=NEAR)
        or [word for word in words if sorted(word) == sorted(folded)][:3]]
