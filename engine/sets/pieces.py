"""Which examples are read together: an epoch's batches in chunks, then those of its evaluation."""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.sets.stored import fill

WAIT = 0.01  # seconds between looks for an order that isn't there yet


class Part(NamedTuple):
    """Examples that are met one batch after another: the host's `inputs` of a split, the `rows` of
    it that take part, int32 [N], drawn anew each epoch or as they stand; `batch` examples at a
    time, and so many `batches` a chunk."""

    inputs: Any
    rows: np.ndarray
    batch: int
    batches: int
    drawn: bool

    @property
    def turns(self) -> int:
        """Batches in all."""
        return -(-len(self.rows) // self.batch)

    @property
    def chunks(self) -> int:
        return -(-self.turns // self.batches)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a chunk, which the last one is filled up to."""
        return (self.batch * self.batches, *self.inputs.shape[1:])


class Closed(Exception):
    """The run is over: its next order won't come."""


class Orders:
    """An order of the examples for each epoch, int32 [N], written by the run's process: in its
    memory, and where there are workers in a folder too, in which they find it."""

    def __init__(self, shared: bool) -> None:
        self._kept = tempfile.TemporaryDirectory(prefix="flaxmill-orders-") if shared else None
        self._here: dict[int, np.ndarray] = {}
        self._closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        assert self._kept
        return Written, (self._kept.name,)

    def write(self, epoch: int, rows: np.ndarray) -> None:
        """This one; what came two before it is met no more."""
        self._here[epoch] = rows
        self._here.pop(epoch - 2, None)
        if self._kept:
            path = _path(self._kept.name, epoch)
            with open(f"{path}.partial", "wb") as file:
                np.save(file, rows, allow_pickle=False)
            os.replace(f"{path}.partial", path)
            _path(self._kept.name, epoch - 2).unlink(missing_ok=True)

    def __call__(self, epoch: int) -> np.ndarray:
        """Waits, in a thread that reads ahead, until it is written; raises Closed."""
        while epoch not in self._here:
            if self._closed:
                raise Closed
            time.sleep(WAIT)
        return self._here[epoch]

    def close(self) -> None:
        """Nobody waits any longer."""
        self._closed = True
        if self._kept:
            self._kept.cleanup()


class Written(NamedTuple):
    """The orders as a worker sees them."""

    folder: str

    def __call__(self, epoch: int) -> np.ndarray:
        """Waits until it is written, as Orders does."""
        path = _path(self.folder, epoch)
        while not path.exists():
            if not os.path.isdir(self.folder):
                raise Closed
            time.sleep(WAIT)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def close(self) -> None:
        """Where the run's process is no more."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _path(folder: str, epoch: int) -> Path:
    return Path(folder, f"{epoch}.npy")


class Pieces:
    """A sequence of chunks, as Grain reads one: in each of `rounds` epochs those of every part."""

    def __init__(self, parts: tuple[Part, ...], rounds: int = 1, orders: Any = None):
        self.parts, self.rounds, self.orders = parts, rounds, orders

    @property
    def each(self) -> int:
        """Chunks of an epoch."""
        return sum(part.chunks for part in self.parts)

    def __len__(self) -> int:
        return self.rounds * self.each

    def __getitem__(self, number: int) -> np.ndarray:
        """Inputs of a chunk's slots [n, ...]; beyond the order's end its last example again."""
        epoch, at = divmod(int(number), self.each)
        for part in self.parts:
            if at < part.chunks:
                break
            at -= part.chunks
        order = self.orders(epoch) if part.drawn else part.rows
        size = part.shape[0]
        rows = np.asarray(order[at * size : (at + 1) * size])
        out = np.empty(part.shape, part.inputs.dtype)
        fill(out[: len(rows)], part.inputs, rows)
        out[len(rows) :] = out[len(rows) - 1]
        return out
