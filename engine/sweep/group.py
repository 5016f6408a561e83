"""The runs that one compiled program serves: their data, their population, their programs."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from engine.augmentations import suited
from engine.config import Config
from engine.data import Data, Subset, partition, place
from engine.devices import choose
from engine.devices.mesh import RUNS, everywhere, over_runs, size
from engine.errors import RequestError
from engine.job.host import Host
from engine.native import choice as native
from engine.parts.weights import BALANCED
from engine.programs import memory
from engine.programs.program import Program
from engine.request import Request
from engine.setup import Setup, settle
from engine.sources.dataset import Dataset
from engine.store import checkpoint
from engine.stream.judging import chunks_of
from engine.stream.streamed import Feed, feed_of, nothing, summed, telling
from engine.sweep import population
from engine.sweep.population import Layout, Population, select
from engine.sweep.space import Trial
from engine.transfer.begun import begun


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


def grouped(trials: Sequence[Trial], dataset: Dataset) -> list[list[Trial]]:
    """The trials that differ in traced values, seed and fold only, in order of appearance; in
    traced values and seed only where each fold of a table has features of its own.

    Raises RequestError where one of them can't be cut from the data set.
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
        key = trial.config, sizes(trial.config, part), part if dataset.is_table else None
        groups.setdefault(key, []).append(trial)
    return list(groups.values())


def assemble(
    number: int, trials: list[Trial], request: Request, dataset: Dataset, host: Host
) -> Group:
    """A group's data and learner; `request` is the sweep's. Off a CPU, members share kernels of
    one product."""
    if host.device.platform != "cpu" and trials[0].config.convolution == "auto":
        trials = [t._replace(config=dataclasses.replace(t.config, convolution="product"))
                  for t in trials]
    config, mesh = trials[0].config, over_runs(host.device)
    asked = request._replace(config=config, hyper=trials[0].hyper)
    ready = begun(native.checked(settle(asked, dataset, host)))
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
        data = place(_folded(ready.data, parts), where)
    order = jax.device_put(ready.order, where) if config.order_seed >= 0 else None
    return Group(number, trials, ready, folds, data.train, data.validation, order, mesh)


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


def create(group: Group) -> Population:
    """Every member at step 0."""
    trials, ready = group.trials, group.ready
    create = partial(population.create_all, ready.learner, lengths=ready.lengths,
                     input_shape=ready.data.train.input_shape)
    return placed(group, jax.jit(create)(
        jax.tree.map(lambda *x: np.array(x, np.float32), *(t.hyper for t in trials)),
        np.array([t.config.seed for t in trials], np.uint32),
        np.array([group.folds.index(t.config.validation_split) for t in trials], np.int32),
        np.array([t.number for t in trials], np.int32),
    ))


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
    """The newest population of the group, and the seconds that its unfinished epoch has had.

    It may have been saved by another number of devices, or halved since it was created.
    """
    runs, seconds = saved.restore(jax.eval_shape(lambda: create(group)), any_count=True)
    return placed(group, runs._replace(members=select(runs.members, slice(alive(runs))))), seconds


class Programs(NamedTuple):
    """Of so many `members`, repeats among them: the runs after so many more updates, with batch
    statistics of their averages, the sums of their evaluation; bytes that the largest needs,
    seconds that all were compiled in."""

    members: int
    advance: Callable[[Population, int], Population]
    restate: Callable[[Population], Population]
    evaluate: Callable[[Population], Any]
    need: int
    seconds: float


def _compiled(group: Group, layout: Layout, runs: Population, fed: Feed) -> Programs:
    learner, shared, stream = group.ready.learner, {"order": group.order}, group.ready.stream
    cores = choose.cores() if group.ready.device.platform == "cpu" else 1
    segment = population.program(
        learner, layout, cores, population=runs, count=np.int32(1), train_FxN=group.train, **shared
    )
    judge = partial(population.evaluate, learner, layout)
    of_chunks = _nothing(group, runs.members) if stream else {}
    found = [segment, Program(judge, variables=runs.members, subset=group.validation, **of_chunks)]
    if "batch_stats" in runs.members.state.average:
        found.append(Program(partial(population.restated, learner, layout), (),
                             population=runs, train_FxN=group.train, **shared))

    def advance(runs: Population, steps: int) -> Population:
        while steps:  # chunk after chunk, where they are streamed
            step = int(runs.step)
            count = min(steps, fed.most(step))
            runs = segment(population=runs, count=np.int32(count), train_FxN=fed.train(step),
                           **shared)
            steps -= count
        return runs

    def restate(runs: Population) -> Population:
        return found[2](population=runs, train_FxN=group.train, **shared) if found[2:] else runs

    def evaluated(runs: Population) -> Any:
        members, subset = runs.members, group.validation
        if stream is None:
            return found[1](variables=members, subset=subset)
        where = subset.rows.sharding
        with telling("reading the examples that the runs are judged on"), \
                chunks_of(stream.validation, where, stream.workers) as chunks:
            sums = _nothing(group, members)["sums"]
            return summed(sums, found[1], members, subset, stream.validation, chunks)

    return Programs(
        len(runs.members.seed), advance, restate, evaluated,
        max(memory.extra(memory.plan(p.compiled)) for p in found),
        sum(p.seconds for p in found),
    )


def _nothing(group: Group, members: population.Member) -> dict[str, Any]:
    """What an evaluation of chunks begins with, the sums where the members lie."""
    judge = partial(population.evaluate, group.ready.learner, Layout())
    found = nothing(judge, members, group.validation)
    return found | {"sums": jax.device_put(found["sums"], members.seed.sharding)}


def compile_programs(group: Group, runs: Population, fed: Feed) -> Programs:
    """The group's programs in the first layout that fits, `fed` with examples as they go. Raises
    RequestError where none does."""
    device, count, devices = group.ready.device, len(runs.members.seed), size(group.mesh)
    each, reason = count // devices, "the largest block whose memory fits"
    blocks = [-(-each // 2**n) for n in range((each - 1).bit_length() + 1)]
    if device.platform == "cpu":
        blocks, reason = [1], ("a CPU computes no batch of runs faster than its parts; as many "
                               "blocks at once as go fastest")
    for block in blocks:
        needed = "much"
        try:
            programs = _compiled(group, Layout(block, group.mesh), runs, fed)
            room = memory.free(device)
            if room is None or programs.need <= room:
                break
            needed = memory.mib(programs.need)
        except jax.errors.JaxRuntimeError as error:
            if not memory.exhausted(error):
                raise
    else:
        raise RequestError(
            f"{count} run{'s' * (count > 1)} need {needed} more even one at a time, and the device "
            f"has {memory.mib(memory.free(device) or 0)} free: sweep fewer at once, or type a "
            "smaller --batch_size."
        )
    where = f" on each of {devices} devices" if devices > 1 else ""
    group.ready.host.console.print(f"population: {count} runs in blocks of {block}{where} "
                                   f"({reason}); compiled in {programs.seconds:.1f} s")
    return programs
