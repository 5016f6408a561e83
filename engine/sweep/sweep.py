"""A sweep from request to results: the host's loop over the epochs of many runs."""

import time
from pathlib import Path

import jax
import numpy as np
from rich.progress import Progress

from engine.devices import choose, memory
from engine.errors import RequestError, RunError
from engine.job.host import Host, begin_alone
from engine.job.signals import Interruption, Stopped
from engine.loggers.tracking import Tracked
from engine.parts.reading import load
from engine.report.settings import going_on
from engine.request import Request
from engine.segments import Pace, due, rest_of_epoch
from engine.sets.dataset import Dataset
from engine.store import checkpoint, folder, record
from engine.stream.streamed import Feed, Unfed
from engine.sweep import member, results, space
from engine.sweep.events import COPIED, DIVERGED, DROPPED, REFUSED, STOPPED, Events
from engine.sweep.found import Sweep
from engine.sweep.group import (
    Group,
    alive,
    assemble,
    check,
    facts_of,
    feed,
    grouped,
    placed,
    restored,
    told,
)
from engine.sweep.population import Population, select
from engine.sweep.programs import GroupPrograms, compile_programs
from engine.sweep.search import Search
from engine.sweep.selection import Outcome, exploited, halved, heard, outcomes
from engine.sweep.space import Asked, Trial


def run(request: Request, search: Search, resume: str = "", quiet: bool = False) -> Sweep:
    """Carry a sweep out, or go on with the one in the folder `resume`."""
    space.of(request, search)  # what can't be is refused before a device is asked for
    host = begin_alone(request.place, quiet)
    request, dataset = load(request, host)
    asked = space.of(request, search)
    groups = grouped(asked.trials, dataset)
    if not resume:
        check(groups, request, dataset, host)
    path = Path(resume) if resume else folder.create(request, "sweep")
    facts = facts_of(request, asked.trials, dataset)
    with folder.alone(path):
        if resume:
            saved = record.compare(path, request, facts, "sweep.json")
            if saved.content.get("swept_files", {}) != facts["swept_files"]:
                raise RequestError("a swept file, or what --init_from names, has changed since the "
                                   f"sweep in {path} began: put it back, or start a new sweep in "
                                   "another --run_dir.")
        else:
            folder.write_config(path, folder.described(
                request, search=search._asdict(), device=choose.describe(host.device), **facts,
            ), "sweep.json")
        host.console.print(f"sweep: {path}, {told(groups, asked.axes, dataset)}")
        return _carry_out(asked._replace(path=path), groups, dataset, host)


def _carry_out(asked: Asked, groups: list[list[Trial]], dataset: Dataset, host: Host) -> Sweep:
    """Train the groups one after another, without those that don't fit; then the results of all."""
    standings: list[results.Standing] = []
    refusals: list[RequestError] = []
    with (Progress(console=host.console, disable=not host.console.is_terminal) as progress,
          Interruption() as interruption, Tracked(asked.request.place.log) as log):
        lockstep = Lockstep(asked, Events(asked.path), interruption, progress, log)
        for number, members in enumerate(groups):
            try:
                group = assemble(number, members, asked.request, dataset, host)
                standings.append(lockstep.train(group))
                ready = group.ready
                continue
            except RequestError as error:
                refusals.append(error)
            except memory.FAILURES as error:
                if not memory.exhausted(error):
                    raise
                refusals.append(RequestError("the device ran out of memory: sweep fewer runs at "
                                             "once, or type a smaller --batch_size."))
            host.console.print(f"program {number + 1} is left out: {refusals[-1]}")
            for trial in members:
                lockstep.events.add(number, 0, trial.number, REFUSED)
    if standings:
        found = results.write(asked, standings, ready, host.console)
    elif not list(asked.path.glob("checkpoints/[0-9]*/[0-9]*")):
        (asked.path / folder.HOLDS["sweep"]).unlink()  # so that its folder is free for another
    if refusals:
        raise refusals[0]
    return found


class Lockstep:
    """The epochs of one group after another: train, judge, record, save, let go on who may."""

    def __init__(self, asked: Asked, events: Events, interruption: Interruption,
                 progress: Progress, log: Tracked):
        self.asked, self.events, self.interruption = asked, events, interruption
        self.progress, self._log, self._pace = progress, log, Pace()

    def _folder(self, number: int) -> Path:
        return self.asked.path / str(number)

    def train(self, group: Group) -> results.Standing:
        """Train a group to its end, from its newest checkpoint where there is one.

        Raises Stopped, everything saved, where a signal asks to; RequestError where the
        group doesn't fit the device.
        """
        with checkpoint.Checkpoints(self.asked.path / "checkpoints" / str(group.number)) as saved:
            runs, seconds = restored(group, saved)
            saved.check_room(runs)
            self.events.forget(group.number, int(runs.step))
            last = self.events.last()
            for trial in group.trials:
                member.rewind(self._folder(trial.number), trial, group.ready, int(runs.step),
                              last.get(trial.number, {}))
            if int(runs.step) < group.ready.lengths.total and not self._all_stopped(group):
                try:
                    with feed(group, int(runs.step)) as fed:
                        runs = self._trained(group, runs, seconds, fed, saved)
                except Unfed as error:
                    raise RunError(f"{error} What was saved is kept. {self._going_on}") from error
        return self._settle(group, runs)

    @property
    def _going_on(self) -> str:
        return "Go on with: " + going_on("sweep", self.asked.request.config, self.asked.path)

    def _trained(self, group: Group, runs: Population, seconds: float, fed: Feed,
                 saved: checkpoint.Checkpoints | None) -> Population:
        """The runs after their last epoch; `seconds` are those that this one has had."""
        steps, total = group.ready.lengths.epoch, group.ready.lengths.total
        place, saved_at = self.asked.request.place, time.monotonic()
        kind = "program" if group.ready.learner.traced else "run"
        name, programs = f"{kind} {group.number + 1}", None
        bar = self.progress.add_task(f"compiling {name}", total=total, completed=int(runs.step))
        while (step := int(runs.step)) < total and not self._all_stopped(group):
            if programs is None or programs.members != len(runs.members.seed):
                programs = self._compiled(group, runs, fed)
            for part in rest_of_epoch(programs.advance, runs, step % steps, steps,
                                      lambda: self._pace.steps, place):
                runs, seconds = part.state, seconds + part.seconds
                self._pace.learn(part.steps, part.seconds)
                self.progress.update(bar, advance=part.steps, description=name)
                save = due(saved_at, whole := part.position == steps, place)
                if save or self.interruption.status:
                    break
            if whole:
                runs = programs.restate(runs)
                ranking = outcomes(group, programs, runs, seconds)
                self._record(group, runs, ranking, seconds)
                runs, seconds = self._selected(group, heard(group, runs, ranking), ranking), 0.0
            if saved:
                saved.save(runs, None, seconds, save)
            saved_at = time.monotonic() if save else saved_at
            if self.interruption.status:
                if saved:
                    saved.wait()
                raise Stopped(f"stopped at step {int(runs.step)} of {total} of {name} and saved. "
                              f"{self._going_on}", self.interruption.status)
        return runs

    def _compiled(self, group: Group, runs: Population, fed: Feed) -> GroupPrograms:
        return compile_programs(group, runs, fed)

    def _record(self, group: Group, runs: Population, ranking: list[Outcome],
                seconds: float) -> None:
        """Every whole member's row, who diverged, and a line about the epoch."""
        gone, trials = self.events.status(), {t.number: t for t in group.trials}
        for one in sorted(ranking):
            if one.whole:
                folder.append_history(self._folder(one.number), one.row)
                self._log.row(self._folder(one.number), one.row)
            elif gone.get(one.number) != DIVERGED:
                self.events.add(group.number, int(runs.step), one.number, DIVERGED)
        if not group.ready.learner.traced and int(runs.step) < group.ready.lengths.total:
            return  # a line a run, not one a round
        best, count = ranking[0], len(self.asked.trials)
        line = (f"Epoch {best.row['epoch']}/{group.ready.config.epochs} {seconds:.1f}s - "
                f"{count - len(self.events.status())} of {count} runs alive")
        if best.whole:
            score, hyper = group.ready.score, runs.members.hyper._asdict()
            line += f" - best {score} {best.row[score]:.4f} (run {best.number}" + "".join(
                f", {name} {f'{hyper[name][best.at]:.6g}' if name in hyper else value}"
                for name, value in trials[best.number].values.items()) + ")"
        group.ready.host.console.print(line)

    def _selected(self, group: Group, runs: Population, ranking: list[Outcome]) -> Population:
        """The runs that go on. Those that are halved away, or stop by their patience, keep what
        they have learned in their folders."""
        search, epoch = self.asked.search, ranking[0].row["epoch"]
        if (shared := halved(group, ranking, search))[1]:
            return self._without(group, runs, *shared, DROPPED)
        watched = ranking if group.ready.config.patience else []
        if stopped := [one for one in watched if one.whole and group.ready.learner.over(
                group.ready.hyper, group.ready.lengths, folder.history(self._folder(one.number)))]:
            kept = [one for one in ranking if one not in stopped]
            return self._without(group, runs, kept, stopped, STOPPED)
        if search.pbt and epoch < group.ready.config.epochs:
            names = [axis.name for axis in self.asked.axes]
            runs, copies = exploited(group, runs, ranking, names, self.asked.request.config.seed)
            for to, of in copies:
                self.events.add(group.number, int(runs.step), to.number, COPIED, source=of.number)
        return runs

    def _without(self, group: Group, runs: Population, kept: list[Outcome], gone: list[Outcome],
                 event: str) -> Population:
        """The runs that are `kept`, or all where none is; those that are `gone` saved."""
        members, step = jax.device_get(runs.members), int(runs.step)
        for at, number, row, whole in gone:
            if whole:
                member.save(self._folder(number), step, select(members, at), row[group.ready.score])
                self.events.add(group.number, step, number, event)
        if not kept:
            return runs
        which = np.array(sorted(one.at for one in kept))
        return placed(group, runs._replace(members=select(runs.members, which)))

    def _all_stopped(self, group: Group) -> bool:
        """Whether patience has left none of a group's runs to train."""
        gone = self.events.status() if group.ready.config.patience else {}
        return all(trial.number in gone for trial in group.trials)

    def _settle(self, group: Group, runs: Population) -> results.Standing:
        """Every member that is left, with the values it ended with; the whole ones saved."""
        gone, trials = self.events.status(), {t.number: t for t in group.trials}
        members = select(jax.device_get(runs.members), slice(alive(runs)))
        models = {number: member.model(self._folder(number), group.ready) for number in trials
                  if gone.get(number) == STOPPED}
        hypers = {}
        for at, number in enumerate(members.number.tolist()):
            one, path = select(members, at), self._folder(number)
            # As they would be typed: float32's shortest decimals, the same bits.
            hypers[number] = jax.tree.map(lambda x: float(str(x)), one.hyper)
            member.write_config(path, trials[number]._replace(hyper=hypers[number]), group.ready)
            if number not in gone:
                member.save(path, int(runs.step), one, folder.history(path)[-1][group.ready.score])
                models[number] = one.state.model
        return results.Standing(group.ready.learner, hypers, models)
