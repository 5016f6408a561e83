"""A request trained in memory: nothing is written, nothing printed, equal ones compile once."""

from typing import Any, NamedTuple

import jax
import numpy as np

from engine.doors.requested import completed
from engine.errors import RequestError, RunError
from engine.job.host import begin, undisturbed
from engine.learners.learner import jitted
from engine.loaded import load as load_run
from engine.optim import patience
from engine.parts.reading import load
from engine.pure import history_row
from engine.request import Request
from engine.run import fit
from engine.settling import settle
from engine.setup import Setup
from engine.state import State
from engine.transfer.begun import prepared


class Learned(NamedTuple):
    """`config` as it has settled, the network's variables on the host, a row an epoch."""

    config: Any
    variables: Any
    history: list[dict[str, Any]]


@undisturbed()
def learned(request: Request) -> Learned:
    """The last state of the run: in memory, on one device; or, where the place has a folder, by
    `fit`, which leaves all of it there. Raises RequestError for what can't be meant, RunError where
    the loss is not finite."""
    if request.place.run_dir:
        run = fit(*request, quiet=True)
        run = load_run(run.path, run.learner.config, "last")
        return Learned(run.learner.config, jax.device_get(run.state.model), run.history)
    request = completed(request)
    host = begin(request.place, quiet=True)
    ready = prepared(settle(*load(request, host), host))
    if ready.stream:
        raise RequestError("the examples don't fit the device's memory: train by fit(config, "
                           "data=...), which streams them.")
    state, history = _trained(ready)
    return Learned(ready.config, jax.device_get(state.model), history)


def _trained(ready: Setup) -> tuple[State, list[dict[str, Any]]]:
    """The epochs one after another, so that they can be interrupted, or all rounds of trees at
    once, where nothing looks at a validation; else that is evaluated after each."""
    learner, config, lengths = ready.learner, ready.config, ready.lengths
    traced, watched = learner.traced, config.watches
    count = lengths.epoch if traced or watched else lengths.total
    segment, evaluate = jitted(learner, "segment", donate="state"), jitted(learner, "evaluate")
    state, history = jitted(learner, "create")(ready.hyper, ready.root, ready.data), []
    if traced:  # its zeros are committed to no device yet, which would be another program
        state = jax.device_put(state, ready.device)
    while int(state.step) < lengths.total:
        state = segment(**ready.inputs, state=state, count=np.int32(count))
        epoch = int(state.step) // lengths.epoch
        state = learner.restated(ready.root, ready.order, ready.data.train, state)
        if int(state.diverged_at) >= 0:
            raise RunError(f"the loss was not finite in epoch {epoch}: lower learning_rate, or "
                           "clip the gradient by clip_norm=1.", status=3)
        told = ready.task.row(state.tally)
        if watched:
            told = history_row(ready.task, state.tally,
                               evaluate(state.models, ready.data.validation))
        history.append({"epoch": epoch} | {name: float(x) for name, x in told.items()})
        if watched:
            state = patience.lowered(learner, ready.hyper, lengths, state, history[-1])
            if learner.over(ready.hyper, lengths, history):
                break
    return state, history
