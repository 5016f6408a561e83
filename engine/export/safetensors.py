"""A network's arrays by their names as a .safetensors file, which `--init_from` reads again."""

from pathlib import Path

import jax
import numpy as np

from engine.export import program
from engine.job import extras
from engine.learners.learner import jitted
from engine.trained import Run

LOADED = """from safetensors.numpy import load_file
arrays = load_file("{file}")     # by name; python launch.py --init_from {file} takes them up"""
NAMED = True  # by the paths of a network's arrays


def write(run: Run, path: Path) -> None:
    """Raises RequestError where safetensors isn't installed."""
    extras.need("--format safetensors", "safetensors", "safetensors")
    from safetensors.numpy import save_file

    arrays = program.named(run.state.model)
    save_file({name: np.ascontiguousarray(x) for name, x in arrays.items()}, path)


def said(run: Run, path: Path, inputs: np.ndarray) -> np.ndarray:
    """By the run's own network, with the file's arrays in the place of its own."""
    from safetensors.numpy import load_file

    arrays, own = load_file(path), run.state.model
    variables = jax.tree.unflatten(
        jax.tree.structure(own), [arrays[name] for name in program.named(own)])
    return np.asarray(jitted(run.learner, "predict")(variables, inputs))
