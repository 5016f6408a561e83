"""StableHLO as a SavedModel, and what one says; run by itself, where jax and TensorFlow are."""

import os
import sys

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}

import numpy as np  # noqa: E402

try:
    import tensorflow as tf
    from jax.experimental import jax2tf
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
from jax import export  # noqa: E402

BATCH, INPUTS, PREDICTIONS, ASKED, SOURCE, *REST = sys.argv[1:]


def write(source: str, folder: str) -> None:
    """The SavedModel of a file of StableHLO, for CPUs and CUDA GPUs."""
    with open(source, "rb") as file:
        found = export.deserialize(bytearray(file.read()))
    (shape,) = found.in_avals
    called = jax2tf.convert(found.call, polymorphic_shapes=[f"({BATCH}, ...)"], with_gradient=False,
                            native_serialization_platforms=found.platforms)
    given = tf.TensorSpec((None, *shape.shape[1:]), shape.dtype, name=INPUTS)
    made = tf.Module()
    made.f = tf.function(lambda inputs: {PREDICTIONS: called(inputs)}, autograph=False,
                         input_signature=[given])
    tf.saved_model.save(made, folder, signatures=made.f)


def predict(folder: str, inputs: str, predictions: str) -> None:
    """What the SavedModel says of a file of inputs, into another; both are NumPy's."""
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    found = signature(**{INPUTS: tf.constant(np.load(inputs, allow_pickle=False))})
    np.save(predictions, found[PREDICTIONS].numpy(), allow_pickle=False)


if ASKED == "write":
    write(SOURCE, *REST)
else:
    predict(SOURCE, *REST)
