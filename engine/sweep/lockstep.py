"""The host's loop over the epochs of many runs: train, judge, record, save, let go on who may."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from engine.errors import RequestError, RunError
from engine.job.host import Host
from engine.job.signals import Interruption
from engine.request import Request
from engine.segments import Pace, rest_of_epoch
from engine.setup import Setup
from engine.store import checkpoint, folder
from engine.sweep import halving, population
from engine.sweep.board import Board
from engine.sweep.ensembles import Standing
from engine.sweep.events import REFUSED, Events
from engine.sweep.group import (
    Group,
    Programs,
    compile_programs,
    create,
    filled,
    placed,
    restored,
)
from engine.sweep.judge import Verdict, alive, exploited, rows, verdict
from engine.sweep.population import Member, Population
from engine.sweep.space import Study, Trial


def _hyper(member: Member) -> Any:
    """A member's values as they would be typed: float32's shortest decimals, the same bits."""
    return jax.tree.map(lambda x: float(str(x)), member.hyper)


def _save_member(path: Path, step: int, member: Member, score: float) -> None:
    """A member, on the host, as an ordinary run's checkpoint in its own folder."""
    state = member.state._replace(step=np.int32(step))  # type: ignore[arg-type]  # on the host
    with checkpoint.Checkpoints(path / "checkpoints") as saved:
        if saved.latest() < step:  # else it was saved before the sweep was resumed
            saved.save(state, score, 0.0)


def _write_config(path: Path, trial: Trial, ready: Setup) -> None:
    path.mkdir(exist_ok=True)
    place = dataclasses.replace(ready.request.place, run_dir=str(path))
    request = Request(trial.config, trial.hyper, place)
    folder.write_config(path, folder.described(request, **ready.facts))


class Lockstep:
    """The epochs of one group after another."""

    def __init__(self, study: Study, board: Board, interruption: Interruption, host: Host):
        self.study, self.board, self.console = study, board, host.console
        self.interruption = interruption
        self.events = Events(study.path)
        self._pace = Pace()

    def _folder(self, number: int) -> Path:
        return self.study.path / str(number)

    def train(self, group: Group) -> Standing:
        """Train a group to its end, from its newest checkpoint where there is one.

        Raises RunError, everything saved, where a signal asks to stop; RequestError where the
        group doesn't fit the device.
        """
        epochs, steps = group.ready.config.epochs, group.ready.lengths.epoch
        cuts = halving.cuts(self.study.search, group.trials)
        with checkpoint.Checkpoints(self.study.path / "checkpoints" / str(group.number)) as saved:
            runs, seconds = restored(group, saved) if saved.latest() >= 0 else (create(group), 0.0)
            self._begin(group, int(runs.step))
            done, begun = divmod(int(runs.step), steps)
            self.board.resumed(halving.run_epochs(len(group.trials), cuts, done)
                               + alive(runs) * begun / steps)
            programs = None
            while int(runs.step) < epochs * steps:
                if programs is None or programs.count != len(runs.members.seed):
                    programs = compile_programs(group, runs)
                runs, took = self._epoch(group, programs, runs)
                seconds += took
                if int(runs.step) % steps == 0:
                    runs, seconds = self._judge(group, programs, runs, seconds, cuts), 0.0
                saved.save(runs, None, seconds)
                if self.interruption.status:
                    saved.wait()
                    raise RunError(
                        f"stopped at step {int(runs.step)} of {epochs * steps} of program "
                        f"{group.number + 1} and saved. Go on with: python launch.py sweep "
                        f"--resume {self.study.path}", self.interruption.status,
                    )
        if programs and programs.width:
            self.console.print(f"program {group.number + 1}: {programs.width}")
        return self._settle(group, runs)

    def _begin(self, group: Group, step: int) -> None:
        """A folder for every member; what was recorded after the checkpoint will come again."""
        self.events.forget(group.number, step)
        gone = self.events.status()
        for trial in group.trials:
            _write_config(self._folder(trial.number), trial, group.ready)
            rows = folder.history(self._folder(trial.number), up_to_step=step)
            if rows:
                self.board.measured(trial.number, rows[-1], trial.values)
            if trial.number in gone:
                self.board.left(trial.number)

    def _epoch(
        self, group: Group, programs: Programs, runs: Population
    ) -> tuple[Population, float]:
        """The rest of the current epoch, or as far as a signal lets it go; its seconds."""
        steps, seconds = group.ready.lengths.epoch, 0.0
        advance = partial(programs.advance, group)
        for runs, count, took, _ in rest_of_epoch(  # noqa: B020  # it goes on from there
            advance, runs, int(runs.step) % steps, steps, lambda: self._pace.steps
        ):
            self._pace.learn(count, took)
            seconds += took
            self.board.worked(alive(runs) * count / steps, took)
            if self.interruption.status:
                break
        return runs, seconds

    def _judge(
        self, group: Group, programs: Programs, runs: Population, seconds: float,
        cuts: dict[int, int],
    ) -> Population:
        """Evaluate, record, and let go on who may."""
        sums = programs.evaluate(members=runs.members, validation=group.validation)
        found = verdict(runs, rows(group, runs, sums, seconds), group.ready.task)
        epoch, epochs = found.rows[0]["epoch"], group.ready.config.epochs
        self._record(group, runs, found)
        self.board.judged(epoch, epochs)
        if epoch in cuts:
            return self._halve(group, runs, found, cuts[epoch])
        if self.study.search.pbt and epoch < epochs:
            return self._exploit(group, runs, found)
        return runs

    def _record(self, group: Group, runs: Population, verdict: Verdict) -> None:
        gone, trials = self.events.status(), {t.number: t for t in group.trials}
        hypers = jax.device_get(runs.members.hyper)
        for at in sorted(verdict.ranking):
            number = verdict.numbers[at]
            if verdict.whole[at]:
                folder.append_history(self._folder(number), verdict.rows[at])
                values = {
                    name: float(f"{getattr(hypers, name)[at]:.6g}") if name in hypers._fields else v
                    for name, v in trials[number].values.items()
                }
                self.board.measured(number, verdict.rows[at], values)
            elif gone.get(number) != "diverged":
                self._leaves(group.number, int(runs.step), number, "diverged")

    def _halve(self, group: Group, runs: Population, verdict: Verdict, count: int) -> Population:
        """The best `count` members; the others keep what they have learned in their folders."""
        members, step = jax.device_get(runs.members), int(runs.step)
        for at in verdict.ranking[count:]:
            if verdict.whole[at]:
                number = verdict.numbers[at]
                score = verdict.rows[at][f"val_{group.ready.task.score}"]
                member = population.select(members, at)
                _save_member(self._folder(number), step, member, score)
                self._leaves(group.number, step, number, "dropped")
        kept = np.array(filled(group, sorted(verdict.ranking[:count])))
        return placed(group, Population(runs.step, population.select(runs.members, kept)))

    def _exploit(self, group: Group, runs: Population, verdict: Verdict) -> Population:
        names = [axis.name for axis in self.study.axes]
        moved, copies = exploited(group, runs, verdict, names, self.study.request.config.seed)
        for to, source in copies:
            self.events.add(group.number, int(runs.step), verdict.numbers[to], "copied",
                            source=verdict.numbers[source])
        return moved

    def _leaves(self, group: int, step: int, run: int, how: str) -> None:
        self.events.add(group, step, run, how)
        self.board.left(run)

    def refuse(self, group: int, trials: list[Trial], why: RequestError) -> None:
        """Go on without a group."""
        self.console.print(f"program {group + 1} is left out: {why}")
        for trial in trials:
            self._leaves(group, 0, trial.number, REFUSED)

    def _settle(self, group: Group, runs: Population) -> Standing:
        """Every member that is left, with the values it ended with; the whole ones saved."""
        gone, trials = self.events.status(), {t.number: t for t in group.trials}
        members, step = jax.device_get(runs.members), int(runs.step)
        numbers = members.number.tolist()
        whole = []
        for at, number in enumerate(numbers):
            if number in numbers[:at]:
                continue
            member = population.select(members, at)
            trial = trials[number]._replace(hyper=_hyper(member))
            _write_config(self._folder(number), trial, group.ready)
            if number not in gone:
                last = folder.history(self._folder(number))[-1]
                score = last[f"val_{group.ready.task.score}"]
                _save_member(self._folder(number), step, member, score)
                whole.append(at)
        variables = jax.tree.map(lambda x: x[np.array(whole, int)], members.state.variables)
        return Standing(group.ready.learner, [numbers[at] for at in whole], variables)
