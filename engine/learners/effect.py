"""Whether every value that is given reaches what is computed: what a loss, or an optimizer of the
user's own, never asks for shows in the program that they make."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from engine.augmentations import chain
from engine.config import Hyper
from engine.doors.bring import short
from engine.errors import RequestError
from engine.examples import Split
from engine.feed import Data, scaled
from engine.learners import fitting
from engine.learners.gradient import Gradient
from engine.optim.lengths import Durations
from engine.optim.optimizers import is_named
from engine.updates.chain import optimizer

OF_LOSSES = "label_smoothing", "focal_gamma"  # which no optimizer or schedule answers for


def check(
    learner: Gradient, hyper: Any, lengths: Durations, data: Data, swept: tuple[str, ...] = ()
) -> None:
    """Raise RequestError for a value, other than its default or `swept`, that nothing uses. Values
    may be traced; of a named optimizer's own checks.py has answered. Trees make no program."""
    config = learner.config
    if not learner.traced:
        return
    given = [name for name in hyper._fields if name in swept or _given(hyper, name)]
    if is_named(config.optimizer):
        given = [name for name in given if name in OF_LOSSES]
    elif isinstance(hyper, Hyper):
        given = [name for name in given if name != "ema_decay"]
    for name in _unused(learner, hyper, lengths, data, given) if given else ():
        value = getattr(hyper, name)
        shown = f" {value}" if isinstance(value, float | int) and name not in swept else ""
        raise RequestError(f"--{name}{shown} has no effect: neither the loss of task "
                           f"{short(config.task)} nor optimizer {short(config.optimizer)} uses it; "
                           "leave it out.")


def _given(hyper: Any, name: str) -> bool:
    """Whether a value isn't its default, as far as a traced one tells."""
    value, default = getattr(hyper, name), hyper._field_defaults.get(name)
    if value is None or isinstance(value, jax.core.Tracer):
        return value is not None and default is None
    return bool(np.any(value != default))


def _unused(
    learner: Gradient, hyper: Any, lengths: Durations, data: Data, names: list[str]
) -> list[str]:
    """Those of `names` that no operation of a step reads, but for the network's."""
    batch = fitting.two(data.train.split)
    state = learner.shapes(hyper, data.train.input_shape)
    params, outputs = state.params, learner.outputs(
        state.variables, jax.eval_shape(scaled, batch.inputs))
    others = jax.tree.map(lambda _: np.float32(1), hyper)

    def step(values: list[Any], batch: Split, params: Any, outputs: Any) -> Any:
        own = others._replace(**dict(zip(names, values, strict=True)))
        valid = jnp.ones(2, bool)
        learnt = chain.augmented(learner, own, jax.random.key(0), batch, valid)
        loss = learner.task.loss_of(outputs, learnt.targets, own, valid)
        if is_named(learner.config.optimizer):
            return loss
        tx = optimizer(learner.config, own, lengths)
        before = tx.init(params)
        return loss, before, tx.update(params, before, params)

    values = [jax.ShapeDtypeStruct((), jnp.float32)] * len(names)
    jaxpr = jax.make_jaxpr(step)(values, batch, params, outputs).jaxpr
    read = {id(x) for equation in jaxpr.eqns for x in equation.invars} | {
        id(x) for x in jaxpr.outvars}
    return [name for name, x in zip(names, jaxpr.invars, strict=False) if id(x) not in read]
