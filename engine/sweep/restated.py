"""Batch statistics of the averaged weights of a population's members."""

from functools import partial
from typing import Any

import jax
from jax import Array

from engine.examples import Subset
from engine.learners.gradient import Gradient
from engine.stream.restated import over_chunks
from engine.sweep.group import Group
from engine.sweep.population import NOTHING, Layout, Member, Population, over_members, single
from engine.updates import averages


def _given(member: Member, step: Array, order: Array | None, train_FxN: Subset) -> dict[str, Any]:
    """What the functions of `averages` take of one member."""
    given = single(member, step, order, train_FxN, 0)
    return {name: given[name] for name in ("root", "order", "train", "state")}


def restated(
    learner: Gradient, layout: Layout, population: Population, order: Array | None,
    train_FxN: Subset,
) -> Population:
    """`learner.restated` of every member."""

    def one(member: Member, *shared: Any) -> Member:
        state = learner.restated(**_given(member, *shared))
        return member._replace(state=state._replace(step=NOTHING))

    step, members = population
    return Population(step, over_members(layout, one, members, step, order, train_FxN))


@partial(jax.jit, static_argnums=(0, 1))
def _statistics(
    learner: Gradient, layout: Layout, population: Population, order: Array | None,
    train_FxN: Subset, found: averages.Statistics | None,
) -> Any:
    def one(given: Any, *shared: Any) -> averages.Statistics:
        member, found = given
        return averages.statistics(learner, **_given(member, *shared), so_far=found)

    step, members = population
    return over_members(layout, one, (members, found), step, order, train_FxN)


@partial(jax.jit, static_argnums=(0, 1))
def _stated(learner: Gradient, layout: Layout, members: Member, found: averages.Statistics) -> Any:
    def one(given: Any) -> Member:
        member, found = given
        state = averages.with_statistics(learner, member.state, found)
        return member._replace(state=state)

    return over_members(layout, one, (members, found))


def of_chunks(group: Group, layout: Layout, population: Population) -> Population:
    """The same of examples that are streamed, by one more reading of them for all members."""
    given = group.ready.learner, layout
    found = over_chunks(
        group.ready, group.train,
        lambda train, found: _statistics(*given, population, group.order, train, found))
    return population._replace(members=_stated(*given, population.members, found))
