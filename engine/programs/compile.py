"""A run's programs, compiled ahead of time and refused where they would not fit the memory."""

import contextlib
import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from engine.console.bar import waiting
from engine.devices import memory
from engine.devices.program import Program, hasty
from engine.errors import RequestError
from engine.learners.microbatch import microbatch_for
from engine.programs import graphs
from engine.setup import Setup
from engine.stream.streamed import nothing


class Programs(NamedTuple):
    """segment(hyper, root, order, train, state, count), evaluate(variables, subset); the seconds
    that both were compiled in."""

    segment: Any  # a Program, or the function of a learner that isn't traced
    evaluate: Any
    seconds: float = 0.0


def segment(ready: Setup, state: Any) -> Program:
    """The training program; a `state` of shapes alone will do to compile it."""
    return Program(ready.learner.segment, ("state",), graphs.options(ready), **ready.inputs,
                   state=state, count=np.int32(1))


def programs(ready: Setup, state: Any) -> Programs:
    """Both ahead of time, so that no epoch's time holds a compilation; as they are where the
    learner isn't traced.

    Raises RequestError where training would not fit the device's memory.
    """
    if not ready.learner.traced:
        return Programs(ready.learner.segment, ready.learner.evaluate)
    console = ready.host.console
    with waiting("compiling the training", console):
        training = segment(ready, state)
    need, room = memory.needed(training.compiled).beyond_arguments, memory.free(ready.device)
    if room is not None and need > room:
        raise _too_large(ready, need)
    subset = ready.data.validation
    of_chunks = {"sums": nothing(ready.learner.evaluate, state.models, subset)} \
        if ready.stream else {}
    with waiting("compiling the evaluation", console):
        evaluate = Program(ready.learner.evaluate, options=hasty(ready.device.platform),
                           variables=state.models, subset=subset, **of_chunks)
    return Programs(training, evaluate, training.seconds + evaluate.seconds)


def _need_of(ready: Setup, batch_size: int) -> memory.Need:
    """The memory that training with another batch size would need, by compiling it."""
    config = dataclasses.replace(ready.config, batch_size=batch_size, microbatch=0)
    state = ready.state_shapes
    shares = ready.learner.spread.shares
    size, _ = microbatch_for(config, ready.device.platform, shares, state.variables,
                             ready.learner.coupled)
    learner = dataclasses.replace(
        ready.learner, config=dataclasses.replace(config, microbatch=size)
    )
    return memory.needed(segment(ready._replace(learner=learner), state).compiled)


def _too_large(ready: Setup, need: int | None = None) -> RequestError:
    room = memory.free(ready.device) or 0
    return memory.too_large(ready.config.batch_size, need, room, partial(_need_of, ready),
                            ready.learner.spread.shares)


@contextlib.contextmanager
def naming_a_batch_that_fits(ready: Setup) -> Iterator[None]:
    """Turn jax's lack of memory into a RequestError. Never a retry: the state was donated."""
    try:
        yield
    except memory.FAILURES as error:
        if not memory.exhausted(error):
            raise
        raise _too_large(ready) from None
