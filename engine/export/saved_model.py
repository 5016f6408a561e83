"""A TensorFlow SavedModel of the StableHLO, by jax2tf, in a process of its own: TensorFlow beside
jax would take the GPU's memory, and its threads."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from engine.errors import RequestError, RunError, one_line
from engine.export import program, stablehlo
from engine.trained import Run

_CHILD = Path(__file__).parent / "beside" / "tensorflow_model.py"
_SECONDS = 1800
_LACKS = 3  # the child's status where TensorFlow isn't installed
LOADED = """import tensorflow as tf
model = tf.saved_model.load("{file}").signatures["serving_default"]
predictions = model(inputs=tf.constant(x))["predictions"].numpy()"""


def write(run: Run, path: Path) -> None:
    """A folder. Raises RequestError where TensorFlow isn't installed, RunError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "model.stablehlo")
        stablehlo.write(run, source)
        _child("write", source, path)


def said(run: Run, path: Path, inputs: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "inputs.npy"), Path(folder, "predictions.npy")
        np.save(given, inputs, allow_pickle=False)
        _child("predict", path, given, found)
        return np.load(found, allow_pickle=False)


def _child(*words: str | Path) -> None:
    names = program.BATCH, program.INPUTS, program.PREDICTIONS
    # -P: the files beside it aren't the packages of their names.
    command = [sys.executable, "-P", str(_CHILD), *names, *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise RunError(f"TensorFlow was not done within {_SECONDS // 60} minutes.") from None
    if done.returncode == _LACKS:
        raise RequestError(f"--format saved_model needs TensorFlow ({done.stderr.strip()}): pip "
                           "install 'flaxmill[tensorflow]'.")
    if done.returncode:
        last = next(iter(done.stderr.strip().splitlines()[-1:]), f"status {done.returncode}")
        raise RunError(f"TensorFlow can't have this network: {one_line(last)}. --format stablehlo "
                       "has no such bound.")
