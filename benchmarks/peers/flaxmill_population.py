"""Members of the article's run in flaxmill, on the default device.

flaxmill_population.py DATA.npz BATCH EPOCHS EXAMPLES SEED MEMBERS. WAY is alone (single runs, one
after another), sweep (as a sweep does on a CPU; in turn with single runs, whose seconds are told as
"alone"), or vmap with convolutions computed as direct or product; SHARED=1 gives all members the
same batches.
"""

import os
import sys
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.task import given, result
from engine.config import Config, Hyper
from engine.data import whole
from engine.devices import choose as devices
from engine.devices.program import Program
from engine.doors.course import durations
from engine.examples import Split
from engine.feed import Data
from engine.learners.chosen import learner_of
from engine.sweep import population
from engine.sweep.population import Layout

WARM_STEPS = 100

task, members, way = given(), int(sys.argv[6]), os.environ["WAY"]
data = jax.device_put(whole(Split(task.x_train, task.y_train.astype(np.int32))))
config = Config(batch_size=task.batch, epochs=task.epochs,
                convolution=way if way in ("direct", "product") else "auto")
learner = learner_of(config, 10).settled(
    Hyper(), Data(data, data, 10), jax.default_backend(), lambda line: None)
lengths = durations(config, len(task.y_train))
seeds = np.arange(members, dtype=np.int32) + task.seed * members


def alone():
    """Every member's first state; what trains them, one after another; their tallies."""
    hyper, roots = jax.tree.map(np.float32, Hyper()), [jax.random.key(seed) for seed in seeds]
    create = jax.jit(learner.create)
    states = [create(hyper, root, Data(data, data, 10)) for root in roots]
    program = Program(
        learner.segment, ("state",), hyper=hyper, root=roots[0],
        order=roots[0], train=data, state=states[0], count=np.int32(1),
    )

    def train(states, count):
        # Each is waited for: a CPU would start the next beside it.
        return [
            jax.block_until_ready(program(
                hyper=hyper, root=root, order=root, train=data, state=state, count=count))
            for root, state in zip(roots, states, strict=True)
        ]

    return states, train, lambda states: [state.tally for state in states]


def together():
    """The same three of a population: its start, what trains it, its tallies."""
    create = jax.jit(partial(
        population.create_all, learner, input_shape=data.input_shape, lengths=lengths,
    ))
    rates: Any = np.full(members, Hyper().learning_rate, np.float32)
    hyper = Hyper(learning_rate=rates)
    runs = create(hyper, seeds, np.zeros_like(seeds), np.arange(members, dtype=np.int32))
    order = jax.random.key(task.seed) if os.environ.get("SHARED") else None
    shared = {"order": order, "train_FxN": data._replace(rows=data.rows[None])}
    layout = Layout(block=1 if way == "sweep" else members)
    program = population.program(learner, layout, devices.cores(), population=runs, **shared,
                                 count=np.int32(1))

    def train(runs, count):
        return jax.block_until_ready(program(population=runs, **shared, count=count))

    return runs, train, lambda runs: [runs.members.state.tally]


ways = {"alone": [alone], "sweep": [together, alone]}.get(way, [together])
turns = [list(start()) for start in ways]
for states, train, _ in turns:
    for _ in range(4):  # so that a sweep has tried how many to compute at once
        train(jax.tree.map(jnp.copy, states), np.int32(WARM_STEPS))
steps = np.int32(lengths.epoch)
first_step = time.time()
rows = []
for _ in range(task.epochs):
    seconds = []
    for turn in turns:
        states, train, _ = turn
        began = time.perf_counter()
        turn[0] = train(states, steps)
        seconds.append(time.perf_counter() - began)
    states, _, tallies = turns[0]
    accuracy = np.mean([np.mean(tally.correct / tally.count) for tally in tallies(states)])
    times = dict(zip(("seconds", "alone"), seconds, strict=False))
    rows.append(times | {"accuracy": float(accuracy)})
result(first_step, rows, str(jax.devices()[0].device_kind), "jax", "jaxlib", "flax", "optax")
