"""The runs that one compiled program serves: their data, their population, their programs."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from engine.config import Config
from engine.data import Data, Subset, partition, place
from engine.devices import choose
from engine.devices.mesh import RUNS, everywhere, over_runs, size
from engine.errors import RequestError
from engine.job.host import Host
from engine.programs import memory
from engine.programs.program import Program
from engine.request import Request
from engine.setup import Setup, settle
from engine.sources.dataset import Dataset
from engine.store import checkpoint
from engine.sweep import population
from engine.sweep.population import Layout, Population
from engine.sweep.space import Trial


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


def _static(trial: Trial, sizes: dict[str, tuple[int, int]]) -> tuple[Config, str, tuple[int, int]]:
    """What has to be equal for two runs to share a program, and the data they are put on."""
    part = trial.config.validation_split
    return trial.config, "fold" if trial.fold else part, sizes[part]


def grouped(trials: Sequence[Trial], dataset: Dataset) -> list[list[Trial]]:
    """The trials that differ in traced values, seed and fold only, in order of appearance.

    Raises RequestError where one of them can't be cut from the data set.
    """
    sizes: dict[str, tuple[int, int]] = {}
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        part = trial.config.validation_split
        if part not in sizes:
            data = partition(dataset, trial.config)
            sizes[part] = len(data.train.rows), len(data.validation.rows)
        groups.setdefault(_static(trial, sizes), []).append(trial)
    for members in groups.values():
        partition(dataset, members[0].config)
    return list(groups.values())


def assemble(
    number: int, trials: list[Trial], request: Request, dataset: Dataset, host: Host
) -> Group:
    """A group's data and learner; `request` is the sweep's. Off a CPU, members share kernels of
    one product."""
    first, device = trials[0], host.device
    config, mesh = first.config, over_runs(device)
    if device.platform != "cpu" and config.convolution == "auto":
        config = dataclasses.replace(config, convolution="product")
        trials = [t._replace(config=dataclasses.replace(t.config, convolution="product"))
                  for t in trials]
    ready = settle(request._replace(config=config, hyper=first.hyper), dataset, host)
    folds = list(dict.fromkeys(t.config.validation_split for t in trials))
    parts = [partition(dataset, dataclasses.replace(config, validation_split=f)) for f in folds]
    tables = Data(
        ready.data.train._replace(rows=np.stack([p.train.rows for p in parts])),
        ready.data.validation._replace(rows=np.stack([p.validation.rows for p in parts])),
        ready.data.num_outputs,
    )
    where = everywhere(mesh, device)
    data = place(tables, where)
    order = jax.device_put(ready.order, where) if config.order_seed >= 0 else None
    return Group(number, trials, ready, folds, data.train, data.validation, order, mesh)


def filled(group: Group, positions: Sequence[int]) -> list[int]:
    """The positions, the last repeated until every device of the mesh has as many."""
    return [*positions, *[positions[-1]] * (-len(positions) % size(group.mesh))]


def create(group: Group) -> Population:
    """Every member at step 0."""
    trials = [group.trials[at] for at in filled(group, range(len(group.trials)))]
    hyper = jax.tree.map(lambda *x: np.array(x, np.float32), *(t.hyper for t in trials))
    seed = np.array([t.config.seed for t in trials], np.uint32)
    fold = np.array([group.folds.index(t.config.validation_split) for t in trials], np.int32)
    number = np.array([t.number for t in trials], np.int32)
    ready = group.ready
    create = partial(
        population.create_all, ready.learner, input_shape=ready.data.train.input_shape,
        lengths=ready.lengths,
    )
    return placed(group, jax.jit(create)(hyper, seed, fold, number))


def placed(group: Group, runs: Population) -> Population:
    if group.mesh is None:
        return jax.device_put(runs, group.ready.device)
    spread = NamedSharding(group.mesh, PartitionSpec(RUNS))
    return Population(
        jax.device_put(runs.step, everywhere(group.mesh, group.ready.device)),
        jax.device_put(runs.members, spread),
    )


def restored(group: Group, saved: checkpoint.Checkpoints) -> tuple[Population, float]:
    """The newest population of the group, and the seconds that its unfinished epoch has had.

    It may have been saved by another number of devices, or halved since it was created.
    """
    runs, seconds = saved.restore(jax.eval_shape(lambda: create(group)), any_count=True)
    _, first = np.unique(runs.members.number, return_index=True)
    keep = np.array(filled(group, sorted(first.tolist())))
    members = jax.tree.map(lambda x: x[keep], runs.members)
    return placed(group, Population(runs.step, members)), seconds


class Programs(NamedTuple):
    """segment(population, order, train_FxN, count) and evaluate(members, validation), for `count`
    runs."""

    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls
    segment: Program | population.Separately
    evaluate: Program

    def advance(self, group: Group, runs: Population, count: int) -> Population:
        """The group's runs after so many more updates."""
        return self.segment(population=runs, order=group.order, train_FxN=group.train,
                            count=np.int32(count))

    @property
    def width(self) -> str:
        """How many runs at once went how fast, where that was tried."""
        return str(self.segment.width) if isinstance(self.segment, population.Separately) else ""


def _compiled(group: Group, layout: Layout, runs: Any) -> Programs:
    learner = group.ready.learner
    cores = choose.cores() if group.ready.device.platform == "cpu" else 1

    def evaluate(members, validation):
        return population.evaluate(learner, layout, members, validation)

    return Programs(
        len(runs.members.seed),
        population.program(
            learner, layout, cores, population=runs, order=group.order, train_FxN=group.train,
            count=np.int32(1),
        ),
        Program(evaluate, members=runs.members, validation=group.validation),
    )


def _fitting(group: Group, layout: Layout, runs: Any) -> tuple[Programs | None, str]:
    """The programs in this layout, None where they don't fit; what they need, in words."""
    try:
        programs = _compiled(group, layout, runs)
    except jax.errors.JaxRuntimeError as error:
        if not memory.exhausted(error):
            raise
        return None, "more memory than there is"
    room = memory.free(group.ready.device)
    need = max(memory.extra(memory.plan(p.compiled)) for p in (programs.segment, programs.evaluate))
    return programs if room is None or need <= room else None, f"{memory.mib(need)} more"


def _blocks(count: int, platform: str) -> tuple[list[int], str]:
    """Block sizes to try, and why."""
    if platform == "cpu":
        return [1], ("a CPU computes no batch of runs faster than its parts; as many blocks at "
                     "once as go fastest")
    tries = [count]
    while tries[-1] > 1:
        tries.append(-(-tries[-1] // 2))
    return tries, "the largest block whose memory fits"


def compile_programs(group: Group, runs: Population) -> Programs:
    """The group's programs in the first layout that fits. Raises RequestError where none does."""
    count, device = len(runs.members.seed), group.ready.device
    devices_used = size(group.mesh)
    tries, reason = _blocks(count // devices_used, device.platform)
    for block in tries:
        programs, need = _fitting(group, Layout(block, group.mesh), runs)
        if programs is not None:
            break
    else:
        runs_need = f"{count} runs need" if count > 1 else "1 run needs"
        raise RequestError(
            f"{runs_need} {need} even one at a time, and the device has "
            f"{memory.mib(memory.free(device) or 0)} free: sweep fewer at once, or type a smaller "
            "--batch_size."
        )
    where = f" on each of {devices_used} devices" if devices_used > 1 else ""
    group.ready.host.console.print(
        f"population: {count} runs in blocks of {block}{where} ({reason}); compiled in "
        f"{programs.segment.seconds + programs.evaluate.seconds:.1f} s"
    )
    return programs
