"""A population of one run whose learner isn't traced: nothing of it is compiled, and its members
axis has one entry."""

from typing import Any

import jax
import numpy as np

from engine.setup import Setup
from engine.sweep.population import NOTHING, Member, Population, select
from engine.sweep.space import Trial


def _alone(tree: Any) -> Any:
    """Its arrays with a leading axis [1]."""
    return jax.tree.map(lambda x: np.asarray(x)[np.newaxis], tree)


def create(ready: Setup, trial: Trial) -> Population:
    """The run before its first update."""
    state = ready.create(ready.hyper, ready.root)
    numbers: Any = np.uint32(trial.config.seed), np.int32(0), np.int32(trial.number)
    members = Member(state._replace(step=NOTHING), ready.hyper, *numbers)
    return Population(state.step, _alone(members))


def shapes(ready: Setup, trial: Trial) -> Population:
    """Its arrays by shape and dtype; an axis of -1 is as long as it was saved."""
    step, members = create(ready, trial)
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype),
                         ready.state_shapes._replace(step=NOTHING))
    return Population(step, members._replace(state=state))


def advance(ready: Setup, runs: Population, steps: int) -> Population:
    """The run after `steps` more updates, all within one epoch."""
    state = select(runs.members.state, 0)._replace(step=runs.step)
    state = ready.learner.segment(**ready.inputs, state=state, count=np.int32(steps))
    own = _alone(state._replace(step=NOTHING))
    return Population(state.step, runs.members._replace(state=own))


def evaluate(ready: Setup, runs: Population) -> Any:
    """The sums of its evaluation, with a leading axis [1]."""
    variables = select(runs.members.state, 0).models
    return _alone(ready.learner.evaluate(variables, ready.data.validation))
