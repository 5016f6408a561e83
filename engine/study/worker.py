"""One process of a study: asks for as many settings as it trains at once, tells what came of them.
"""

import contextlib
import dataclasses
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from rich.progress import Progress

from engine.devices import choose
from engine.devices.mesh import size
from engine.errors import RequestError, RunError
from engine.job import host
from engine.job.signals import Interruption, Stopped
from engine.loggers.tracking import Tracked
from engine.parts.reading import load
from engine.place import ADDRESS, Place
from engine.report.settings import going_on
from engine.request import Request
from engine.sets.dataset import Dataset
from engine.store import folder, record
from engine.study import pruning, storage
from engine.study.handout import Handout, Listed, Setting, Values
from engine.study.population import Handed, repeated
from engine.sweep import results, space
from engine.sweep.events import REFUSED, Events
from engine.sweep.group import Group, assemble, create, facts_of, feed, grouped
from engine.sweep.programs import compile_programs
from engine.sweep.search import Search
from engine.sweep.space import Asked, Trial

MOST_AT_ONCE = 256  # runs that a device is tried with, and that a process can be lost with
POLL_SECONDS = 0.5


def run(request: Request, search: Search) -> Path:
    """Work on a study until every setting has its result, whoever found it; the folder of its runs.

    Raises Stopped where a signal asks to, its settings given back; RequestError, the others'
    results told, where settings of this process don't fit.
    """
    space.of(request, search)  # what can't be is refused before a device is asked for
    if [n for n in (*ADDRESS, "fsdp") if getattr(request.place, n) != getattr(Place(), n)]:
        raise RequestError("a study's processes meet in its storage alone, each with its runs "
                           "whole: leave --coordinator, --num_processes, --process_id and --fsdp "
                           "out.")
    search = search._replace(study=storage.absolute(search.study))
    name, path = storage.place(search.study, request.place.run_dir)
    here = host.begin(request.place, apart=True)
    request, dataset = load(request, here)
    asked, each = space.of(request, search, path), search.seeds * max(1, search.folds)
    planned = _by_program(asked.trials, asked.axes)
    if len(grouped(planned[:each], dataset)) > 1:
        raise RequestError(f"--folds {search.folds} don't fit one program, of a table, or of a set "
                           "that they divide unevenly: leave --study out.")
    first = assemble(0, planned[:each], request, dataset, here)
    study = storage.opened(search.study, name, first.ready.learner.ranking(request.hyper)[1])
    facts = facts_of(request, planned, dataset)
    storage.join(study, record.identity(request) | search._replace(study="")._asdict() | facts,
                 search.study)
    shown = search._replace(study=storage.shown(search.study))
    asked = asked._replace(search=shown, trials=[])
    _make(asked, facts, choose.describe(here.device))
    handout = _handout(study, asked, [trial.values for trial in planned[::each]])
    here.console.print(f"study: {asked.search.study}, {len(planned) // each} settings of {each} "
                       f"run{'s' * (each > 1)}, in {path}")
    refusals = Worker(asked, handout, dataset, first, planned).work()
    with contextlib.suppress(RunError) if refusals else contextlib.nullcontext():
        _tell(asked, handout, each, first)
    if refusals:
        raise refusals[0]
    return path


def _handout(study: optuna.Study, asked: Asked, settings: list[Values]) -> Handout:
    search, config = asked.search, asked.request.config
    study.sampler = TPESampler(constant_liar=True) if search.sampler else Listed(settings)
    study.pruner = pruning.pruner(search.halving, search.median, config.epochs)
    ranged = [a._replace(values=()) if a.span and search.samples else a for a in asked.axes]
    return Handout(study, ranged, len(settings), asked.request.place.heartbeat_seconds)


def _tell(asked: Asked, handout: Handout, each: int, group: Group) -> None:
    """The results of all processes, in the study's folder. Scores come from the storage; curves
    from the runs' own folders, of those that this process sees."""
    rows = sorted((row for trial in handout.trials().values() for row in trial.user_attrs["runs"]),
                  key=lambda row: row["run"])
    trials = [own for row in rows[::each] for own in _members(asked, row, row["run"] // each)]
    histories = {row["run"]: folder.history(asked.path / str(row["run"])) for row in rows}
    results.tell(asked._replace(trials=trials), rows, histories, [], group.ready,
                 group.ready.host.console)


def _by_program(trials: list[Trial], axes: Sequence[space.Axis]) -> list[Trial]:
    """Those of one compiled program together, numbered anew."""
    programs: dict[Any, list[Trial]] = {}
    for trial in trials:
        programs.setdefault(_static_values(axes, trial.values), []).append(trial)
    found = itertools.chain.from_iterable(programs.values())
    return [trial._replace(number=number) for number, trial in enumerate(found)]


def _static_values(axes: Sequence[space.Axis], values: Values) -> tuple[Any, ...]:
    """What the compiled program is of."""
    return tuple(values[axis.name] for axis in axes if not axis.traced)


def _members(asked: Asked, values: Values, number: int) -> list[Trial]:
    """The runs of a setting, an Optuna trial of this number: each trial's have numbers of their
    own, so that none ever writes where one that was lost did."""
    setting = tuple(values[axis.name] for axis in asked.axes)
    found = space.trials(asked, [setting])
    return [trial._replace(number=number * len(found) + trial.number) for trial in found]


def _make(asked: Asked, facts: dict[str, Any], device: str) -> None:
    """The folder of the study's runs, which the first process makes. Raises RequestError where
    there is another run's."""
    path, request, search = asked.path, asked.request, asked.search
    file = folder.HOLDS["sweep"]
    placed = request._replace(place=dataclasses.replace(request.place, run_dir=str(path)))
    if not (path / file).exists():
        try:
            folder.create(placed, "sweep")
        except RequestError:
            if not (path / file).exists():  # else another process has just made it
                raise
    folder.refuse_links(path)
    if not (path / file).exists():
        folder.write_config(path, folder.described(placed, search=search._asdict(), device=device,
                                                   **facts), file)
    saved = record.compare(path, request, facts, file)
    if saved.content["search"].get("study") != search.study:
        raise RequestError(f"{path} holds another sweep: name another folder by --run_dir.")


class Worker:
    """What one process does, of a study as `asked`. `first` is the group that serves what is like
    the first of the `planned` runs."""

    def __init__(
        self, asked: Asked, handout: Handout, dataset: Dataset, first: Group,
        planned: list[Trial],
    ):
        self._asked, self._handout, self._dataset, self._group = asked, handout, dataset, first
        self._static, self._most = _static_values(asked.axes, planned[0].values), len(planned)
        self._host, self._mine = first.ready.host, list[Setting]()
        self._programs, self._at_once = dict[int, Any](), 0
        self._refusals: list[RequestError] = []

    def work(self) -> list[RequestError]:
        """Until every setting has its result; why some of this process were left out."""
        own = self._asked.path / "processes" / f"{os.uname().nodename}-{os.getpid()}"
        with self._handout.alive(), Interruption() as interruption:
            try:
                while not self._handout.done():
                    if interruption.status:
                        raise Stopped(self._stopped, interruption.status)
                    if batch := self._batch():
                        self._train(batch, own, interruption)
                    else:
                        self._handout.take_up()
                        time.sleep(POLL_SECONDS)
            finally:
                self._handout.release(self._mine)
        return self._refusals

    def _refuse(self, error: RequestError) -> None:
        """The next setting doesn't fit: given back, it would end one process after another."""
        setting, *self._mine = self._mine
        self._refusals.append(error)
        self._host.console.print(f"setting {setting.trial.number} is left out: {error}")
        self._handout.tell(setting, None, [results.row(trial, [], REFUSED, self._group.ready)
                                           for trial in self._runs(setting)])

    @property
    def _stopped(self) -> str:
        on = going_on("sweep", self._asked.request.config, self._asked.path)
        return f"stopped; what it had is for the study's other processes. Go on with: {on}"

    def _batch(self) -> list[Setting]:
        """As many settings of one program as the devices train at once; one of another program
        that was handed out is kept for the next time."""
        if not self._mine and not self._ask():
            return []
        static = _static_values(self._asked.axes, self._mine[0].values)
        if static != self._static or not self._at_once:
            try:
                self._prepare(static)
            except RequestError as error:
                self._refuse(error)
                return []
        most = max(1, self._at_once // len(self._runs(self._mine[0])))
        while len(self._mine) < most and self._ask():
            if _static_values(self._asked.axes, self._mine[-1].values) != static:
                return self._mine[:-1]
        return self._mine[:most]

    def _ask(self) -> bool:
        setting = self._handout.ask()
        self._mine += [setting] if setting else []
        return setting is not None

    def _runs(self, setting: Setting) -> list[Trial]:
        return _members(self._asked, setting.values, setting.trial.number)

    def _prepare(self, static: tuple[Any, ...]) -> None:
        """The data for settings with these static values, and how many runs go at once: on a CPU
        one a core, elsewhere as many as the memory takes."""
        if static != self._static:
            self._group = assemble(0, self._runs(self._mine[0]), self._asked.request, self._dataset,
                                   self._host)
            self._static, self._programs = static, {}
        group, devices = self._group, size(self._group.mesh)
        if group.ready.device.platform == "cpu":
            self._at_once = max(choose.cores(), devices)
            return
        group = group._replace(trials=self._runs(self._mine[0]))
        runs = repeated(group, create(group), min(MOST_AT_ONCE * devices, self._most))
        with feed(group, 0) as fed:
            programs = compile_programs(group, runs, fed)
        self._programs[programs.members], self._at_once = programs, programs.at_once

    def _train(self, batch: list[Setting], own: Path, interruption: Interruption) -> None:
        trials = [trial for setting in batch for trial in self._runs(setting)]
        events = own / str(trials[0].number)
        events.mkdir(parents=True, exist_ok=True)
        group = self._group._replace(trials=trials)
        console = self._host.console
        with (Progress(console=console, disable=not console.is_terminal, transient=True) as bar,
              Tracked(self._asked.request.place.log) as log):
            lockstep = Handed(self._asked._replace(trials=trials), Events(events), interruption,
                              bar, self._handout, batch, self._programs, self._at_once, log)
            try:
                lockstep.train(group)
            except Stopped as error:
                raise Stopped(self._stopped, error.status) from None
        if lost := lockstep.tell(group):
            console.print(f"{len(lost)} of {len(batch)} settings were taken up by others, who "
                          "missed this process: type more --heartbeat_seconds.")
        self._mine = self._mine[len(batch):]
