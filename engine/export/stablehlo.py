"""StableHLO by jax.export: one program for CPUs and CUDA GPUs, read by jax alone."""

from pathlib import Path

import jax
import numpy as np
from jax import export as jax_export

from engine.export import program
from engine.job import extras
from engine.trained import Run

PLATFORMS = "cpu", "cuda"
LOADED = """import jax.export, pathlib
model = jax.export.deserialize(bytearray(pathlib.Path("{file}").read_bytes()))
predictions = model.call(x)"""


def write(run: Run, path: Path) -> None:
    """Serialized, for any size of the batch. Raises RequestError where flatbuffers, by which jax
    serializes, isn't installed."""
    extras.need("StableHLO", "stablehlo", "flatbuffers")
    function, shape = program.of(run)
    found = jax_export.export(jax.jit(function), platforms=PLATFORMS)(shape)
    path.write_bytes(found.serialize())


def said(run: Run, path: Path, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(jax_export.deserialize(bytearray(path.read_bytes())).call(inputs))
