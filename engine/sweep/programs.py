"""A group's programs, in the first layout whose memory fits; of trees the functions themselves."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from engine.devices import choose, memory
from engine.devices.mesh import size
from engine.devices.program import Program, hasty
from engine.errors import RequestError
from engine.programs import graphs
from engine.stream.judging import chunks_of
from engine.stream.streamed import Feed, nothing, summed, telling
from engine.sweep import hosted, population, restated
from engine.sweep.group import Group
from engine.sweep.population import Layout, Population


class GroupPrograms(NamedTuple):
    """Of so many `members`, repeats among them: the runs after so many more updates, with batch
    statistics of their averages, the sums of their evaluation; bytes that the largest needs,
    seconds that all were compiled in; how many runs are trained `at_once`."""

    members: int
    advance: Callable[[Population, int], Population]
    restate: Callable[[Population], Population]
    evaluate: Callable[[Population], Any]
    need: int
    seconds: float
    at_once: int


def _compiled(group: Group, layout: Layout, runs: Population, fed: Feed) -> GroupPrograms:
    learner, shared, stream = group.ready.learner, {"order": group.order}, group.ready.stream
    cores = choose.cores() if group.ready.device.platform == "cpu" else 1
    segment = population.program(
        learner, layout, cores, graphs.options(group.ready), population=runs, count=np.int32(1),
        train_FxN=group.train, **shared,
    )
    hastily = partial(Program, options=hasty(group.ready.device.platform))
    of_chunks = {"sums": _nothing(group, runs.members)} if stream else {}
    found = [segment, hastily(partial(population.evaluate, learner, layout),
                              variables=runs.members, subset=group.validation, **of_chunks)]
    averaged = "batch_stats" in runs.members.state.average
    if averaged and not stream:
        found.append(Program(partial(restated.restated, learner, layout), population=runs,
                             order=group.order, train_FxN=group.train))

    def advance(runs: Population, steps: int) -> Population:
        while steps:  # chunk after chunk, where they are streamed
            step = int(runs.step)
            count = min(steps, fed.most(step))
            runs = segment(population=runs, count=np.int32(count), train_FxN=fed.train(step),
                           **shared)
            steps -= count
        return runs

    def restate(runs: Population) -> Population:
        if averaged and stream:  # in less memory than training takes
            return restated.of_chunks(group, layout, runs)
        return found[2](population=runs, train_FxN=group.train, **shared) if averaged else runs

    def evaluated(runs: Population) -> Any:
        members, subset = runs.members, group.validation
        if stream is None:
            return found[1](variables=members, subset=subset)
        where = subset.rows.sharding
        with telling("reading the examples that the runs are judged on"), \
                chunks_of(stream.validation, where, stream.workers) as chunks:
            sums = _nothing(group, members)
            return summed(sums, found[1], members, subset, chunks)

    return GroupPrograms(
        len(runs.members.seed), advance, restate, evaluated,
        max(memory.needed(p.compiled).beyond_arguments for p in found),
        sum(p.seconds for p in found), layout.block * size(layout.mesh),
    )


def _nothing(group: Group, members: population.Member) -> Any:
    """What an evaluation of chunks begins with, where the members lie."""
    judge = partial(population.evaluate, group.ready.learner, Layout())
    return jax.device_put(nothing(judge, members, group.validation), members.seed.sharding)


def compile_programs(group: Group, runs: Population, fed: Feed) -> GroupPrograms:
    """The group's programs in the first layout that fits, `fed` with examples as they go. Raises
    RequestError where none does."""
    if not group.ready.learner.traced:
        return GroupPrograms(1, partial(hosted.advance, group.ready), lambda runs: runs,
                             partial(hosted.evaluate, group.ready), 0, 0.0, 1)
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
        except memory.FAILURES as error:
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
