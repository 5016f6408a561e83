"""ONNX by jax2onnx, read by onnxruntime."""

from pathlib import Path

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from engine.errors import RunError, one_line
from engine.export import program
from engine.job import extras
from engine.trained import Run

OPSET = 21  # the newest that onnxruntime of 2024 reads
LOADED = """import onnxruntime
model = onnxruntime.InferenceSession("{file}")
(predictions,) = model.run(["predictions"], {{"inputs": x}})"""


def write(run: Run, path: Path) -> None:
    """Raises RequestError where a package isn't installed, RunError for what jax2onnx can't say in
    ONNX's words."""
    extras.need("--format onnx", "onnx", "onnxruntime", "jax2onnx")
    from jax2onnx import to_onnx

    function, shape = program.of(run)
    told = jax.make_jaxpr(function)(shape)
    inputs = program.probe(run)
    wanted, failed = run.predicted(inputs), "what it writes predicts otherwise"
    # jax2onnx puts operations of its own in the place of flax's layers while it traces; or gets
    # what has been traced, jax's own operations. Each of the two can what the other can't.
    for form in (function, lambda x: jaxpr_as_fun(told)(x)[0]):
        try:
            with jax.numpy_dtype_promotion("standard"):  # its own code mixes them
                made = to_onnx(form, [shape], opset=OPSET, model_name="flaxmill",
                               input_names=[program.INPUTS], output_names=[program.PREDICTIONS])
            path.write_bytes(made.SerializeToString())
            if np.allclose(said(run, path, inputs), wanted, rtol=1e-4, atol=1e-4):
                return
        except Exception as error:  # jax2onnx and onnxruntime raise what they like
            failed = one_line(error)
    raise RunError(f"jax2onnx can't write this network as ONNX: {failed.rstrip('.')}. --format "
                   "stablehlo has no such bound.")


def said(run: Run, path: Path, inputs: np.ndarray) -> np.ndarray:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # of shapes that it finds by itself it warns
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run([program.PREDICTIONS], {program.INPUTS: inputs})[0]
