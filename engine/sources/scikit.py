"""scikit-learn's own tables by name, embedded: no network, no data folder. `digits` are pictures,
and have a file of their own."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from engine.examples import Split
from engine.sets import cache
from engine.sets.dataset import Dataset, asked
from engine.tables import frames


def load(name: str, splits: Sequence[str] | None = None) -> Dataset:
    """The one split `train`: a DataFrame of float64 columns by their names there, and classes int32
    [N], or for diabetes the float32 numbers to predict; rows in the order of a table's. Raises
    RequestError for another split."""
    # Imported late: scikit-learn takes a second that no other source should pay.
    from sklearn import datasets

    asked(name, ("train",), splits)
    held = getattr(datasets, f"load_{name}")(as_frame=True)
    classes = tuple(map(str, held.get("target_names", ("target",))))
    kind = np.int32 if "target_names" in held else np.float32
    targets = held.target.to_numpy().astype(kind)
    order = frames.ordered(frames.hashed(held.data), targets)
    split = Split(frames.taken(held.data, order), targets[order])
    whole = cache.together(name, {"train": cache.entry(split, classes)})
    return dataclasses.replace(whole, notes=(
        f"it is scikit-learn's own table of {split.inputs.shape[1]} columns of numbers",))
