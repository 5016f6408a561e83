"""Inputs that are read when they are needed: an array's stand-in on the host."""

import os
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from engine.errors import RunError
from engine.examples import Split
from engine.sets.tabular import is_frame, is_stored


class Stored(ABC):
    """Inputs [N, ...] of a split that lie elsewhere: `shape` and `dtype` as an array has them, and
    the `reason` why they do; `scattered` where some examples cost a reading of all, so that few
    large chunks are better than many. It can be pickled; what is open stays behind."""

    scattered = False

    def __init__(self, shape: tuple[int, ...], dtype: Any, reason: str,
                 hashes: np.ndarray | None = None):
        self.shape, self.dtype, self.reason = shape, np.dtype(dtype), reason
        self._hashes = hashes

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def hashes(self) -> np.ndarray | None:
        """Of each example as it lies there, uint64 [N]: equal ones have equal ones, in other splits
        of the set too. None where that is too much to read."""
        return self._hashes

    @abstractmethod
    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        """Write the examples `rows` into `out` [n, ...]. Raises RequestError or RunError where one
        can't be had as it was."""

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Those of `rows` [n], or of a slice; or one."""
        if np.ndim(rows) == 0 and not isinstance(rows, slice):
            return self[[rows]][0]
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        self.fill(out, np.asarray(rows))
        return out


class Joined(Stored):
    """Rows of several inputs, one after another."""

    def __init__(self, parts: list[tuple[Any, np.ndarray]]):
        first = parts[0][0]
        self.parts, counts = parts, [len(rows) for _, rows in parts]
        self.scattered = first.scattered
        super().__init__((sum(counts), *first.shape[1:]), first.dtype, first.reason)
        self.starts = np.cumsum([0, *counts])

    @property
    def hashes(self) -> np.ndarray | None:
        found = [(inputs.hashes, rows) for inputs, rows in self.parts]
        return None if any(hashed is None for hashed, _ in found) else \
            np.concatenate([hashed[rows] for hashed, rows in found])

    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        for (inputs, own), start in zip(self.parts, self.starts, strict=False):
            at = np.flatnonzero((rows >= start) & (rows < start + len(own)))
            out[at] = inputs[own[rows[at] - start]]


def joined(parts: list[tuple[Split, np.ndarray]]) -> Split:
    """One split of rows of several: copied, but for what is read as it is needed."""
    targets, weights = np.concatenate([split.targets[rows] for split, rows in parts]), None
    if any(split.weights is not None for split, _ in parts):  # 1 where a split has none
        weights = np.concatenate([np.ones(len(rows), np.float32) if split.weights is None else
                                  split.weights[rows] for split, rows in parts])
    return Split(_joined([(split.inputs, rows) for split, rows in parts]), targets, weights)


def _joined(parts: list[tuple[Any, np.ndarray]]) -> Any:
    first = parts[0][0]
    if isinstance(first, Stored):
        return Joined(parts)
    if is_stored(first):
        return first.joined(parts)
    if not is_frame(first):
        return np.concatenate([each[rows] for each, rows in parts])
    import pandas

    return pandas.concat([frame.iloc[rows] for frame, rows in parts], ignore_index=True)


def fill(out: np.ndarray, inputs: Any, rows: np.ndarray) -> None:
    """Write the examples `rows` of an array or of Stored into `out` [n, ...]."""
    if isinstance(inputs, Stored):
        inputs.fill(out, rows)
    else:
        np.take(inputs, rows, axis=0, out=out, mode="clip")  # which needs no copy


def stamp(seen: os.stat_result) -> tuple[int, int, int]:
    """What changes with a file's content: programs set the time of modification as they like, not
    that of change."""
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def check_unchanged(path: str, seen: tuple[int, int, int]) -> None:
    """Raises RunError where the file isn't as it was."""
    try:
        now = stamp(os.stat(path))
    except OSError as error:
        raise RunError(f"{path} can't be read any more: {error.strerror}.") from None
    if now != seen:
        raise RunError(f"{path} has changed since the run began: put it back.")
