"""Accuracy with flaxmill's layers and with the reference formulation, on the same CPU.

python -m benchmarks.reference [--seeds 3] [--epochs 10]

The reference is lax.conv_general_dilated and nn.max_pool in float32, one jit a step of the whole
batch. Both begin with the same weights and meet the same examples in the same order, so only the
order of summation differs; that a few thousand updates amplify it is why seeds are compared.
"""

import argparse
import dataclasses
from functools import partial

import jax
import numpy as np

from benchmarks.article import machine
from engine import loop, sources
from engine.config import Config, Hyper, durations
from engine.data import Data, batch_at, epoch_order, whole
from engine.step import train_step
from models import build


def accuracies(state, test) -> tuple[float, float]:
    """Training accuracy of the last epoch, and test accuracy after it."""
    sums = jax.jit(partial(loop.evaluate, build("cnn", 10), num_classes=10))(state.variables, test)
    return (float(state.tally.correct / state.tally.count),
            float(sums.tally.correct / sums.tally.count))


def ours(config: Config, hyper: Hyper, root, data: Data):
    state = loop.initial_state(config, hyper, root, data)
    micro, _ = loop.microbatch_for(config, jax.default_backend())
    config = dataclasses.replace(config, microbatch=micro)
    segment = jax.jit(partial(loop.segment, build("cnn", 10), config), donate_argnames="state")
    epoch = np.int32(durations(config, len(data.train.rows)).epoch)
    for _ in range(config.epochs):
        state = segment(
            hyper=hyper, root=root, order=root, train=data.train, state=state, count=epoch
        )
    return state


def reference(config: Config, hyper: Hyper, root, data: Data):
    lengths, model = durations(config, len(data.train.rows)), build("cnn", 10, "direct")

    @partial(jax.jit, donate_argnames="state")
    def step(state, order_N, position):
        fresh = jax.tree.map(lambda x: x * (position > 0).astype(x.dtype), state.tally)
        batch, valid_B = batch_at(data.train.split, order_N, position, config.batch_size)
        state = state._replace(tally=fresh)
        return train_step(model, config, hyper, lengths, root, state, batch, valid_B)

    state = loop.initial_state(config, hyper, root, data)
    for epoch in range(config.epochs):
        order_N = epoch_order(root, epoch, data.train.rows)
        for position in range(lengths.epoch):
            state = step(state, order_N, np.int32(position))
        jax.block_until_ready(state)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    asked = parser.parse_args()
    splits = sources.load("cifar10").splits
    data = jax.device_put(Data(whole(splits["train"]), whole(splits["test"]), 10))
    config, hyper = Config(epochs=asked.epochs), jax.tree.map(np.float32, Hyper())
    print(f"{machine()}; {asked.epochs} epochs of batch {config.batch_size}\n\n"
          "| seed | flaxmill's layers, train / test | reference, train / test |\n|---|---|---|")
    for seed in range(asked.seeds):
        cells = [
            "{:.3f} / {:.3f}".format(
                *accuracies(run(config, hyper, jax.random.key(seed), data), data.validation))
            for run in (ours, reference)
        ]
        print(f"| {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
