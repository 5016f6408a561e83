"""Many epochs of a small table, each a few updates, in flaxmill and in Keras, in turn: A B C A B C.

python -m benchmarks.epochs [--python KERAS_VENV/bin/python] [--epochs 100] [--rounds 3]
    [--before CHECKOUT]

iris in batches of 32, a tenth held out, two hidden layers of 128, Adam at 1e-3. Each in a process
of its own, which keeps the weights of the best epoch on the disk. "fit" is that call alone,
compilation included; the process is what a person waits for. `--before` is an older flaxmill,
beside this one.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.article import machine

HERE = Path(__file__).resolve().parents[1]
_OURS = """
import sys, time
from flaxmill import Config, Hyper, Place, fit
start = time.perf_counter()
run = fit(Config(dataset="iris", model="mlp", validation_split="0.1", epochs=int(sys.argv[1])),
          Hyper(learning_rate=1e-3), Place(device="cpu", run_dir=sys.argv[2], report=False),
          quiet=True)
print(time.perf_counter() - start, run.history[-1]["val_accuracy"])
"""
_KERAS = """
import sys, time
import keras
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
x, y = load_iris(return_X_y=True)
x, held_x, y, held_y = train_test_split((x - x.mean(0)) / x.std(0), y, test_size=0.1, stratify=y,
                                        random_state=0)
hidden = [keras.layers.Dense(128, "relu", kernel_initializer="he_normal") for _ in range(2)]
model = keras.Sequential([*hidden, keras.layers.Dense(3, "softmax")])
model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy",
              metrics=["accuracy"])
best = keras.callbacks.ModelCheckpoint(f"{sys.argv[2]}.keras", save_best_only=True)
start = time.perf_counter()
told = model.fit(x, y, 32, epochs=int(sys.argv[1]), validation_data=(held_x, held_y), verbose=0,
                 callbacks=[best])
print(time.perf_counter() - start, told.history["val_accuracy"][-1])
"""


def once(
    script: str, python: str, epochs: int, folder: str, tree: Path = HERE, **env: str
) -> tuple[float, ...]:
    """Seconds of fit, the last validation accuracy, seconds of the process."""
    start = time.perf_counter()
    done = subprocess.run([python, "-c", script, str(epochs), folder], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env=os.environ | {"PYTHONPATH": str(tree)} | env, cwd=tree)
    return *map(float, done.stdout.split()[-2:]), time.perf_counter() - start


def spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="of Keras's environment")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="a checkout of an older flaxmill")
    asked = parser.parse_args()
    trees = {"flaxmill": HERE} | ({"flaxmill, before": asked.before} if asked.before else {})
    found: dict[str, list[tuple[float, ...]]] = {}
    for number in range(asked.rounds + 1):  # the first fills the caches of compiled programs
        with tempfile.TemporaryDirectory() as folder:
            runs = {name: once(_OURS, sys.executable, asked.epochs, f"{folder}/{name}",
                               tree.absolute()) for name, tree in trees.items()}
            runs |= {f"Keras, {backend}": once(_KERAS, asked.python, asked.epochs,
                                               f"{folder}/{backend}", KERAS_BACKEND=backend)
                     for backend in ("tensorflow", "jax")}
        for name, run in runs.items():
            found[name] = found.get(name, []) + [run] * (number > 0)
    print(machine())
    print("| who | fit, s | process, s | last validation accuracy |\n|---|---|---|---|")
    for name, rounds in found.items():
        fits, scores, processes = zip(*rounds, strict=True)
        print(f"| {name} | {spread(fits)} | {spread(processes)} | "
              f"{statistics.median(scores):.3f} |")


if __name__ == "__main__":
    main()
