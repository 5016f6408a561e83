"""The article's script in Keras 3; KERAS_BACKEND names the backend, MODEL a network of
keras_networks.py."""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
from keras import layers  # noqa: E402

from benchmarks.peers.keras_networks import NETWORKS  # noqa: E402
from benchmarks.task import given, result  # noqa: E402

task = given()
keras.utils.set_random_seed(task.seed)
x_train, x_test = (x.astype("float32") / 255.0 for x in (task.x_train, task.x_test))


def articles():
    return keras.Sequential([
        keras.Input(x_train.shape[1:]),
        layers.Conv2D(32, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10),
    ])


model = NETWORKS.get(os.environ.get("MODEL", ""), articles)()
model.compile(
    optimizer="adam",
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
# Tracing and compilation of both batch shapes, as for every peer, outside the timings.
weights = model.get_weights()
few = task.batch + (len(x_train) % task.batch or task.batch)
model.fit(x_train[:few], task.y_train[:few], batch_size=task.batch, verbose=0)
first_step = time.time()
model.set_weights(weights)
for variable in model.optimizer.variables:
    if variable is not model.optimizer.learning_rate:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
rows = []
for _ in range(task.epochs):
    began = time.perf_counter()
    fitted = model.fit(x_train, task.y_train, batch_size=task.batch, verbose=0)
    seconds = time.perf_counter() - began
    _, accuracy = model.evaluate(x_test, task.y_test, batch_size=128, verbose=0)
    rows.append({"seconds": seconds, "accuracy": fitted.history["accuracy"][0],
                 "val_accuracy": accuracy})
backend = keras.backend.backend()
if backend == "jax":
    import jax

    result(first_step, rows, str(jax.devices()[0].device_kind), "keras", "jax")
else:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    name = tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "cpu"
    package = "tensorflow" if gpus else "tensorflow-cpu"
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpus else 0
    result(first_step, rows, name, "keras", package, device_bytes=peak)
