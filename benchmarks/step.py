"""A step of the article's network in every way that we can compute it, in one process.

python -m benchmarks.step loops            # of one program: its loops and graphs, with their bits
python -m benchmarks.step formulations     # by batch: products over patches or XLA's convolutions

Pictures are noise, since a step takes as long for any. A row is printed as it is measured: the
median of --calls calls of --updates updates each, after three, in which a graph may still be made.
"equal" compares the parameters and the optimizer's state with those of the first way, to the bit,
and "again" the same way's second run with its first: where that differs, no way can be equal.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from engine import loop
from engine.config import Config, Hyper
from engine.data import whole
from engine.devices.program import Program
from engine.examples import Split
from engine.feed import Data
from engine.learners.chosen import learner_of
from engine.programs import graphs

WARM = 3


class Way(NamedTuple):
    """Trips that XLA knows of, 0 for none, and what becomes a graph."""

    trips: int
    graphs: str

    def __str__(self) -> str:
        trips = f"loops of {self.trips}" if self.trips else "count traced"
        return f"{trips}, graphs: {self.graphs}"


WAYS = [Way(trips, word) for word in ("kernels", "loops", "none") for trips in (loop.TRIPS, 0)]


class Measured(NamedTuple):
    """Microseconds of an update by call, the state after the first call, and whether the same
    call ended in the same bits again."""

    times: list[float]
    state: Any
    again: bool


def equal(one: Any, other: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), one, other)))


def measured(asked: argparse.Namespace, batch: int, how: str, way: Way) -> Measured:
    updates = min(asked.updates, max(asked.examples // batch, 1))
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (updates * batch, 32, 32, 3), np.uint8)
    subset = whole(Split(inputs, rng.integers(0, 10, len(inputs)).astype(np.int32)))
    data = jax.device_put(Data(subset, subset, 10))
    root, hyper = jax.random.key(0), jax.tree.map(np.float32, Hyper())
    learner = learner_of(Config(batch_size=batch, convolution=how, precision=asked.precision), 10)
    learner = learner.settled(hyper, data, jax.default_backend(), lambda line: None)
    learner = dataclasses.replace(learner, trips=way.trips)
    first = jax.jit(learner.create)(hyper, root, data)
    given = {"hyper": hyper, "root": root, "order": root, "train": data.train}
    program = Program(learner.segment, ("state",), graphs.OPTIONS[way.graphs], **given, state=first,
                      count=np.int32(1))

    def call() -> tuple[Any, float]:
        state = jax.block_until_ready(jax.tree.map(jnp.copy, first))
        began = time.perf_counter()
        state = jax.block_until_ready(program(**given, state=state, count=np.int32(updates)))
        return state, 1e6 * (time.perf_counter() - began) / updates

    calls = [call() for _ in range(WARM + asked.calls)]
    return Measured([us for _, us in calls[WARM:]], calls[0][0], equal(calls[0][0], calls[-1][0]))


def told(found: Measured) -> str:
    times = found.times
    return f"{statistics.median(times):.1f} | {min(times):.1f}–{max(times):.1f}"


def loops(asked: argparse.Namespace) -> Iterator[str]:
    yield "| batch | formulation | loop | µs an update | min–max | equal | again |"
    yield "|---|---|---|---|---|---|---|"
    for batch in asked.batch or [32]:
        for how in ("product", "direct"):
            reference = None
            for way in WAYS:
                found = measured(asked, batch, how, way)
                reference = reference or found.state
                yield (f"| {batch} | {how} | {way} | {told(found)} | "
                       f"{'yes' if equal(reference, found.state) else 'NO'} | "
                       f"{'yes' if found.again else 'NO'} |")


def formulations(asked: argparse.Namespace) -> Iterator[str]:
    yield "| batch | formulation | µs an update | min–max | images/s |"
    yield "|---|---|---|---|---|"
    for batch in asked.batch or [32, 64, 128, 256, 512, 1024]:
        for how in ("product", "direct"):
            found = measured(asked, batch, how, Way(loop.TRIPS, "kernels"))
            speed = batch / statistics.median(found.times) * 1e6
            yield f"| {batch} | {how} | {told(found)} | {speed:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["loops", "formulations"])
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--updates", type=int, default=500, help="a call, and an epoch, at most")
    parser.add_argument("--examples", type=int, default=51200, help="at most, whatever the batch")
    parser.add_argument("--calls", type=int, default=5, help="timed, after three that are not")
    parser.add_argument("--precision", default="float32")
    asked = parser.parse_args()
    (device, *_) = jax.devices()
    print(f"{device.device_kind}, jax {jax.__version__}, {asked.precision}\n", flush=True)
    for line in {"loops": loops, "formulations": formulations}[asked.part](asked):
        print(line, flush=True)


if __name__ == "__main__":
    main()
