"""A run's predictions as one function of a batch, parameters and scaling within it.

B: batch, symbolic; K: outputs.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax import export as jax_export

from engine.doors import bring, handed
from engine.feed import scaled
from engine.sets.bundle import Bundle
from engine.task import float32
from engine.trained import Run

BATCH, INPUTS, PREDICTIONS = "batch", "inputs", "predictions"
_PROBED = 5  # examples


def of(run: Run) -> tuple[Callable[[Array], Array], jax.ShapeDtypeStruct]:
    """The function of inputs [B, ...], of the run's dtype, to what `run.predict` says of them,
    float32 [B, K]; and the shape of its argument, whose batch is symbolic.

    Convolutions and poolings are the network's own, as other compilers know them best. A network
    whose code takes its batch's size for a number sees one example at a time, under `jax.vmap`.
    Raises RequestError where the network's code fails."""
    learner: Any = run.learner
    network, task, variables = learner.network, learner.task, jax.device_get(run.state.model)
    (size,) = jax_export.symbolic_shape(BATCH)
    shape = jax.ShapeDtypeStruct((size, *run.input_shape), np.dtype(run.input_dtype))

    def predicted(inputs: Array) -> Array:
        outputs, _ = network.apply(variables, scaled(inputs), False)
        return task.predict(float32(outputs))

    try:
        jax.eval_shape(predicted, shape)
        return predicted, shape
    except Exception:  # whatever a symbol in the place of a number leads to
        each = jax.vmap(lambda one: predicted(one[None])[0])
        with bring.telling("export"):
            jax.eval_shape(each, shape)
        return each, shape


def probe(run: Run) -> np.ndarray:
    """Inputs [N, ...] to compare predictions of: noise as the run's own are, codes to embed among
    those that there are."""
    learner: Any = run.learner
    rng, shape = np.random.default_rng(0), (_PROBED, *run.input_shape)
    if run.input_dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    found = rng.standard_normal(shape, np.float32)
    # How many codes there are, only the network knows.
    if learner.traced and handed.embeds(learner.network, run.input_shape):
        return (found > 0).astype(np.float32)
    if isinstance(run.columns, Bundle):
        for field, place in run.columns.parts():
            if field.whole:
                found[:, place] = found[:, place] > 0
    embedded = run.columns.embeddings if run.columns else ()
    if embedded:
        found[:, -len(embedded):] = rng.integers(0, embedded, (_PROBED, len(embedded)))
    return found


def named(variables: Any) -> dict[str, np.ndarray]:
    """A network's arrays by the paths that --init_from knows: Conv_0/kernel of the params,
    batch_stats/BatchNorm_0/mean of what it keeps besides."""
    from engine.transfer import begun  # late: it imports what prints tables

    return {name: np.asarray(x) for name, x in begun.named(variables).items()}
