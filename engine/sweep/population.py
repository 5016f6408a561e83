"""Many runs as one: a leading axis over runs in lockstep, in one compiled program.

Legend: R runs, F folds, N examples.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from engine.devices import memory
from engine.devices.mesh import RUNS
from engine.devices.program import Program
from engine.examples import Subset
from engine.job.host import undisturbed
from engine.learners.gradient import Gradient
from engine.optim.lengths import Durations
from engine.state import State

LEAST_SECONDS = 0.2  # of a wave that tells how fast it went
WORTHWHILE = 1.1
T = TypeVar("T")
NOTHING: Any = ()  # in place of a member's step, which the population has


class Member(NamedTuple):
    """One run, or many with a leading axis [R] on every array. The population counts the state's
    step; `fold` int32 picks rows of the data, `number` int32 says which run of the sweep it is."""

    state: State
    hyper: Any
    seed: Array  # uint32
    fold: Array
    number: Array


class Population(NamedTuple):
    """`step` int32 [] is common to all members, so what depends on it is computed once."""

    step: Array
    members: Member


class Layout(NamedTuple):
    """`block` members at once under vmap, the blocks one after another; on each device of a `mesh`
    its share of them, and none speaks to another. A block of 1 is a plain loop: each member's bits
    are those of the run alone."""

    block: int = 1
    mesh: Mesh | None = None


def over_members(layout: Layout, function: Callable, members: Any, *shared: Any) -> Any:
    """`function(member, *shared)` of every member, results stacked; each device does its share."""

    def one_device(members, *shared):
        return jax.lax.map(lambda member: function(member, *shared), members,
                           batch_size=layout.block if layout.block > 1 else None)

    if layout.mesh:
        specs = (PartitionSpec(RUNS), *(PartitionSpec() for _ in shared))
        one_device = jax.shard_map(one_device, mesh=layout.mesh, in_specs=specs,
                                   out_specs=specs[0], check_vma=False)
    return one_device(members, *shared)


def _fold(subset_FxN: Subset, fold: Array) -> Subset:
    """A member's rows of a subset with rows [F, N]; one fold is everyone's, and stays unbatched."""
    rows = subset_FxN.rows
    return subset_FxN._replace(rows=rows[0] if rows.shape[0] == 1 else rows[fold])


def create_all(
    learner: Gradient, hyper: Any, seed: Array, fold: Array, number: Array,
    input_shape: tuple[int, ...], lengths: Durations,
) -> Population:
    """Every member before its first update. `hyper`, `seed`, `fold` and `number` are [R]."""
    inputs = jnp.zeros((1, *input_shape), jnp.float32)

    def one(given) -> State:
        hyper, seed = given
        state = learner.begin(hyper, jax.random.key(seed), inputs, lengths)
        return state._replace(step=NOTHING)

    state = jax.lax.map(one, (hyper, seed))
    return Population(jnp.zeros((), jnp.int32), Member(state, hyper, seed, fold, number))


def single(
    member: Member, step: Array, order: Array | None, train_FxN: Subset, count: Array | int
) -> dict[str, Any]:
    """What `learner.segment` takes to go on with one member."""
    root = jax.random.key(member.seed)
    return {
        "hyper": member.hyper, "root": root, "order": root if order is None else order,
        "train": _fold(train_FxN, member.fold), "state": member.state._replace(step=step),
        "count": count,
    }


def segment(
    learner: Gradient, layout: Layout, population: Population, order: Array | None,
    train_FxN: Subset, count: Array | int,
) -> Population:
    """`learner.segment` of every member. `order` is the key of everyone's shuffles; None: each its
    own seed's."""

    def one(member: Member, *shared) -> Member:
        state = learner.segment(**single(member, *shared))
        return member._replace(state=state._replace(step=NOTHING))

    step, members = population
    members = over_members(layout, one, members, step, order, train_FxN, count)
    return Population(step + jnp.asarray(count, jnp.int32), members)


def select(members: T, which: Any) -> T:
    """The member at a position, or those at many in this order: a gather on the run axis."""
    return jax.tree.map(lambda x: x[which], members)


_at = jax.jit(select)


def _of_member(at: int, population: Population, **shared: Any) -> dict[str, Any]:
    # Each call gets a copy of the step, as its state is donated.
    return single(_at(population.members, np.int32(at)), jnp.array(population.step), **shared)


@partial(jax.jit, donate_argnames="members")
def _with_state(members: Member, at: Any, state: State) -> Member:
    """The members, in place, the one at a position with another state."""
    changed = jax.tree.map(lambda x, new: x.at[at].set(new), members.state, state)
    return members._replace(state=changed)


class Width:
    """How many runs to compute at once: each power of two up to `most` is timed once, the fastest
    kept. Several have to be WORTHWHILE times as fast as one, or one goes after another."""

    def __init__(self, most: int):
        self.most = 1 << (most.bit_length() - 1)
        self._waves = {2**n: (0, 0.0) for n in range(most.bit_length())}  # steps, seconds of each

    def choose(self, left: int) -> int:
        """The width of the next wave, where so many runs are left."""
        return max((width for width in self._waves if width <= left),
                   key=lambda width: self._rate(width) * (WORTHWHILE if width == 1 else 1))

    def _rate(self, width: int) -> float:
        """Steps a second; infinite until it has been timed, so that it comes first."""
        steps, seconds = self._waves[width]
        return steps / seconds if seconds > LEAST_SECONDS else math.inf

    def learn(self, width: int, steps: int, seconds: float) -> None:
        """A wave of `width` runs, `steps` in all, took so long; short ones are added up."""
        if math.isinf(self._rate(width)):
            before = self._waves[width]
            self._waves[width] = before[0] + steps, before[1] + seconds


class Separately(Program):
    """`segment` in a layout of single members on one device: an ordinary run's own program, which
    the host calls for each, in waves of as many at once as goes fastest on so many `cores`, some of
    which a small network may leave idle. Of each the bits are the same."""

    def __init__(
        self, learner: Gradient, cores: int, options: dict[str, str] | None, **first: Any
    ):
        super().__init__(learner.segment, ("state",), options, **_of_member(0, **first))
        room = memory.free(jax.tree.leaves(first["population"])[0].device)
        need = max(memory.needed(self.compiled).beyond_arguments, 1)
        self.width = Width(cores if room is None else max(min(cores, room // need), 1))
        self._threads = ThreadPoolExecutor(self.width.most)

    @undisturbed()  # in a thread, where a guard of all holds
    def _one(self, given: dict[str, Any]) -> State:
        return jax.block_until_ready(super().__call__(**given))

    def __call__(  # type: ignore[override]  # the program's own arguments are a member's
        self, population: Population, count: Any, **shared: Any
    ) -> Population:
        step, members = population
        runs, at = len(members.seed), 0
        while at < runs:
            wave = range(at, at + self.width.choose(runs - at))
            given = [_of_member(n, Population(step, members), count=count, **shared) for n in wave]
            began = time.perf_counter()
            states = list(self._threads.map(self._one, given))
            self.width.learn(len(wave), len(wave) * int(count), time.perf_counter() - began)
            for n, state in zip(wave, states, strict=True):
                members = _with_state(members, np.int32(n), state._replace(step=NOTHING))
            at = wave.stop
        return Population(step + jnp.asarray(count, jnp.int32), members)


def program(
    learner: Gradient, layout: Layout, cores: int = 1, options: dict[str, str] | None = None,
    **first: Any,
) -> Program:
    """`segment`, compiled for its arguments `first`, with XLA's `options`: to be called with
    population=, order=, train_FxN= and count=. The population may be donated."""
    if layout == Layout():
        return Separately(learner, cores, options, **first)
    return Program(partial(segment, learner, layout), ("population",), options, **first)


def evaluate(
    learner: Gradient, layout: Layout, variables: Member, subset: Subset, sums: Any = None
) -> Any:
    """`learner.evaluate` of every member's `variables`, of a subset with rows [F, N]: sums with a
    leading axis [R]."""

    def one(given: tuple[Member, Any], subset_FxN: Subset) -> Any:
        member, sums = given
        return learner.evaluate(member.state.models, _fold(subset_FxN, member.fold), sums)

    return over_members(layout, one, (variables, sums), subset)
