"""Which examples words stand for: slices such as train[:10%]+test, shares such as 0.1, folds such
as 2/5; and which split a folder's or a file's name says. N: examples, C: classes.
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from engine.errors import RequestError, unknown

_PART = re.compile(r"([^\[\]]*)(?:\[(.*)\])?")
_BOUND = r"(-?\d[\d_]{0,17}(?:(?:\.\d{1,9})?%)?)?"
_SLICE = re.compile(f"{_BOUND}:{_BOUND}")
DRAWN = "by class"  # how a share is held out; older runs lack this record, and drew otherwise
MOST_GROUPED = 20  # parts that groups are shared out among
# As Hugging Face's folders have them.
_USUAL = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLITS = {word: split for split, words in _USUAL.items() for word in words}


class Fold(NamedTuple):
    """The `number`th of `count` parts, from 1."""

    number: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls


def chosen(text: str, sizes: Mapping[str, int], whose: str) -> list[tuple[str, np.ndarray]]:
    """The splits, and rows int32 of each, that tensorflow-datasets' words name: train, all,
    train[:10000], train[-20%:], or a sum of such. Raises RequestError, also where parts overlap:
    an example that is there twice may both train and validate."""
    found = []
    for part in _terms(text, sizes):
        match = _PART.fullmatch(part)
        name, inside = match.groups() if match else (part, None)
        if name not in sizes:
            learned = " The split to learn from is called train, or by --train_split NAME." * (
                name == "train")
            raise RequestError(f"{unknown(f'split of {whose}', name, sizes)}{learned}")
        found.append((name, _slice(part, inside, sizes[name])))
    for name in dict(found):
        rows = np.concatenate([rows for other, rows in found if other == name])
        if twice := len(rows) - len(np.unique(rows)):
            raise RequestError(f"{text} of {whose} names {twice:,} examples of {name} twice: type "
                               "parts that don't overlap.")
    return found


def named(text: str, present: Iterable[str]) -> set[str]:
    """Those of the splits that are `present` of which the words of `chosen` name a part."""
    return {*present}.intersection(part.partition("[")[0] for part in _terms(text, present))


def _terms(text: str, present: Iterable[str]) -> list[str]:
    """The words between plus signs."""
    return [*present] if text == "all" else re.split(r"\s*\+\s*", text)


def _slice(part: str, inside: str | None, count: int) -> np.ndarray:
    """Rows of the part `name[inside]` of a split that has `count`."""
    if inside is None:
        return np.arange(count, dtype=np.int32)
    bounds = _SLICE.fullmatch(inside)
    if not bounds or any(b and b[-1] == "%" and abs(_number(b)) > 100 for b in bounds.groups()):
        raise RequestError(f"{part} is no part of a split: type it as train[:10000], train[-20%:] "
                           "or train[25%:50%] (100% is all), or a sum of such.")
    start, stop = _at(bounds[1], 0, count), _at(bounds[2], count, count)
    return np.arange(start, max(start, stop), dtype=np.int32)


def _at(bound: str | None, default: int, count: int) -> int:
    """The row that the text of a bound stands for."""
    if bound is None:
        return default
    value = _number(bound)
    value = round(count * value / 100) if bound.endswith("%") else int(value)
    return min(max(value + count if value < 0 else value, 0), count)


def _number(bound: str) -> float:
    return float(bound.rstrip("%").replace("_", ""))


def held_out(text: str) -> float | Fold | None:
    """What --validation_split `text` takes from the training split; None where it names a split."""
    value: float | Fold
    try:
        value = Fold(*map(int, text.split("/"))) if "/" in text else float(text)
    except (ValueError, TypeError):
        return None
    sound = 1 <= value[0] <= value[1] >= 2 if isinstance(value, Fold) else 0 < value < 1
    if not sound:
        raise RequestError(f"--validation_split {text}: type a fraction between 0 and 1, such as "
                           "0.1, a fold, such as 2/5, or a split's name, such as test.")
    return value


def parted(
    targets_N: np.ndarray, share: float | Fold, groups_N: np.ndarray | None = None
) -> np.ndarray:
    """Which of N examples are held out, bool [N]: the same whatever the run's seed, so that runs
    compare, with every class's share of them; no group is divided.

    Folds differ in size by one example at most, but for groups.
    """
    order = np.random.default_rng(0).permutation(len(targets_N))
    classes = np.issubdtype(targets_N.dtype, np.integer) and targets_N.ndim == 1
    labels_N = targets_N if classes else np.zeros(len(targets_N), np.int32)
    if groups_N is not None:
        return _grouped(labels_N, share, groups_N)
    order = order[np.argsort(labels_N[order], kind="stable")]
    if isinstance(share, Fold):
        held = order[share.number - 1 :: share.count]
    else:
        _, starts, counts_C = np.unique(labels_N[order], return_index=True, return_counts=True)
        quotas_C = _quotas(counts_C, round(share * len(order)))
        held = np.concatenate([order[:0], *(order[start : start + quota] for start, quota in
                                            zip(starts, quotas_C, strict=True))])
    out_N = np.zeros(len(order), bool)
    out_N[held] = True
    return out_N


def _quotas(counts_C: np.ndarray, total: int) -> np.ndarray:
    """How many of each class make `total`: in proportion by the largest remainders, and one at
    least of a class that has two, where `total` is enough for all."""
    if not total:
        return np.zeros(len(counts_C), int)
    exact_C = counts_C * total / counts_C.sum()
    quotas_C = np.floor(exact_C).astype(int)
    least_C = (counts_C > 1).astype(int) if total >= len(counts_C) else 0 * quotas_C
    quotas_C = np.maximum(quotas_C, least_C)
    while (short := total - quotas_C.sum()) > 0:
        more = np.argsort(quotas_C - exact_C, kind="stable")[:short]
        quotas_C[more] += 1
    while (over := quotas_C.sum() - total) > 0:
        fewer = np.argsort(np.where(quotas_C > least_C, exact_C - quotas_C, np.inf),
                           kind="stable")[:over]
        quotas_C[fewer] -= 1
    return quotas_C


def _grouped(
    labels_N: np.ndarray, share: float | Fold, groups_N: np.ndarray
) -> np.ndarray:
    """Folds of scikit-learn's, or as many of them as make the share. Raises RequestError where
    there are fewer groups than folds."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    count = len(np.unique(groups_N))
    if isinstance(share, Fold):
        parts, wanted = share.count, {share.number - 1}
    else:
        near = Fraction(share).limit_denominator(max(2, min(MOST_GROUPED, count)))
        parts, wanted = near.denominator, set(range(near.numerator))
    if not 2 <= parts <= count:
        raise RequestError(f"--group: {count} groups can't be shared out among {max(parts, 2)} "
                           "parts: hold out a larger share, or name another column.")
    out_N = np.zeros(len(labels_N), bool)
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class with fewer examples than folds
        if np.unique(labels_N, return_counts=True)[1].max() < parts:
            labels_N = np.zeros_like(labels_N)  # which it refuses to share out
        for number, (_, held) in enumerate(folds.split(labels_N, labels_N, groups_N)):
            if number in wanted:
                out_N[held] = True
    return out_N


def rank(split: str) -> tuple[int, str]:
    """By which splits are sorted: train, validation, test, then others by name."""
    usual = [*_USUAL]
    return (usual.index(split) if split in usual else len(usual)), split


def split_of(name: str) -> str:
    """train, validation or test where `name` is a usual one of a split in any case, else ""."""
    return _SPLITS.get(name.casefold(), "")


def splits_within(words: set[str]) -> tuple[str, set[str]]:
    """The split that one of `words` names, also where it begins one, as in trainannot, or "";
    and what is left of them. Several splits are none."""
    found, left = set(), set()
    for word in words:
        begins = max((usual for usual in _SPLITS if word.startswith(usual)), key=len, default="")
        if begins:
            found.add(_SPLITS[begins])
        left |= {word.removeprefix(begins)} - {""}
    return (found.pop(), left) if len(found) == 1 else ("", words)


def word_of(name: str) -> str:
    """The split of which one word of `name` speaks, as in seg_train; "" for none or several."""
    found = {split_of(word) for word in re.split(r"[^a-z]+", name.casefold())} - {""}
    return found.pop() if len(found) == 1 else ""
