"""The host's loop over the epochs of many runs: train, judge, record, save, let go on who may."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.progress import Progress

from engine.errors import RequestError, RunError
from engine.job.host import Host
from engine.job.signals import Interruption
from engine.request import Request
from engine.segments import Pace, rest_of_epoch
from engine.setup import Setup
from engine.store import checkpoint, folder
from engine.sweep.ensembles import Standing
from engine.sweep.events import REFUSED, Events
from engine.sweep.group import Group, alive, compile_programs, create, placed, restored
from engine.sweep.judge import Judged, exploited, judged, rungs
from engine.sweep.population import Member, Population, select
from engine.sweep.space import Study, Trial


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

    def __init__(
        self, study: Study, interruption: Interruption, host: Host, progress: Progress
    ):
        self.study, self.console, self.progress = study, host.console, progress
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
        steps, total = group.ready.lengths.epoch, group.ready.lengths.total
        name, programs = f"program {group.number + 1}", None
        with checkpoint.Checkpoints(self.study.path / "checkpoints" / str(group.number)) as saved:
            runs, seconds = restored(group, saved) if saved.latest() >= 0 else (create(group), 0.0)
            self._begin(group, int(runs.step))
            bar = self.progress.add_task(name, total=total, completed=int(runs.step))
            while (step := int(runs.step)) < total:
                if programs is None or programs.members != len(runs.members.seed):
                    programs = compile_programs(group, runs)
                for part in rest_of_epoch(programs.advance, runs, step % steps, steps,
                                          lambda: self._pace.steps):
                    runs, seconds = part.state, seconds + part.seconds
                    self._pace.learn(part.steps, part.seconds)
                    self.progress.advance(bar, part.steps)
                    if self.interruption.status:
                        break
                if part.position == steps:
                    ranking = judged(group, programs, runs, seconds)
                    self._record(group, runs, ranking, seconds)
                    runs, seconds = self._selected(group, runs, ranking), 0.0
                saved.save(runs, None, seconds)
                if self.interruption.status:
                    saved.wait()
                    raise RunError(
                        f"stopped at step {int(runs.step)} of {total} of {name} and saved. Go on "
                        f"with: python launch.py sweep --resume {self.study.path}",
                        self.interruption.status,
                    )
        return self._settle(group, runs)

    def _begin(self, group: Group, step: int) -> None:
        """A folder for every member; what was recorded after the checkpoint will come again."""
        self.events.forget(group.number, step)
        for trial in group.trials:
            _write_config(self._folder(trial.number), trial, group.ready)
            folder.history(self._folder(trial.number), up_to_step=step)

    def _record(
        self, group: Group, runs: Population, ranking: list[Judged], seconds: float
    ) -> None:
        """Every whole member's row, who diverged, and a line about the epoch."""
        gone = self.events.status()
        for one in sorted(ranking):
            if one.whole:
                folder.append_history(self._folder(one.number), one.row)
            elif gone.get(one.number) != "diverged":
                self.events.add(group.number, int(runs.step), one.number, "diverged")
        best, runs_asked = ranking[0], len(self.study.trials)
        line = (f"Epoch {best.row['epoch']}/{group.ready.config.epochs} {seconds:.1f}s - "
                f"{runs_asked - len(self.events.status())} of {runs_asked} runs alive")
        if best.whole:
            score, hyper = f"val_{group.ready.task.score}", runs.members.hyper._asdict()
            trial = next(t for t in group.trials if t.number == best.number)
            values = {name: f"{hyper[name][best.at]:.6g}" if name in hyper else value
                      for name, value in trial.values.items()}
            line += f" - best {score} {best.row[score]:.4f} (run {best.number}" + "".join(
                f", {name} {value}" for name, value in values.items()) + ")"
        self.console.print(line)

    def _selected(self, group: Group, runs: Population, ranking: list[Judged]) -> Population:
        """The runs that go on. Those that are halved away keep what they have learned in their
        folders."""
        search, step, epoch = self.study.search, int(runs.step), ranking[0].row["epoch"]
        keep = rungs(search, len(group.trials), group.ready.config.epochs).get(epoch)
        if keep:
            members, score = jax.device_get(runs.members), f"val_{group.ready.task.score}"
            for one in (one for one in ranking[keep:] if one.whole):
                _save_member(self._folder(one.number), step, select(members, one.at),
                             one.row[score])
                self.events.add(group.number, step, one.number, "dropped")
            kept = np.array(sorted(one.at for one in ranking[:keep]))
            return placed(group, runs._replace(members=select(runs.members, kept)))
        if search.pbt and epoch < group.ready.config.epochs:
            names = [axis.name for axis in self.study.axes]
            number = {one.at: one.number for one in ranking}
            runs, copies = exploited(group, runs, ranking, names, self.study.request.config.seed)
            for to, source in copies:
                self.events.add(group.number, step, number[to], "copied", source=number[source])
        return runs

    def refuse(self, group: int, trials: list[Trial], why: RequestError) -> None:
        """Go on without a group."""
        self.console.print(f"program {group + 1} is left out: {why}")
        for trial in trials:
            self.events.add(group, 0, trial.number, REFUSED)

    def _settle(self, group: Group, runs: Population) -> Standing:
        """Every member that is left, with the values it ended with; the whole ones saved."""
        gone, trials = self.events.status(), {t.number: t for t in group.trials}
        members = select(jax.device_get(runs.members), slice(alive(runs)))
        left, whole = [], []
        for at, number in enumerate(members.number.tolist()):
            member, path = select(members, at), self._folder(number)
            # As they would be typed: float32's shortest decimals, the same bits.
            typed: Any = jax.tree.map(lambda x: float(str(x)), member.hyper)
            left.append(trials[number]._replace(hyper=typed))
            _write_config(path, left[at], group.ready)
            if number not in gone:
                score = folder.history(path)[-1][f"val_{group.ready.task.score}"]
                _save_member(path, int(runs.step), member, score)
                whole.append(at)
        variables = select(members.state.variables, np.array(whole, int))
        return Standing(group.ready.learner, left, [left[at].number for at in whole], variables)
