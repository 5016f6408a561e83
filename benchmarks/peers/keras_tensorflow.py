"""The article's script in Keras 3 on TensorFlow: prints the same JSON line.

keras_tensorflow.py DATA.npz BATCH EPOCHS SEED
"""

import importlib.metadata
import json
import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402

path, batch, epochs, seed = sys.argv[1], *map(int, sys.argv[2:5])
keras.utils.set_random_seed(seed)
with np.load(path, allow_pickle=False) as arrays:
    x_train, x_test = (arrays[name].astype("float32") / 255.0 for name in ("x_train", "x_test"))
    y_train, y_test = arrays["y_train"], arrays["y_test"]
model = keras.Sequential([
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
model.compile(
    optimizer="adam",
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
# Tracing and compilation happen in a first call, as they do for every peer, outside the timings.
weights = model.get_weights()
model.fit(x_train[: 2 * batch], y_train[: 2 * batch], batch_size=batch, verbose=0)
model.set_weights(weights)
for variable in model.optimizer.variables:
    if variable is not model.optimizer.learning_rate:
        variable.assign(keras.ops.zeros_like(variable))
rows = []
for _ in range(epochs):
    began = time.perf_counter()
    fitted = model.fit(x_train, y_train, batch_size=batch, epochs=1, verbose=0)
    seconds = time.perf_counter() - began
    _, accuracy = model.evaluate(x_test, y_test, batch_size=128, verbose=0)
    rows.append({"seconds": seconds, "accuracy": fitted.history["accuracy"][0],
                 "val_accuracy": accuracy})
versions = {p: importlib.metadata.version(p) for p in ("keras", "tensorflow-cpu")}
print(json.dumps({"epochs": rows, "versions": versions}))
