"""The feed of a run whose set is streamed, and its programs' sums of chunks."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Union

import jax
import numpy as np

from engine.devices import mesh
from engine.errors import RequestError, RunError, one_line
from engine.examples import Subset
from engine.feed import Chunk, order_of
from engine.job.host import undisturbed
from engine.sets.pieces import Orders, Pieces
from engine.sets.stream import Stream
from engine.setup import Setup


def holding(subset: Subset, inputs: Any, first: int) -> Subset:
    """A subset with a chunk in it, from slot `first` on."""
    chunk = Chunk(inputs, np.int32(first))
    return subset._replace(split=subset.split._replace(inputs=chunk))


ENDS = {"1": " (its own words stand above)",
        "-7": " (/dev/shm is full): fewer --workers need less",
        "-9": " (killed, as where memory is short): fewer --workers need less"}


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
            raise Unfed(f"{what} stopped: a worker process was ended, with status {ended[1]}"
                        f"{ENDS.get(ended[1], '')}.") from None
        raise Unfed(f"{what} stopped: {type(error).__name__}: {one_line(error)}.") from error


class Resident:
    """The feed of a run whose set lies on the device. `waited` seconds of a feed are those in which
    a device had nothing to compute."""

    waited = 0.0

    def __init__(self, train: Any, validation: Any):
        self._train, self._validation = train, validation

    def most(self, step: int) -> int:
        """How many updates, from `step` on, can be run at once, of an epoch's."""
        return 2**31 - 1

    def train(self, step: int) -> Any:
        """What a segment that begins at `step` takes as the training examples."""
        return self._train

    def evaluate(self, evaluate: Any, variables: Any, epoch: int) -> Any:
        """The sums of the validation examples, by the compiled `evaluate`, after `epoch`."""
        return evaluate(variables=variables, subset=self._validation)


Feed = Union[Resident, "Streamed"]


@contextmanager
def feed_of(
    ready: Setup, step: int, own: tuple[Subset, Subset] | None = None
) -> Iterator[Feed]:
    """The feed of a run that goes on from `step`; or of several that have one order, whose programs
    take subsets of their `own`, and which read for themselves what a stream is judged on."""
    if not ready.stream:
        yield Resident(*(own or (ready.data.train, ready.data.validation)))
        return
    train = own[0] if own else ready.data.train
    streamed = Streamed(ready, ready.stream, step, train, judges=own is None)
    try:
        yield streamed
    finally:
        streamed.close()


class Streamed:
    """The feed of a run whose set is streamed: chunks in the order in which the run meets them.

    `waited` are the seconds that the device had nothing to compute, as the next chunk wasn't there.
    """

    def __init__(
        self, ready: Setup, stream: Stream, step: int, train: Subset, judges: bool = True
    ):
        from engine.stream.ahead import ahead  # late: it imports Grain

        self._ready, self._stream, self.waited = ready, stream, 0.0
        self._orders, self._drawn = Orders(shared=stream.workers > 0), -1
        self._order_of = jax.jit(order_of, static_argnums=0)
        self._train, self._where = train, train.rows.sharding
        parts = (stream.train, stream.validation) if judges else (stream.train,)
        pieces = Pieces(parts, ready.config.epochs, self._orders)
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
        return holding(self._train, inputs, at * self._stream.train.shape[0])

    def _place(self, step: int) -> tuple[int, int]:
        """Epoch and chunk of an update."""
        epoch, position = divmod(step, self._ready.lengths.epoch)
        return epoch, position // self._stream.train.batches

    def evaluate(self, evaluate: Any, variables: Any, epoch: int) -> Any:
        """The sums of the validation examples, after `epoch` (from 0)."""
        part, offset = self._stream.validation, self._stream.train.chunks
        chunks = (self._at(epoch, offset + at) for at in range(part.chunks))
        ready = self._ready
        sums = nothing(ready.learner.evaluate, variables, ready.data.validation)
        return summed(sums, evaluate, variables, ready.data.validation, chunks)

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

    @undisturbed()  # in a thread, where a guard of all holds
    def _put(self, inputs: np.ndarray) -> Any:
        return mesh.put(np.array(inputs), self._where)  # what workers share goes back

    def _draw(self, epoch: int) -> None:
        """Write this epoch's order and the next one's, which is read ahead of it."""
        for number in range(max(self._drawn + 1, epoch), epoch + 2):
            drawn_in = number if self._ready.config.shuffle == "every_epoch" else 0
            train = self._ready.data.train
            rows = self._order_of(self._ready.config.sampling, self._ready.order, drawn_in,
                                  train.rows, train.split.targets)
            self._orders.write(number, np.asarray(rows))
            self._drawn = number


def nothing(evaluate: Any, variables: Any, subset: Subset) -> Any:
    """The sums of no batch, with which `evaluate` of the first chunk begins."""
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype),
                        jax.eval_shape(evaluate, variables, subset))


def summed(
    sums: Any, evaluate: Any, variables: Any, subset: Subset, chunks: Iterator[jax.Array]
) -> Any:
    """The `sums` of no batch and those of a subset whose inputs come in chunks; `evaluate` is
    compiled for them."""
    for at, inputs in enumerate(chunks):
        sums = evaluate(variables=variables, sums=sums,
                        subset=holding(subset, inputs, at * inputs.shape[0]))
    return sums
