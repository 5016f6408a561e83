"""A set that is streamed, and what a run's programs are given of it."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding

from engine.devices import mesh
from engine.examples import Split, Subset
from engine.feed import Chunk, Data
from engine.sets.pieces import Part


class Stream(NamedTuple):
    """The two parts of an epoch, read by so many `workers` (0: by this process), and why."""

    train: Part
    validation: Part
    workers: int
    reason: str

    def __str__(self) -> str:
        by = f"{self.workers} worker processes" if self.workers > 1 else \
            "a worker process" if self.workers else "this process"
        size = math.prod(self.train.shape) * self.train.inputs.dtype.itemsize
        return (f"{self.reason}; {self.train.chunks:,} chunks an epoch of {size / 1e6:,.1f} MB, "
                f"read by {by}")

    def given(self, cut: Data, where: Sharding) -> Data:
        """What the programs take for `cut`: a chunk's shape, all else on the device."""
        placed: dict[int, Any] = {}

        def one(subset: Subset, part: Part) -> Subset:
            split = subset.split
            if id(split) not in placed:  # a split that both subsets share lies there once
                placed[id(split)] = mesh.put(split[1:], where)
            inputs = jax.ShapeDtypeStruct(part.shape, part.inputs.dtype, sharding=where)
            chunk = Chunk(inputs, np.int32(0))
            return Subset(Split(chunk, *placed[id(split)]), mesh.put(subset.rows, where))

        return Data(one(cut.train, self.train), one(cut.validation, self.validation),
                    cut.num_outputs)

    def on_host(self, validation: Subset) -> Subset:
        """What `given` made of the validation examples, with their inputs."""
        part = self.validation
        return Subset(Split(part.inputs, np.asarray(validation.split.targets)), part.rows)
