"""The article's run in flaxmill. CONVOLUTION and DTYPE choose another way to compute it."""

import dataclasses
import os
import time

import jax
import numpy as np

from benchmarks.task import given, result
from engine import loop, metrics
from engine.config import Config, Hyper, durations
from engine.data import Data, whole
from engine.program import Program
from engine.sources.dataset import Split
from models import build

task = given()
data = jax.device_put(Data(
    whole(Split(task.x_train, task.y_train.astype(np.int32))),
    whole(Split(task.x_test, task.y_test.astype(np.int32))), 10,
))
config = Config(
    batch_size=task.batch, epochs=task.epochs, convolution=os.environ.get("CONVOLUTION", "auto")
)
micro, _ = loop.microbatch_for(config, jax.default_backend())
config = dataclasses.replace(config, microbatch=micro)
model, root = build("cnn", 10, config.convolution), jax.random.key(task.seed)
hyper = jax.tree.map(np.float32, Hyper())
state = loop.initial_state(config, hyper, root, data)


def segment(**arguments):
    return loop.segment(model, config, **arguments)


def evaluate(variables, subset):
    return loop.evaluate(model, variables, subset, 10)


class Narrow:
    """A model that computes in `dtype` from float32 parameters, and answers in float32."""

    def __init__(self, model, dtype: str):
        self._model, self._dtype = model, dtype

    def apply(self, variables, images, **rest):
        variables, images = jax.tree.map(lambda x: x.astype(self._dtype), (variables, images))
        return self._model.apply(variables, images, **rest).astype("float32")


if "DTYPE" in os.environ:
    model = Narrow(model, os.environ["DTYPE"])
steps = durations(config, len(task.y_train)).epoch
given_always = {"hyper": hyper, "root": root, "order": root, "train": data.train}
train = Program(segment, ("state",), **given_always, state=state, count=np.int32(1))
test = Program(evaluate, variables=state.variables, subset=data.validation)
jax.block_until_ready(train(**given_always, state=jax.tree.map(np.array, state), count=np.int32(1)))
first_step = time.time()
rows = []
for _ in range(task.epochs):
    began = time.perf_counter()
    state = jax.block_until_ready(train(**given_always, state=state, count=np.int32(steps)))
    seconds = time.perf_counter() - began
    sums = test(variables=state.variables, subset=data.validation)
    scores = metrics.summarise(sums, list("0123456789"))
    rows.append({"seconds": seconds, "accuracy": float(state.tally.correct / state.tally.count),
                 "val_accuracy": scores["accuracy"]})
result(first_step, rows, str(jax.devices()[0].device_kind), "jax", "jaxlib", "flax", "optax")
