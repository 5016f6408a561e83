"""What was understood of a set before it is learnt: classes, examples of each, what is doubtful.

C: classes, N: examples.
"""

from typing import NamedTuple

import numpy as np

from engine.config import AUTO, Parts
from engine.data import has_labels, unlabelled, validation_of
from engine.errors import sides, some
from engine.examples import Subset
from engine.feed import Data
from engine.sets import splits
from engine.sets.content import MOST_COMPARED, content
from engine.sets.dataset import Dataset
from engine.sets.stored import Stored


class Inventory(NamedTuple):
    """`examples` says what they are, and how many; `train` and `validation` are those of each
    class, by name, {} where no classes are learnt; `notes` say what was understood and left out,
    `warnings` what is doubtful, with numbers."""

    examples: str
    train: dict[str, int]
    validation: dict[str, int]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """As a person reads it."""
        told = [f"data: {self.examples}", *([self._classes()] if self.train else [])]
        return [*told, *self.notes, *(f"warning: {text}" for text in self.warnings)]

    def _classes(self) -> str:
        names = list(self.train)
        rarest, commonest = (pick(names, key=lambda n: (self.train[n], self.validation[n]))
                             for pick in (min, max))
        held = f"{self.train[rarest]:,} training and {self.validation[rarest]:,} validation"
        head = f"classes: {len(names):,} ({some(names)})"
        if {*self.train.values()} == {self.train[rarest]} and \
                {*self.validation.values()} == {self.validation[rarest]}:
            return f"{head}, each with {held} examples"
        most = f"{self.train[commonest]:,} and {self.validation[commonest]:,}"
        return f"{head}; the rarest, {rarest}, has {held} examples, the commonest, {commonest}, " \
               f"{most}"


def taken(dataset: Dataset, data: Data, note: str) -> Inventory:
    """The inventory of the parts of a set that a run learns from and is validated on."""
    train, validation = _counts(dataset, data.train), _counts(dataset, data.validation)
    left_out = {name: int(unlabelled(np.asarray(split.targets)).sum())
                for name, split in dataset.splits.items()}
    dropped = [f"unlabelled: {count:,} of {name}'s {len(dataset.splits[name].targets):,} examples"
               for name, count in left_out.items() if count]
    shape = data.train.input_shape
    examples = (
        f"{dataset.name}, {len(data.train.rows):,} training and {len(data.validation.rows):,} "
        f"validation {'images' if len(shape) == 3 else 'examples'} of {sides(shape)}"
    )
    doubts = (*_absent(train, validation), *_unseen(dataset, data.train), *_alike(data))
    return Inventory(examples, train, validation, (*dataset.notes, *dropped, note), doubts)


def judged_by(dataset: Dataset, parts: Parts, judges: str) -> str:
    """What validates, and what it means for the score, in words."""
    text = validation_of(dataset, parts)
    unused = _unused(dataset, parts, f"{text}+{judges}")
    if splits.held_out(text) is not None:
        text = f"{text} of {parts.train}, held out"
    if judges == "test" and text != "test":
        return f"{text}; the best epoch is scored on test, once, at the end{unused}"
    return f"{text}; the best epoch is chosen and scored on it, which flatters the score{unused}"


def _unused(dataset: Dataset, parts: Parts, others: str) -> str:
    """Labelled splits that are neither learned from nor among `others`, unless the user named what
    validates, and how they would be used; or ""."""
    used = set().union(*(splits.named(text, dataset.splits) for text in (parts.train, others)))
    left = [name for name in dataset.splits if name not in used and has_labels(dataset, name)]
    if not left or (parts.validation != AUTO and splits.held_out(parts.validation) is None):
        return ""
    return f"; not used: {some(left)}; --validation_split {left[0]} validates on it, " \
           "--train_split learns from it"


def _counts(dataset: Dataset, subset: Subset) -> dict[str, int]:
    """Examples by class, in the classes' order."""
    targets = subset.targets
    if targets.ndim != 1:
        return {}
    found = np.bincount(targets, minlength=len(dataset.classes))
    return dict(zip(dataset.classes, found.tolist(), strict=True))


def _absent(train: dict[str, int], validation: dict[str, int]) -> list[str]:
    """Classes that can't be learnt, or can't be judged."""
    said = []
    for what, counts in (("training", train), ("validation", validation)):
        if none := [name for name, count in counts.items() if not count]:
            said.append(f"{len(none):,} of {len(counts):,} classes have no {what} examples: "
                        f"{some(none)}")
    return said


def _unseen(dataset: Dataset, train: Subset) -> list[str]:
    """Classes that no position has, if these are most: 1 to 254 where 255 is meant for none."""
    targets = train.targets
    if targets.ndim == 1 or not np.issubdtype(targets.dtype, np.integer):
        return []
    found = {*np.unique(targets).tolist()}
    none = [name for at, name in enumerate(dataset.classes) if at not in found]
    if 2 * len(none) <= len(dataset.classes):
        return []
    return [f"{len(none):,} of {len(dataset.classes):,} classes are of no position in training: "
            f"{some(none)}; -1 is no class, to be neither learned nor scored"]


def _alike(data: Data) -> list[str]:
    """Examples of equal content, within training, and between training and validation."""
    inputs = {id(subset.split): subset.split.inputs for subset in (data.train, data.validation)}
    size = sum(each.nbytes for each in inputs.values() if isinstance(each, np.ndarray))
    if size > MOST_COMPARED:
        return []
    hashed: dict[int, np.ndarray] = {}
    for split, each in inputs.items():
        found = each.hashes if isinstance(each, Stored) else content(each)
        if found is None:
            return []
        hashed[split] = found
    train, validation = (hashed[id(subset.split)][subset.rows]
                         for subset in (data.train, data.validation))
    said, seen = [], np.unique(train)
    if double := len(train) - len(seen):
        said.append(f"{double:,} of {len(train):,} training examples are repeats of others")
    if shared := int(np.isin(validation, seen).sum()):
        said.append(f"{shared:,} of {len(validation):,} validation examples are training examples "
                    "too, so that their scores are of what was learnt by heart")
    return said
