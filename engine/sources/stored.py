"""Inputs that are read when they are needed: an array's stand-in on the host."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Stored(ABC):
    """Inputs [N, ...] of a split that lie elsewhere: `shape` and `dtype` as an array has them, and
    the `reason` why they do. It can be pickled; what is open stays behind."""

    shape: tuple[int, ...]
    dtype: np.dtype
    reason = "its source is read as it is needed"

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def read(self, row: int) -> np.ndarray:
        """One example. Raises RequestError or RunError where it can't be had as it was."""

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Those of `rows` [n], or of a slice."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        fill(out, self, rows)
        return out


def fill(out: np.ndarray, inputs: Any, rows: np.ndarray) -> None:
    """Write the examples `rows` of an array or of Stored into `out` [n, ...]."""
    if not isinstance(inputs, Stored):
        np.take(inputs, rows, axis=0, out=out, mode="clip")  # which needs no copy
        return
    for at, row in enumerate(rows):
        out[at] = inputs.read(int(row))
