"""The article's job in flaxmill and in Keras, each in its own process, in turn: A B A B.

python -m benchmarks.article --keras_python OTHER_VENV/bin/python [--batch 32] [--rounds 3]

Prints milliseconds a training step (compilation, evaluation and start-up left out), as the median
over epochs and rounds with the spread, and the ratio pair by pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from engine import sources

PEERS = Path(__file__).parent / "peers"


def export(path: Path) -> int:
    """CIFAR-10 as an .npz that any peer reads; the number of training images."""
    splits = sources.load("cifar10").splits
    np.savez(path, x_train=splits["train"].images, y_train=splits["train"].labels,
             x_test=splits["test"].images, y_test=splits["test"].labels)
    return len(splits["train"].labels)


def once(python: str, peer: str, *words: object) -> dict:
    root = str(PEERS.parent.parent)
    done = subprocess.run(
        [python, str(PEERS / f"{peer}.py"), *map(str, words)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": root}, check=False,
    )
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras_python", required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    pythons = {"flaxmill": sys.executable, "keras_tensorflow": asked.keras_python}
    runs: dict[str, list[dict]] = {name: [] for name in pythons}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cifar10.npz"
        steps = -(-export(path) // asked.batch)
        for seed in range(asked.rounds):
            for name, python in pythons.items():
                runs[name].append(once(python, name, path, asked.batch, asked.epochs, seed))
    print(f"batch {asked.batch}, {asked.rounds} rounds of {asked.epochs} epochs, "
          f"{os.cpu_count()} cores\n\n| who | ms a step | min–max | last accuracies | versions |\n"
          "|---|---|---|---|---|")
    medians = {}
    for name, done in runs.items():
        times = [1000 * row["seconds"] / steps for run in done for row in run["epochs"]]
        medians[name] = [statistics.median(row["seconds"] for row in run["epochs"])
                         for run in done]
        last = ", ".join(f"{run['epochs'][-1]['accuracy']:.3f}/"
                         f"{run['epochs'][-1]['val_accuracy']:.3f}" for run in done)
        versions = ", ".join(f"{k} {v}" for k, v in done[0]["versions"].items())
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f}–{max(times):.2f} "
              f"| {last} | {versions} |")
    ratios = [k / f for k, f in zip(medians["keras_tensorflow"], medians["flaxmill"], strict=True)]
    print("\nKeras's time over flaxmill's, pair by pair: "
          + ", ".join(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
