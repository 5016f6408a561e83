"""The article's run in flaxmill: prints a JSON line of seconds, accuracies and versions.

flaxmill.py DATA.npz BATCH EPOCHS SEED
"""

import importlib.metadata
import json
import sys
import time
from functools import partial

import jax
import numpy as np

from engine import loop, metrics
from engine.config import Config, Hyper, durations
from engine.data import Data
from engine.sources.dataset import Split
from models import build

path, batch, epochs, seed = sys.argv[1], *map(int, sys.argv[2:5])
with np.load(path, allow_pickle=False) as arrays:
    data = jax.device_put(Data(
        Split(arrays["x_train"], arrays["y_train"]), Split(arrays["x_test"], arrays["y_test"])
    ))
config = Config(batch_size=batch, epochs=epochs)
micro, _ = loop.microbatch_for(config, jax.default_backend())
config = Config(batch_size=batch, epochs=epochs, microbatch=micro)
model, root = build("cnn", 10), jax.random.key(seed)
hyper = jax.tree.map(np.float32, Hyper())
state = loop.initial_state(config, hyper, root, data.train, 10)
count = np.int32(durations(config, len(data.train.labels)).epoch)
segment = jax.jit(partial(loop.segment, model, config), donate_argnames="state").lower(
    hyper, root, data.train, state=state, count=count
).compile()
evaluate = jax.jit(partial(loop.evaluate, model, num_classes=10))
rows = []
for _ in range(epochs):
    began = time.perf_counter()
    state = jax.block_until_ready(segment(hyper, root, data.train, state=state, count=count))
    seconds = time.perf_counter() - began
    scores = metrics.summarise(evaluate(state.params, data.validation), [str(i) for i in range(10)])
    rows.append({"seconds": seconds, "accuracy": float(state.tally.correct / state.tally.count),
                 "val_accuracy": scores["accuracy"]})
versions = {p: importlib.metadata.version(p) for p in ("jax", "jaxlib", "flax", "optax")}
print(json.dumps({"epochs": rows, "versions": versions}))
