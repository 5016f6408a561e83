"""The runs that one compiled program serves: their data, their population, their programs."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from engine.augmentations import suited
from engine.config import Config
from engine.data import on_device, partition
from engine.devices import memory
from engine.devices.mesh import RUNS, everywhere, over_runs, size
from engine.devices.program import hasty
from engine.doors import bring
from engine.doors.weights import BALANCED
from engine.errors import RequestError
from engine.examples import Subset
from engine.feed import Data
from engine.job.host import Host
from engine.optim import trees
from engine.request import Request
from engine.sets import splits
from engine.sets.dataset import Dataset
from engine.settling import settle
from engine.setup import Setup
from engine.store import checkpoint, generator
from engine.stream.streamed import Feed, feed_of
from engine.sweep import hosted, population
from engine.sweep.population import Population, select
from engine.sweep.space import Axis, Trial
from engine.transfer.begun import prepared
from engine.transfer.source import source_of

TOGETHER = ("formulation: products over patches, as many members' are one product; a run alone may "
            "be computed otherwise, to other last bits")


class Group(NamedTuple):
    """The runs that one compiled program serves, and their data with rows [F, N] on the device."""

    number: int
    trials: list[Trial]
    ready: Setup
    folds: list[str]
    train: Subset
    validation: Subset
    order: jax.Array | None
    mesh: Mesh | None


def facts_of(request: Request, trials: Iterable[Trial], dataset: Dataset) -> dict[str, Any]:
    """What a sweep rests on, by digests: the same where it is resumed, and in all of a study."""
    swept = {v for trial in trials for v in trial.values.values() if bring.is_file(v)}
    return {"fingerprint": dataset.fingerprint, "files": bring.digests(request.config),
            "held_out": splits.DRAWN, **generator.facts(),
            "swept_files": {w: bring.digest(Path(w.rpartition(":")[0])) for w in sorted(swept)}
            | {w: source_of(w).digest for w in filter(None, [request.config.init_from])}}


def grouped(trials: Sequence[Trial], dataset: Dataset) -> list[list[Trial]]:
    """The trials that differ in traced values, seed and fold only, in order of appearance; in
    traced values and seed only where each fold of a table has features of its own. Trees, of which
    nothing is compiled, each by themselves.

    Raises RequestError where one of them can't be cut from the data set, or names a loss
    or an object that isn't there, and where they rank by losses that don't compare.
    """
    @cache
    def sizes(config: Config, _part: str) -> tuple:  # which no Config's equality counts
        data = partition(dataset, config)
        weighed = config.class_weights == BALANCED  # by the counts of the training part
        counts = np.unique(data.train.targets, return_counts=True)[1] if weighed else ()
        return len(data.train.rows), len(data.validation.rows), *counts

    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        part = trial.config.validation_split
        key: Any = trial.config, sizes(trial.config, part), part if dataset.is_table else None
        if trees.values_of(trial.config.model):
            key = trial.number
        if key not in groups:
            _check_named(trial)
        groups.setdefault(key, []).append(trial)
    tasks = [bring.task(members[0].config) for members in groups.values()]
    losses = dict.fromkeys(task.measure for task in tasks if task.score == "loss")
    if len(losses) > 1:
        first = tasks[0]
        others = (type(first).score, *first.gains, *first.ranks, *first.errors)
        raise RequestError(f"the sweep ranks by {' and '.join([*losses][:2])}, which don't "
                           "compare: type --rank_by "
                           f"{next(name for name in others if name != 'loss')}.")
    return list(groups.values())


def _check_named(trial: Trial) -> None:
    """Raise RequestError for what names nothing, before another program has trained."""
    bring.task(trial.config)
    for name, word in trial.values.items():
        if bring.is_file(word):
            bring.value(name, word)


def told(groups: Sequence[Sequence[Trial]], axes: Sequence[Axis], dataset: Dataset) -> str:
    """How many runs there are, and what is compiled for them."""
    count = sum(len(group) for group in groups)
    if trees.values_of(model := groups[0][0].config.model):
        rounds = ", each one round of all its trees" if model == trees.FOREST else ""
        return f"{count} runs one after another{rounds}"
    if len(groups) == 1:
        return f"{count} runs in one program"
    fixed = " and ".join(a.name for a in axes if not a.traced) or (
        "folds, each with its own features" if dataset.is_table else "folds of two sizes")
    return f"{count} runs in {len(groups)} programs, compiled one by one for {fixed}"


def assemble(
    number: int, trials: list[Trial], request: Request, dataset: Dataset, host: Host
) -> Group:
    """A group's data and learner; `request` is the sweep's. Off a CPU, members share kernels of
    one product."""
    together = host.device.platform != "cpu" and trials[0].config.convolution == "auto"
    if together:
        trials = [t._replace(config=dataclasses.replace(t.config, convolution="product"))
                  for t in trials]
    config, mesh = trials[0].config, over_runs(host.device)
    asked = request._replace(config=config, hyper=trials[0].hyper)
    again = number > 0 and trees.values_of(config.model)  # whose first has told all this
    ready = settle(asked, dataset, host.silent if again else host)._replace(host=host)
    if together and not number and ready.learner.traced and ready.learner.census(
            ready.state_shapes.variables, ready.data.train.input_shape).products:
        host.console.print(TOGETHER)
    ready = prepared(ready, swept=(*trials[0].values,))
    for trial in trials:
        suited.check_size(trial.hyper, ready.data.train.input_shape)
    folds = list(dict.fromkeys(t.config.validation_split for t in trials))
    where = everywhere(mesh, host.device)
    if ready.stream:
        _check_one_order(trials, folds, ready.stream.reason)
        cut = partition(ready.dataset, config)
        data = ready.stream.given(_folded(cut, [cut]), where)
    else:
        parts = [partition(dataset, dataclasses.replace(config, validation_split=f)) for f in folds]
        data = on_device(_folded(ready.data, parts), where)
    order = jax.device_put(ready.order, where) if config.order_seed >= 0 else None
    return Group(number, trials, ready, folds, data.train, data.validation, order, mesh)


def check(
    groups: Sequence[list[Trial]], request: Request, dataset: Dataset, host: Host
) -> None:
    """Raise RequestError for what a group would be refused for, before a folder is made. What
    differs in no part of its Config is asked once; what takes too much memory is told later."""
    for members in {members[0].config: members for members in groups}.values():
        try:
            assemble(0, members, request, dataset, host.silent)
        except memory.FAILURES as error:
            if not memory.exhausted(error):
                raise


def _folded(data: Data, folds: Sequence[Data]) -> Data:
    """The data with the rows of all folds [F, N]."""
    train, validation = (np.stack(rows) for rows in zip(
        *((fold.train.rows, fold.validation.rows) for fold in folds), strict=True))
    return Data(data.train._replace(rows=train), data.validation._replace(rows=validation),
                data.num_outputs)


def _check_one_order(trials: Sequence[Trial], folds: Sequence[str], reason: str) -> None:
    """Raises RequestError where runs would meet the examples of a stream in several orders."""
    told, config = f"they would be streamed ({reason}), in one order", trials[0].config
    if len(folds) > 1:
        raise RequestError(f"each fold meets examples of its own, and {told}: sweep a fold at a "
                           f"time, --validation_split {folds[0]}.")
    if config.order_seed < 0 and len({trial.config.seed for trial in trials}) > 1:
        raise RequestError(f"runs of several seeds meet the examples in orders of their own, and "
                           f"{told} for all: type --order_seed 0, which gives all one.")


def feed(group: Group, step: int) -> AbstractContextManager[Feed]:
    """What the runs are fed with from `step` on, all the same."""
    return feed_of(group.ready, step, (group.train, group.validation))


def _creation(group: Group) -> tuple[Callable[..., Population], list[Any]]:
    """What makes the population before its first update, and what it is called with."""
    trials, ready = group.trials, group.ready
    return partial(population.create_all, ready.learner, lengths=ready.lengths,
                   input_shape=ready.data.train.input_shape), [
        jax.tree.map(lambda *x: np.array(x, np.float32), *(t.hyper for t in trials)),
        np.array([t.config.seed for t in trials], np.uint32),
        np.array([group.folds.index(t.config.validation_split) for t in trials], np.int32),
        np.array([t.number for t in trials], np.int32),
    ]


def create(group: Group) -> Population:
    """Every member at step 0."""
    ready = group.ready
    if not ready.learner.traced:
        return hosted.create(ready, group.trials[0])
    made, given = _creation(group)
    made = jax.jit(made, compiler_options=hasty(ready.device.platform))
    return placed(group, made(*given))


def placed(group: Group, runs: Population) -> Population:
    """On the device or devices, the last member repeated until each of these has as many."""
    step, members = runs
    where = everywhere(group.mesh, group.ready.device)
    count = len(members.seed)
    if more := -count % size(group.mesh):
        members = select(members, np.minimum(np.arange(count + more), count - 1))
    spread = NamedSharding(group.mesh, PartitionSpec(RUNS)) if group.mesh else where
    return Population(jax.device_put(step, where), jax.device_put(members, spread))


def alive(runs: Population) -> int:
    """How many runs are in a population, without the repeats at its end that fill a mesh."""
    return len(np.unique(runs.members.number))


def restored(group: Group, saved: checkpoint.Checkpoints) -> tuple[Population, float]:
    """The newest population of the group, and the seconds that its unfinished epoch has had; where
    none was saved, the one at step 0.

    It may have been saved by another number of devices, or halved since it was created.
    """
    if saved.latest() < 0:
        return create(group), 0.0
    if not group.ready.learner.traced:
        return saved.restore(hosted.shapes(group.ready, group.trials[0]))
    made, given = _creation(group)
    runs, seconds = saved.restore(jax.eval_shape(made, *given), any_count=True)
    return placed(group, runs._replace(members=select(runs.members, slice(alive(runs))))), seconds
