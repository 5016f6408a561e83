"""What every peer is given, and what it prints. Needs NumPy alone: a peer has its own environment.

PEER.py DATA.npz BATCH EPOCHS EXAMPLES SEED prints one JSON line.
"""

import importlib.metadata
import json
import resource
import sys
import time
from typing import NamedTuple

import numpy as np


class Task(NamedTuple):
    """uint8 images [N, 32, 32, 3] and int labels [N]; the first `examples` of the training set."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    batch: int
    epochs: int
    seed: int


def given() -> Task:
    path, (batch, epochs, examples, seed) = sys.argv[1], map(int, sys.argv[2:6])
    with np.load(path, allow_pickle=False) as arrays:
        return Task(arrays["x_train"][:examples], arrays["y_train"][:examples], arrays["x_test"],
                    arrays["y_test"], batch, epochs, seed)


def result(
    first_step: float, rows: list[dict[str, float]], device: str, *packages: str,
    device_bytes: int = 0,
) -> None:
    """Print seconds and accuracies of each epoch, and when (time.time) the first step was done.

    `device_bytes` is the most that was in use on an accelerator.
    """
    print(json.dumps({
        "epochs": rows, "first_step": first_step, "end": time.time(), "device": device,
        "device_mib": device_bytes / 2**20,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }))
