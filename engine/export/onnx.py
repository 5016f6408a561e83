"""ONNX by jax2onnx, read by onnxruntime."""

from pathlib import Path

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from engine.errors import RequestError, RunError, one_line
from engine.export import program
from engine.trained import Run

OPSET = 21  # the newest that onnxruntime of 2024 reads


def write(run: Run, path: Path) -> None:
    """Raises RequestError where a package isn't installed, RunError for what jax2onnx can't say in
    ONNX's words."""
    try:
        import onnxruntime  # noqa: F401  # asked before the work
        from jax2onnx import to_onnx
    except ImportError as error:
        raise RequestError(f"--format onnx needs jax2onnx and onnxruntime ({one_line(error)}): pip "
                           "install 'flaxmill[onnx]'.") from None
    function, shape = program.of(run)
    # Traced before, so that jax2onnx sees jax's own operations: while it traces, it puts its own in
    # the place of flax's layers, whose shapes it may mistake and which no vmap knows.
    told = jax.make_jaxpr(function)(shape)
    try:
        made = to_onnx(lambda inputs: jaxpr_as_fun(told)(inputs)[0], [shape], opset=OPSET,
                       model_name="flaxmill", input_names=[program.INPUTS],
                       output_names=[program.PREDICTIONS])
    except Exception as error:  # it raises what it likes
        raise RunError(f"jax2onnx can't write this network as ONNX: {one_line(error)}. --format "
                       "stablehlo has no such bound.") from None
    path.write_bytes(made.SerializeToString())


def said(run: Run, path: Path, inputs: np.ndarray) -> np.ndarray:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # of shapes that it finds by itself it warns
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run([program.PREDICTIONS], {program.INPUTS: inputs})[0]
