"""How a run's set is streamed, what its programs are given of it, and the feed itself."""

import math
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import jax
import numpy as np
from jax.sharding import Sharding

from engine.data import Data, Subset
from engine.devices import choose, mesh
from engine.errors import RequestError, RunError, one_line
from engine.feed import Chunk, Resident, epoch_order
from engine.loop import eval_batch
from engine.sources.dataset import Split
from engine.sources.stored import Stored
from engine.stream.pieces import Orders, Part, Pieces

if TYPE_CHECKING:
    from engine.setup import Setup

CHUNK = 32 * 2**20  # bytes: the first of larger ones is waited for longer
WORKERS = 16

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
        """What the programs take for `cut`: rows and targets on the device, a chunk's shape."""
        targets: dict[int, Any] = {}

        def one(subset: Subset, part: Part) -> Subset:
            split = subset.split
            if id(split) not in targets:  # a split that both subsets share lies there once
                targets[id(split)] = mesh.put(split.targets, where)
            inputs = jax.ShapeDtypeStruct(part.shape, part.inputs.dtype, sharding=where)
            chunk = Chunk(inputs, np.int32(0))
            return Subset(Split(chunk, targets[id(split)]), mesh.put(subset.rows, where))

        return Data(one(cut.train, self.train), one(cut.validation, self.validation),
                    cut.num_outputs)


    def on_host(self, validation: Subset) -> Subset:
        """What `given` made of the validation examples, with their inputs."""
        part = self.validation
        return Subset(Split(part.inputs, np.asarray(validation.split.targets)), part.rows)


def stream_of(ready: "Setup", reason: str) -> Stream:
    """How the set of a run, cut and on the host, is to be streamed. Raises RequestError among
    several processes."""
    if jax.process_count() > 1:
        raise RequestError(f"{ready.dataset.name} would be streamed ({reason}), which one process "
                           "alone can do, on all of its devices: start one.", shared=True)
    cut, place, batch = ready.data, ready.request.place, ready.config.batch_size
    workers = 0  # what lies in memory is read at once
    if isinstance(cut.train.split.inputs, Stored):
        workers = min(choose.cores() - 1 or 1, WORKERS) if place.workers < 0 else place.workers
    most = min(CHUNK, _room(workers))
    return Stream(part_of(ready, cut.train, most, batch), part_of(ready, cut.validation, most),
                  workers, reason)


def _room(workers: int) -> int:
    """Bytes of a chunk, of which so many are in memory at once: a quarter of what is free, and half
    of what workers can hand over."""
    memory, shared = choose.host_memory(), Path("/dev/shm")
    found = [memory[1] // 4 // (2 * workers + 4)] if memory else []
    if workers and shared.is_dir():
        found.append(shutil.disk_usage(shared).free // 2 // (2 * workers + 4))
    return min(found, default=CHUNK)


def part_of(ready: "Setup", subset: Subset, most: int, batch: int = 0) -> Part:
    """Of examples to train on in batches, or of those of an evaluation: chunks of `most` bytes, and
    of a batch at least."""
    drawn, batch = batch > 0, batch or eval_batch(ready.learner)
    inputs, turns = subset.split.inputs, -(-len(subset.rows) // batch)
    example = math.prod(inputs.shape[1:]) * inputs.dtype.itemsize
    return Part(inputs, subset.rows, batch, min(max(1, most // (batch * example)), turns), drawn)


def holding(subset: Subset, inputs: Any, first: int) -> Subset:
    """A subset with a chunk in it, from slot `first` on."""
    chunk = Chunk(inputs, np.int32(first))
    return subset._replace(split=subset.split._replace(inputs=chunk))


class Unfed(RunError):
    """The examples that come next can't be had."""


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Whatever goes wrong with reading becomes an Unfed of one line."""
    try:
        yield
    except (RequestError, RunError) as error:
        raise Unfed(f"{what} stopped: {error}") from None
    except Exception as error:  # a worker's, Grain's, the user's own
        if ended := re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error)):
            raise Unfed(f"{what} stopped: a worker process was ended, with status {ended[1]} "
                        "(-9: killed, as where memory is short; -7: /dev/shm is full); fewer "
                        "--workers need less.") from None
        raise Unfed(f"{what} stopped: {type(error).__name__}: {one_line(error)}.") from error


Feed = Union[Resident, "Streamed"]


@contextmanager
def feed_of(ready: "Setup", step: int) -> Iterator[Feed]:
    """The feed of a run that goes on from `step`."""
    if not ready.stream:
        yield Resident(ready.data.train, ready.data.validation)
        return
    streamed = Streamed(ready, ready.stream, step)
    try:
        yield streamed
    finally:
        streamed.close()


class Streamed:
    """The feed of a run whose set is streamed: chunks in the order in which the run meets them.

    `waited` are the seconds that the device had nothing to compute, as the next chunk wasn't there.
    """

    def __init__(self, ready: "Setup", stream: Stream, step: int):
        from engine.stream.ahead import ahead  # late: it imports Grain

        self._ready, self._stream, self.waited = ready, stream, 0.0
        self._orders, self._drawn = Orders(shared=stream.workers > 0), -1
        self._order_of = jax.jit(epoch_order)
        pieces = Pieces((stream.train, stream.validation), ready.config.epochs, self._orders)
        self._each = pieces.each
        epoch, at = self._place(step)
        self._number, self._chunk = epoch * self._each + at - 1, None
        self._draw(epoch)
        self._reader = ahead(pieces, self._number + 1, stream.workers, self._put)
        self._reader.start_prefetch()

    def close(self) -> None:
        """End the workers."""
        self._chunk = None
        self._orders.close()  # first, as a reader that waits for one can't end
        self._reader.close()

    def most(self, step: int) -> int:
        """How many updates the chunk that `step` is in has left."""
        length, batches = self._ready.lengths.epoch, self._stream.train.batches
        position = step % length
        return min(length, (position // batches + 1) * batches) - position

    def train(self, step: int) -> Subset:
        """The training examples, with the chunk that `step` is in."""
        epoch, at = self._place(step)
        inputs = self._at(epoch, at)
        return holding(self._ready.data.train, inputs, at * self._stream.train.shape[0])

    def _place(self, step: int) -> tuple[int, int]:
        """Epoch and chunk of an update."""
        epoch, position = divmod(step, self._ready.lengths.epoch)
        return epoch, position // self._stream.train.batches

    def evaluate(self, evaluate: Any, variables: Any, epoch: int) -> Any:
        """The sums of the validation examples, after `epoch` (from 0)."""
        part, offset = self._stream.validation, self._stream.train.chunks
        chunks = (self._at(epoch, offset + at) for at in range(part.chunks))
        ready = self._ready
        return summed(ready.learner, evaluate, variables, ready.data.validation, part, chunks)

    def _at(self, epoch: int, at: int) -> Any:
        """The chunk `at` of an epoch, on the device: the one at hand, or the next."""
        number = epoch * self._each + at
        if number != self._number:
            self._draw(epoch)
            began = time.perf_counter()
            self._chunk = None  # before the next one comes
            with telling("reading the examples"):
                self._chunk = jax.block_until_ready(next(self._reader))
            self.waited += time.perf_counter() - began
            self._number += 1
        assert number == self._number
        return self._chunk

    def _put(self, inputs: np.ndarray) -> Any:
        return mesh.put(np.array(inputs), self._ready.everywhere)  # what workers share goes back

    def _draw(self, epoch: int) -> None:
        """Write this epoch's order and the next one's, which is read ahead of it."""
        for number in range(max(self._drawn + 1, epoch), epoch + 2):
            drawn_in = number if self._ready.config.shuffle == "every_epoch" else 0
            rows = self._order_of(self._ready.order, drawn_in, self._ready.data.train.rows)
            self._orders.write(number, np.asarray(rows))
            self._drawn = number


def nothing(learner: Any, variables: Any, subset: Subset) -> dict[str, Any]:
    """What `learner.evaluate` takes besides, of a subset in chunks: the sums of no batch."""
    shapes = jax.eval_shape(learner.evaluate, variables, subset)
    return {"sums": jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes),
            "first": np.int32(0), "end": np.int32(0)}


def summed(
    learner: Any, evaluate: Any, variables: Any, subset: Subset, part: Part,
    chunks: Iterator[jax.Array],
) -> Any:
    """The sums of a subset whose inputs come in chunks; `evaluate` is compiled for them."""
    sums = nothing(learner, variables, subset)["sums"]
    for at, inputs in enumerate(chunks):
        first = at * part.batches
        sums = evaluate(variables=variables, subset=holding(subset, inputs, at * part.shape[0]),
                        sums=sums, first=np.int32(first),
                        end=np.int32(min(first + part.batches, part.turns)))
    return sums
