"""A sweep from request to results: the host's side of population.py."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from engine import checkpoint, devices, folder, loop, metrics, population, results, space
from engine.board import Board
from engine.config import Config, Hyper
from engine.errors import RequestError, RunError
from engine.events import Events
from engine.group import (
    Group,
    Programs,
    assemble,
    compile_programs,
    create,
    filled,
    grouped,
    placed,
    restored,
)
from engine.optim import schedule
from engine.population import Population
from engine.results import Standing
from engine.setup import Setup, find, plain_console
from engine.signals import Interruption
from engine.space import Search, Study, Trial

SEGMENTS = 4  # an epoch, so that a signal needn't wait for a whole population's


def _save_member(group: Group, runs: Population, at: int, path: Path, accuracy: float) -> None:
    """One member as an ordinary run's checkpoint in its own folder."""
    member = jax.device_get(jax.tree.map(lambda x: x[at], runs.members))
    number = int(member.number)
    trial = next(t for t in group.trials if t.number == number)
    hyper = jax.tree.map(float, member.hyper)
    _write_config(path / str(number), trial._replace(hyper=hyper), group.ready)
    state = member.state._replace(step=np.asarray(jax.device_get(runs.step)))
    with checkpoint.Checkpoints(path / str(number) / "checkpoints") as saved:
        saved.save(state, accuracy, 0.0)


def _write_config(path: Path, trial: Trial, ready: Setup) -> None:
    path.mkdir(exist_ok=True)
    config = dataclasses.replace(trial.config, run_dir=str(path))
    folder.write_config(
        path, config, trial.hyper, device=devices.describe(ready.device),
        classes=ready.dataset.classes, image_shape=ready.data.train.image_shape,
        fingerprint=ready.dataset.fingerprint,
    )


def _rows(
    group: Group, runs: Population, result: metrics.Evaluation, seconds: float
) -> list[dict[str, Any]]:
    """This epoch of every member, as history.jsonl has it."""
    ready, step = group.ready, int(runs.step)
    values = jax.device_get(jax.vmap(loop.history_row)(runs.members.state.tally, result.tally))
    rates = np.asarray(runs.members.hyper.learning_rate)
    course = float(schedule(ready.config, ready.lengths)(step - 1))
    return [
        {"epoch": step // ready.lengths.epoch, "step": step,
         "learning_rate": float(rate) * course, "seconds": seconds / len(rates)}
        | {name: float(column[i]) for name, column in values.items()}
        for i, rate in enumerate(rates)
    ]


def _alive(runs: Population) -> int:
    """How many runs are in a population, without the repeats that fill a mesh."""
    return len(np.unique(runs.members.number))


class Verdict(NamedTuple):
    """An epoch's outcome: every member's row, which are whole, and their positions, best first.

    Repeats that fill a mesh are no positions of their own.
    """

    rows: list[dict[str, Any]]
    numbers: list[int]
    whole: list[bool]
    ranking: list[int]

    @property
    def best(self) -> float | None:
        """The best accuracy of a whole member."""
        first = self.ranking[0]
        return self.rows[first]["val_accuracy"] if self.whole[first] else None


def _verdict(runs: Population, rows: list[dict[str, Any]]) -> Verdict:
    """A member is whole while its losses are finite; one that isn't ranks last."""
    numbers = np.asarray(runs.members.number).tolist()
    steady = np.asarray(runs.members.state.diverged_at) < 0
    whole = [bool(ok) and math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])
             for ok, row in zip(steady, rows, strict=True)]
    once = [at for at, number in enumerate(numbers) if number not in numbers[:at]]
    ranking = sorted(once, key=lambda at: -rows[at]["val_accuracy"] if whole[at] else math.inf)
    return Verdict(rows, numbers, whole, ranking)


def _exploited(
    group: Group, runs: Population, ranking: list[int], names: list[str], seed: int
) -> tuple[Population, list[tuple[int, int]]]:
    """Population-based training: the worst fifth go on as moved copies of the best fifth.

    Jaderberg et al. 2017. Returns (to, from) of every copy; number, seed and fold stay.
    """
    draw = np.random.default_rng((seed, int(runs.step)))
    share = max(1, len(ranking) // 5)
    which = np.arange(len(runs.members.seed))
    copies = [(to, int(draw.choice(ranking[:share]))) for to in ranking[-share:]]
    for to, source in copies:
        which[to] = source
    members = jax.device_get(population.select(runs.members, which))
    hyper = members.hyper._asdict()
    for name in names:
        column = np.array(hyper[name])
        for to, _ in copies:
            column[to] = space.perturbed(name, float(column[to]), bool(draw.random() < 0.5))
        hyper[name] = column
    own = runs.members
    members = members._replace(
        hyper=Hyper(**hyper), seed=own.seed, fold=own.fold, number=own.number
    )
    return placed(group, Population(runs.step, members)), copies


def _cuts(search: Search, trials: list[Trial]) -> dict[int, int]:
    """After which epoch how many of a group's runs go on, where they are halved."""
    if not search.halving:
        return {}
    return space.rungs(len(trials), search.halving, trials[0].config.epochs)


class Sweep:
    """The loop over a study's groups."""

    def __init__(self, study: Study, console: Console):
        self.study, self.console = study, console
        self.path, self.events = study.path, Events(study.path)

    def train(self, group: Group, board: Board, interruption: Interruption) -> Standing:
        """Train a group to its end, from its newest checkpoint where there is one.

        Raises RunError, everything saved, where a signal asks to stop.
        """
        epochs, steps = group.ready.config.epochs, group.ready.lengths.epoch
        cuts = _cuts(self.study.search, group.trials)
        with checkpoint.Checkpoints(self.path / "checkpoints" / str(group.number)) as saved:
            runs, seconds = (
                restored(group, saved, cuts) if saved.any() else (create(group), 0.0)
            )
            self._begin(group, int(runs.step), board)
            done, begun = divmod(int(runs.step), steps)
            board.resumed(space.run_epochs(len(group.trials), cuts, done)
                          + _alive(runs) * begun / steps)
            programs = None
            while int(runs.step) < epochs * steps:
                if programs is None or programs.count != len(runs.members.seed):
                    programs = compile_programs(group, runs, self.console)
                runs, took = self._epoch(group, programs, runs, board, interruption)
                seconds, best = seconds + took, None
                if int(runs.step) % steps == 0:
                    runs, best = self._judge(group, programs, runs, seconds, cuts, board)
                    seconds = 0.0
                saved.save(runs, best, seconds)
                if interruption.status:
                    saved.wait()
                    raise RunError(
                        f"stopped at step {int(runs.step)} of {epochs * steps} of program "
                        f"{group.number + 1} and saved. Go on with: python launch.py sweep "
                        f"--resume {self.path}", interruption.status,
                    )
        return self._settle(group, runs)

    def _begin(self, group: Group, step: int, board: Board) -> None:
        """A folder for every member; what was recorded after the checkpoint will come again."""
        self.events.forget(group.number, step)
        for run in self.events.status().keys() & {t.number for t in group.trials}:
            board.left(run)
        for trial in group.trials:
            _write_config(self.path / str(trial.number), trial, group.ready)
            folder.history(self.path / str(trial.number), up_to_step=step)

    def _epoch(
        self, group: Group, programs: Programs, runs: Population, board: Board,
        interruption: Interruption,
    ) -> tuple[Population, float]:
        """The rest of the current epoch, or as far as a signal lets it go; its seconds."""
        steps, seconds = group.ready.lengths.epoch, 0.0
        position = int(runs.step) % steps
        size = -(-steps // SEGMENTS)
        for start in range(position, steps, size):
            began = time.perf_counter()
            runs = programs.segment(
                runs=runs, order=group.order, train=group.train,
                count=np.int32(min(size, steps - start)),
            )
            jax.block_until_ready(runs)
            took = time.perf_counter() - began
            seconds += took
            board.worked(_alive(runs) * min(size, steps - start) / steps, took)
            if interruption.status:
                break
        return runs, seconds

    def _judge(
        self, group: Group, programs: Programs, runs: Population, seconds: float,
        cuts: dict[int, int], board: Board,
    ) -> tuple[Population, float | None]:
        """Evaluate, record, and let go on who may; the population and its best accuracy."""
        result = programs.evaluate(members=runs.members, validation=group.validation)
        verdict = _verdict(runs, _rows(group, runs, result, seconds))
        epoch, epochs = verdict.rows[0]["epoch"], group.ready.config.epochs
        self._record(group, int(runs.step), verdict, board)
        board.judged(epoch, epochs)
        if epoch in cuts:
            runs = self._halve(group, runs, verdict, cuts[epoch], board)
        elif self.study.search.pbt and epoch < epochs:
            runs = self._exploit(group, runs, verdict)
        return runs, verdict.best

    def _record(self, group: Group, step: int, verdict: Verdict, board: Board) -> None:
        gone = self.events.status()
        for at in sorted(verdict.ranking):
            number = verdict.numbers[at]
            if verdict.whole[at]:
                folder.append_history(self.path / str(number), verdict.rows[at])
                board.measured(number, verdict.rows[at])
            elif gone.get(number) != "diverged":
                self._leaves(group, step, number, "diverged", board)

    def _halve(
        self, group: Group, runs: Population, verdict: Verdict, count: int, board: Board
    ) -> Population:
        """The best `count` members; the others keep what they have learned in their folders."""
        for at in verdict.ranking[count:]:
            if verdict.whole[at]:
                accuracy = verdict.rows[at]["val_accuracy"]
                _save_member(group, runs, at, self.path, accuracy)
                self._leaves(group, int(runs.step), verdict.numbers[at], "dropped", board)
        kept = filled(group, sorted(verdict.ranking[:count]))
        return placed(group, Population(runs.step, population.select(runs.members, np.array(kept))))

    def _exploit(self, group: Group, runs: Population, verdict: Verdict) -> Population:
        names = [axis.name for axis in self.study.axes]
        seed = self.study.config.seed
        moved, copies = _exploited(group, runs, verdict.ranking, names, seed)
        for to, source in copies:
            self.events.add(group.number, int(runs.step), verdict.numbers[to], "copied",
                            source=verdict.numbers[source])
        return moved

    def _leaves(self, group: Group, step: int, run: int, how: str, board: Board) -> None:
        self.events.add(group.number, step, run, how)
        board.left(run)

    def _settle(self, group: Group, runs: Population) -> Standing:
        """Every member that is left, saved in its own folder."""
        gone = self.events.status()
        numbers = np.asarray(runs.members.number).tolist()
        finite = np.array([n not in gone and n not in numbers[:i] for i, n in enumerate(numbers)])
        for at in np.flatnonzero(finite):
            accuracy = folder.history(self.path / str(numbers[at]))[-1]["val_accuracy"]
            _save_member(group, runs, int(at), self.path, accuracy)
        return Standing(group, runs, finite)


def run(config: Config, hyper: Hyper, search: Search, resume: str = "") -> Path:
    """Carry a sweep out, or go on with the one in the folder `resume`; its folder."""
    console = plain_console()
    axes = space.axes(search)
    trials = space.trials(config, hyper, search)
    if search.halving and len(trials) < search.halving:
        raise RequestError(f"--halving {search.halving} has {len(trials)} runs to choose from: "
                           "type more --seeds, --samples or values.")
    if search.pbt and len(trials) < 2:
        raise RequestError("--pbt needs 2 runs or more: type more values, --samples or --seeds.")
    device, dataset = find(config, console)
    groups = grouped(trials, dataset)
    if resume:
        path = Path(resume)
        folder.open_to_resume(path, config, hyper, dataset.fingerprint, "sweep.json")
    else:
        path = folder.create(config, "sweep")
        folder.write_config(
            path, config, hyper, "sweep.json", search=search._asdict(),
            fingerprint=dataset.fingerprint, device=devices.describe(device),
        )
    fixed = [a.name for a in axes if not a.traced]
    programs = "one program" if len(groups) == 1 else (
        f"{len(groups)} programs, compiled one by one for "
        f"{' and '.join(fixed) or 'folds of two sizes'}"
    )
    console.print(f"sweep: {path}, {len(trials)} runs in {programs}")
    study = Study(path, config, hyper, search, axes, trials)
    sweep = Sweep(study, console)
    total = sum(
        space.run_epochs(len(members), _cuts(search, members), members[0].config.epochs)
        for members in groups
    )
    with Board(trials, total, console) as board, Interruption() as interruption:
        standings = [
            sweep.train(assemble(number, members, device, dataset, console), board, interruption)
            for number, members in enumerate(groups)
        ]
    results.write(study, standings, dataset, devices.describe(device), console)
    return path
