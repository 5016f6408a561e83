"""What every source returns: named splits of one set, on the host."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import RequestError, unknown
from engine.examples import Split
from engine.sets.bundle import Bundle
from engine.sets.names import columns_in
from engine.sets.tabular import has_columns

_SPLIT = re.compile(r"[\w.-]{1,64}")  # what --train_split can name


@dataclass(frozen=True)
class Dataset:
    """Named splits of one set; `fingerprint` changes when its bytes do.

    `classes` are the names of the classes that targets [N] number; else of the outputs, the columns
    of targets [N, K]. `notes` are sentences for the user: what its source understood, left out and
    why. `groups` are int32 [N] by split, where examples of one group are never parted.
    `labels` says where a table's targets come from, as a person goes on reading, or is "".
    `left_out` are columns of a table that aren't learned from, as asked; `pixels` those that are a
    picture's, in its order, where their names don't tell it; `target` those that are learned;
    `bundle` what the inputs are where they are several by their names.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    fingerprint: str
    notes: tuple[str, ...] = ()
    groups: Mapping[str, Any] = field(default_factory=dict)
    labels: str = ""
    left_out: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    bundle: Bundle | None = None

    @property
    def is_table(self) -> bool:
        """Whether its inputs are columns, which become features once it is cut."""
        return any(has_columns(split.inputs) for split in self.splits.values())


def without(dataset: Dataset, leave_out: str) -> Dataset:
    """The set without those of its tables' columns that `leave_out` names."""
    held = {name: split.inputs for name, split in dataset.splits.items()
            if has_columns(split.inputs)}
    names = columns_in(leave_out, [str(c) for inputs in held.values() for c in inputs.columns])
    gone = {name: [c for c in inputs.columns if str(c) in names] for name, inputs in held.items()}
    if not any(gone.values()):
        return dataset
    splits = {name: split._replace(inputs=held[name].drop(columns=gone[name]))
              for name, split in dataset.splits.items()}
    left_out = *dataset.left_out, *map(str, next(iter(gone.values())))
    return dataclasses.replace(dataset, splits=splits, left_out=left_out)


def asked(name: str, present: Iterable[Any], splits: Sequence[str] | None = None) -> list[str]:
    """The names to load: `splits`, else all that are `present`. Raises RequestError."""
    present = list(present)
    if not present:
        raise RequestError(f"{name} holds no examples.")
    for split in present:
        if not isinstance(split, str) or not _SPLIT.fullmatch(split):
            raise RequestError(f"{name}: the split {split!r} has a name that can't be typed; name "
                               "it with letters, digits, _, - and dots.")
    for split in splits or ():
        if split not in present:
            raise unknown(f"split of {name}", split, present)
    return list(splits or present)
