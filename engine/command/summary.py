"""A network's layers as a table: shapes, parameters, FLOPs of one example."""

import flax.linen as nn
import jax
import numpy as np
from flax import nnx

from engine.doors import fitting
from engine.doors.network import NNX, Linen, wanted
from engine.doors.precision import Narrow
from engine.errors import RequestError
from engine.job.host import Host
from engine.learners.chosen import learner_of
from engine.parts.reading import featured, load
from engine.request import Request


def summary(request: Request, host: Host) -> str:
    """Raises RequestError where the network does not fit the data."""
    request, dataset = load(request, host)
    _, data, columns = featured(request, dataset)
    learner = learner_of(request.config, data.num_outputs, columns=columns)
    inputs = np.zeros((1, *data.train.input_shape), np.float32)
    fitting.network(learner, inputs, data.num_outputs)
    wide = {"width": 130, "force_terminal": False}
    made = learner.network
    match made.network if isinstance(made, Narrow) else made:
        case Linen(module):
            table = nn.tabulate(module, jax.random.key(0), compute_flops=True, console_kwargs=wide)
            return table(inputs, **wanted(module.__call__, False, None))
        case NNX() as made:
            return nnx.tabulate(made.make(nnx.Rngs(0)), inputs, console_kwargs=wide)
    raise RequestError("--summary: only Linen and NNX modules tell their layers.")
