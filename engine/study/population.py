"""The settings that a process of a study has, trained as one population."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.errors import RunError
from engine.job.signals import Interruption
from engine.loggers.tracking import Tracked
from engine.store import folder
from engine.stream.streamed import Feed
from engine.study.handout import Handout, Setting
from engine.sweep import member, results
from engine.sweep.ensembles import FINISHED
from engine.sweep.events import DROPPED, Events
from engine.sweep.group import Group, alive, create, feed, placed
from engine.sweep.population import Population, select
from engine.sweep.programs import GroupPrograms, compile_programs
from engine.sweep.results import Standing
from engine.sweep.selection import Outcome
from engine.sweep.space import Asked
from engine.sweep.sweep import Lockstep


def filling(count: int, size: int, cpu: bool) -> int:
    """How large a population of `count` runs is made by repeats of the last: `size`, or where it
    is enough a half of that, a quarter and so on, as so few sizes are so few programs. On a CPU
    repeats would cost as much as runs, and there are none."""
    if cpu:
        return count
    while size // 2 >= count:
        size //= 2
    return size


def repeated(group: Group, runs: Population, size: int) -> Population:
    """The runs, and repeats of the last until there are so many."""
    which = np.minimum(np.arange(size), alive(runs) - 1)
    return placed(group, runs._replace(members=select(runs.members, which)))


class Handed(Lockstep):
    """Lockstep of the `settings` that a process has: it saves nothing but what the runs end with,
    as what it is lost with others begin anew; it tells the study every epoch's scores, and stops
    what the study's pruner says."""

    def __init__(
        self, asked: Asked, events: Events, interruption: Interruption, progress: Any,
        handout: Handout, settings: Sequence[Setting], programs: dict[int, Any], at_once: int,
        log: Tracked,
    ):
        own = asked._replace(search=asked.search._replace(halving=0))  # which is the pruner's
        super().__init__(own, events, interruption, progress, log)
        self._handout, self._settings = handout, settings
        self._programs, self._at_once = programs, at_once

    def _compiled(self, group: Group, runs: Population, fed: Feed) -> GroupPrograms:
        """The programs for so many runs, compiled once; where examples are streamed, each time,
        as they are fed by their own stream."""
        size = len(runs.members.seed)
        if size not in self._programs or group.ready.stream:
            self._programs[size] = compile_programs(group, runs, fed)
        return self._programs[size]

    def _own(self, setting: Setting, among: Sequence[Any]) -> list[Any]:
        """A setting's runs (trials, or how they did)."""
        each = len(self.asked.trials) // len(self._settings)
        return [one for one in among if one.number // each == setting.trial.number]

    def train(self, group: Group) -> Standing:
        for trial in group.trials:
            path = self._folder(trial.number)
            if path.exists():
                raise RunError(f"{path} is there already, of a study that this one does not know: "
                               "name another folder by --run_dir.")
            member.write_config(path, trial, group.ready)
        runs = self._filled(group, create(group), self._at_once)
        with feed(group, 0) as fed:
            return self._settle(group, self._trained(group, runs, 0.0, fed, None))

    def _selected(self, group: Group, runs: Population, ranking: list[Outcome]) -> Population:
        epoch, score = ranking[0].row["epoch"], group.ready.score
        whole = [one for one in ranking if one.whole and np.isfinite(one.row[score])]
        told = [(setting, own) for setting in self._settings if (own := self._own(setting, whole))]
        for setting, own in told:
            self._handout.report(setting, epoch, float(np.mean([one.row[score] for one in own])))
        pruned = [one for setting, own in told if epoch < group.ready.config.epochs
                  and setting.trial.should_prune() for one in own]
        if not pruned:
            return super()._selected(group, runs, ranking)
        return self._without(group, runs, [one for one in ranking if one not in pruned], pruned,
                             DROPPED)

    def _without(
        self, group: Group, runs: Population, kept: list[Outcome], gone: list[Outcome], event: str
    ) -> Population:
        left = super()._without(group, runs, kept, gone, event)
        return self._filled(group, left, len(runs.members.seed))

    def _filled(self, group: Group, runs: Population, size: int) -> Population:
        cpu = group.ready.device.platform == "cpu"
        return repeated(group, runs, filling(alive(runs), size, cpu))

    def _all_stopped(self, group: Group) -> bool:
        gone = self.events.status()
        return all(trial.number in gone for trial in group.trials)

    def tell(self, group: Group) -> list[Setting]:
        """Tell the study what came of the settings; those that others had taken up."""
        gone, lost = self.events.status(), []
        for setting in self._settings:
            rows = [results.row(trial, folder.history(self._folder(trial.number)),
                                gone.get(trial.number, "done"), group.ready)
                    for trial in self._own(setting, self.asked.trials)]
            scores = [row[group.ready.score] for row in rows if row["status"] in FINISHED]
            mean = float(np.mean(scores)) if scores else None
            if not self._handout.tell(setting, mean, rows):
                lost.append(setting)
        return lost
