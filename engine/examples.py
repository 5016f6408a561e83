"""Examples, on the host or on a device: a split of a set, and some of one."""

from typing import Any, NamedTuple

import numpy as np

UNLABELLED = -1


class Split(NamedTuple):
    """inputs [N, ...], uint8 or float32, or a table's columns, a pandas DataFrame of N rows or a
    StoredTable; targets [N, ...], int32 classes, of which UNLABELLED is none, or float32, NaN where
    there is none; weights float32 [N], by which training multiplies each one's loss, or None: NumPy
    on the host, jax arrays on a device."""

    inputs: Any
    targets: Any
    weights: Any = None


class Subset(NamedTuple):
    """Which examples of a split take part: `rows` int32 [N]."""

    split: Split
    rows: Any

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example: [H, W, C] of a picture."""
        return self.split.inputs.shape[1:]

    @property
    def targets(self) -> np.ndarray:
        """Of its examples [N, ...], on the host."""
        return np.asarray(self.split.targets)[np.asarray(self.rows)]
