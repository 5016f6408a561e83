"""The article's run in flaxmill. MODEL is another network; CONVOLUTION and PRECISION choose another
way to compute it."""

import dataclasses
import os
import sys
import time

import jax
import numpy as np

from benchmarks.task import given, result
from engine.config import Config, Hyper
from engine.data import whole
from engine.devices.program import Program
from engine.doors.course import durations
from engine.examples import Split
from engine.feed import Data
from engine.learners.chosen import learner_of
from engine.programs import formulation

task = given()
data = jax.device_put(Data(
    whole(Split(task.x_train, task.y_train.astype(np.int32))),
    whole(Split(task.x_test, task.y_test.astype(np.int32))), 10,
))

config = Config(
    model=os.environ.get("MODEL", "cnn"), batch_size=task.batch, epochs=task.epochs,
    convolution=os.environ.get("CONVOLUTION", "auto"),
    precision=os.environ.get("PRECISION", "float32"),
)
root, hyper = jax.random.key(task.seed), jax.tree.map(np.float32, Hyper())
learner = learner_of(config, 10).settled(
    hyper, data, jax.default_backend(), lambda line: print(line, file=sys.stderr))
state = learner.create(hyper, root, data)
if jax.default_backend() == "gpu":
    how = formulation.decided(learner, state.variables, data.train.input_shape)[0]
    learner = dataclasses.replace(learner, formulation=how)
steps = np.int32(durations(config, len(task.y_train)).epoch)
given_always = {"hyper": hyper, "root": root, "order": root, "train": data.train}
train = Program(learner.segment, ("state",), **given_always, state=state, count=np.int32(1))
test = Program(learner.evaluate, variables=state.models, subset=data.validation)
jax.block_until_ready(train(**given_always, state=jax.tree.map(np.array, state), count=np.int32(1)))
first_step = time.time()
rows = []
for _ in range(task.epochs):
    began = time.perf_counter()
    state = jax.block_until_ready(train(**given_always, state=state, count=steps))
    seconds = time.perf_counter() - began
    (sums,) = test(variables=state.models, subset=data.validation)
    found, judged = learner.task.row(state.tally), learner.task.row(sums)
    rows.append({"seconds": seconds, "accuracy": float(found["accuracy"]),
                 "val_accuracy": float(judged["accuracy"])})
result(first_step, rows, str(jax.devices()[0].device_kind), "jax", "jaxlib", "flax", "optax")
