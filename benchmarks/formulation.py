"""A training step in a loop: networks of plain Flax rewritten, against other ways, in turn.

python -m benchmarks.formulation [--against CHECKOUT] [--plain] [--rounds 5] [--steps 20]

One process, one compiled fori_loop a way, of Adam on random images of CIFAR's shape; a batch of 512
in microbatches of 32. CHECKOUT is an older one, whose models/ are called as they are there.
`--plain` adds what is not rewritten. Compilation and the first call of each are left out. CPU time
is told too, since others on the machine lengthen the time by the clock.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.article import machine
from engine.doors import bring
from engine.formulation.rewriting import census, rewritten

CASES = (("cnn", 32, 32), ("cnn", 512, 32), ("resnet20", 32, 32), ("resnet20", 128, 128))
BATCHES = 4  # that the steps take in turn
Network = tuple[Callable, Any]  # (variables, images) → (logits, batch statistics); the variables


class NNXCNN(nnx.Module):
    """The article's network."""

    def __init__(self, rngs: nnx.Rngs):
        conv = partial(nnx.Conv, kernel_size=(3, 3), padding="VALID", rngs=rngs)
        self.convolutions = nnx.List([conv(3, 32), conv(32, 64), conv(64, 64)])
        self.dense, self.head = nnx.Linear(1024, 64, rngs=rngs), nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        first, second, third = self.convolutions
        for convolution in (first, second):
            x = nnx.max_pool(nnx.relu(convolution(x)), (2, 2), (2, 2))
        x = nnx.relu(third(x)).reshape(x.shape[0], -1)
        return self.head(nnx.relu(self.dense(x)))


def of_nnx() -> Network:
    graph, params = nnx.split(NNXCNN(nnx.Rngs(0)))

    def apply(variables: Any, images: Any) -> tuple[Any, Any]:
        return nnx.merge(graph, variables["params"], copy=True)(images), {}

    return apply, {"params": params, "batch_stats": {}}


def of_linen(model: nn.Module) -> Network:
    def apply(variables: Any, images: Any) -> tuple[Any, Any]:
        logits, changed = model.apply(variables, images, train=True, mutable="batch_stats")
        return logits, changed.get("batch_stats", {})

    init = jax.jit(partial(model.init, train=False))
    return apply, {"batch_stats": {}} | init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


@contextmanager
def checkout(folder: Path) -> Iterator[Callable]:
    """`models.build` of that checkout, within; ours again afterwards."""
    ours = {name: sys.modules.pop(name) for name in list(sys.modules)
            if name.partition(".")[0] == "models"}
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("models").build
    finally:
        sys.path.remove(str(folder))
        sys.modules.update(ours)


class Took(NamedTuple):
    """Milliseconds of a step."""

    clock: float
    cpu: float


def segment(network: Network, batch: int, microbatch: int, steps: int) -> Callable[[], Took]:
    """A function that trains for so many steps, and says what one took."""
    apply, variables = network
    tx, rng = optax.adam(1e-3), np.random.default_rng(0)
    parts = batch // microbatch
    images = rng.random((BATCHES, parts, microbatch, 32, 32, 3), np.float32)
    labels = rng.integers(0, 10, (BATCHES, parts, microbatch)).astype(np.int32)

    def learned(params: Any, stats: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> tuple[Any, Any]:
            logits, changed = apply({"params": params, "batch_stats": stats}, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum(), changed

        return jax.grad(loss, has_aux=True)(params)

    def update(step: Any, state: Any, data: Any) -> Any:
        params, stats, moments = state
        batch_of_parts = jax.tree.map(lambda x: x[step % BATCHES], data)

        def add(carry: Any, part: Any) -> tuple[Any, None]:
            total, stats = carry
            gradient, stats = learned(params, stats, *part)
            return (jax.tree.map(jnp.add, total, gradient), stats), None

        zeros = jax.tree.map(jnp.zeros_like, params)
        if parts == 1:
            gradient, stats = learned(params, stats, *jax.tree.map(lambda x: x[0], batch_of_parts))
        else:
            (gradient, stats), _ = jax.lax.scan(add, (zeros, stats), batch_of_parts)
        gradient = jax.tree.map(lambda g: g / batch, gradient)
        updates, moments = tx.update(gradient, moments, params)
        return optax.apply_updates(params, updates), stats, moments

    run = jax.jit(lambda state, data, count: jax.lax.fori_loop(
        0, count, partial(update, data=data), state))
    start = variables["params"], variables["batch_stats"], tx.init(variables["params"])
    data = jax.device_put((images, labels))

    def timed() -> Took:
        clock, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(start, data, steps))
        return Took(*(1000 * (now - begin) / steps for now, begin in (
            (time.perf_counter(), clock), (time.process_time(), cpu))))

    timed()
    return timed


def ways(name: str, asked: argparse.Namespace) -> dict[str, Network]:
    """What is compared, the first of which is the measure."""
    apply, variables = of_linen(bring.value("model", name)(10))
    found = {}
    if asked.against:
        with checkout(asked.against) as old:
            found["against"] = of_linen(old(name, 10))
    found["rewritten"] = (rewritten(apply), variables)
    print(f"{name}: {census(apply, variables, np.zeros((1, 32, 32, 3), np.float32))}")
    if name == "cnn":
        of_nnx_apply, of_nnx_variables = of_nnx()
        found["NNX, rewritten"] = (rewritten(of_nnx_apply), of_nnx_variables)
    if asked.plain:
        found["plain"] = (apply, variables)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--case", type=int, action="append", choices=range(len(CASES)))
    asked = parser.parse_args()
    print(f"{machine()}, jax {jax.__version__}, flax {flax.__version__}; "
          f"n = {asked.rounds} rounds of {asked.steps} steps\n")
    for name, batch, microbatch in (CASES[i] for i in asked.case or range(len(CASES))):
        runs = {way: segment(network, batch, microbatch, asked.steps)
                for way, network in ways(name, asked).items()}
        rounds = [{way: run() for way, run in runs.items()} for _ in range(asked.rounds)]
        first = next(iter(runs))
        print(f"\n| {name}, batch {batch} | ms a step, median | min–max | of CPU | min–max "
              f"| speed, of {first} | by CPU time |\n|---|---|---|---|---|---|---|")
        for way in runs:
            cells = []
            for times in zip(*(one[way] for one in rounds), strict=True):
                cells += [f"{statistics.median(times):.2f}", f"{min(times):.2f}–{max(times):.2f}"]
            for kind in range(2):
                ratios = [one[first][kind] / one[way][kind] for one in rounds]
                cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–"
                             f"{max(ratios):.2f})")
            print(f"| {way} | {' | '.join(cells)} |", flush=True)
        print()


if __name__ == "__main__":
    main()
