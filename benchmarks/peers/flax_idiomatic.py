"""The article's run as Flax's own examples write it: nn.Conv, nn.max_pool, one jit a step."""

import time
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.task import given, result

task = given()


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(32, (3, 3), padding="VALID")(x)), (2, 2), (2, 2))
        x = nn.max_pool(nn.relu(nn.Conv(64, (3, 3), padding="VALID")(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Conv(64, (3, 3), padding="VALID")(x)).reshape(x.shape[0], -1)
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x)))


@partial(jax.jit, donate_argnums=0)
def train_step(state, x, y):
    def loss_of(params):
        logits = state.apply_fn({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), logits

    (_, logits), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradient), (logits.argmax(-1) == y).sum()


@jax.jit
def hits(params, x, y):
    return (jnp.argmax(model.apply({"params": params}, x), -1) == y).sum()  # type: ignore[arg-type]


model = CNN()
x_train, x_test = (x.astype(np.float32) / 255 for x in (task.x_train, task.x_test))
y_train, y_test = (y.astype(np.int32) for y in (task.y_train, task.y_test))
params = model.init(jax.random.key(task.seed), x_train[:1])["params"]
state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3, eps=1e-7))
rng = np.random.default_rng(task.seed)
starts = range(0, len(y_train), task.batch)
for size in {task.batch, len(y_train) % task.batch or task.batch}:
    copied = jax.tree.map(jnp.copy, state)
    jax.block_until_ready(train_step(copied, x_train[:size], y_train[:size]))
first_step = time.time()
rows = []
for _ in range(task.epochs):
    began = time.perf_counter()
    order, correct = rng.permutation(len(y_train)), jnp.int32(0)
    for start in starts:
        rows_B = order[start : start + task.batch]
        state, hit = train_step(state, x_train[rows_B], y_train[rows_B])
        correct += hit
    jax.block_until_ready(state)
    seconds = time.perf_counter() - began
    right = sum(int(hits(state.params, x_test[i : i + 500], y_test[i : i + 500]))
                for i in range(0, len(y_test), 500))
    rows.append({"seconds": seconds, "accuracy": int(correct) / len(y_train),
                 "val_accuracy": right / len(y_test)})
result(first_step, rows, str(jax.devices()[0].device_kind), "jax", "jaxlib", "flax", "optax")
