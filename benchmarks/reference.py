"""Accuracy with flaxmill's formulation of convolutions and with the reference, on the same CPU.

python -m benchmarks.reference [--seeds 3] [--epochs 10] [--dataset cifar10]

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
from engine.config import Config, Hyper
from engine.doors.course import durations
from engine.feed import Data, batch_at, epoch_order
from engine.learners.chosen import learner_of
from engine.learners.microbatch import microbatch_for
from engine.pure import data_for
from engine.step import train_step


def accuracies(learner, state, test) -> tuple[float, float]:
    """Training accuracy of the last epoch, and test accuracy after it."""
    (sums,) = jax.jit(learner.evaluate)(state.models, test)
    return (float(state.tally.correct / state.tally.count),
            float(sums.correct / sums.count))


def ours(config: Config, hyper: Hyper, root, data: Data):
    micro, _ = microbatch_for(config, jax.default_backend())
    learner = learner_of(dataclasses.replace(config, microbatch=micro), data.num_outputs)
    segment = jax.jit(learner.segment, donate_argnames="state")
    epoch = np.int32(durations(config, len(data.train.rows)).epoch)
    state = learner.create(hyper, root, data)
    for _ in range(config.epochs):
        state = segment(
            hyper=hyper, root=root, order=root, train=data.train, state=state, count=epoch
        )
    return learner, state


def reference(config: Config, hyper: Hyper, root, data: Data):
    lengths = durations(config, len(data.train.rows))
    learner = learner_of(dataclasses.replace(config, convolution="direct"), data.num_outputs)

    @partial(jax.jit, donate_argnames="state")
    def step(state, order_N, position):
        fresh = jax.tree.map(lambda x: x * (position > 0).astype(x.dtype), state.tally)
        batch, valid_B = batch_at(data.train.split, order_N, position, config.batch_size)
        state = state._replace(tally=fresh)
        return train_step(learner, hyper, lengths, root, state, batch, valid_B)

    state = learner.create(hyper, root, data)
    for epoch in range(config.epochs):
        order_N = epoch_order(root, epoch, data.train.rows)
        for position in range(lengths.epoch):
            state = step(state, order_N, np.int32(position))
        jax.block_until_ready(state)
    return learner, state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--dataset", default="cifar10")
    asked = parser.parse_args()
    config = Config(dataset=asked.dataset, validation_split="test", epochs=asked.epochs)
    data, hyper = data_for(config), jax.tree.map(np.float32, Hyper())
    print(f"{machine()}; {asked.epochs} epochs of batch {config.batch_size}\n\n"
          "| seed | flaxmill's, train / test | the reference, train / test |\n|---|---|---|")
    for seed in range(asked.seeds):
        cells = []
        for run in (ours, reference):
            learner, state = run(config, hyper, jax.random.key(seed), data)
            cells.append("{:.3f} / {:.3f}".format(*accuracies(learner, state, data.validation)))
        print(f"| {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
