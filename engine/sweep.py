"""A sweep from request to results: the host's side of population.py."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

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


def _whole(runs: Population, rows: list[dict[str, Any]]) -> np.ndarray:
    """Which members have only ever seen finite losses, bool [R]."""
    finite = [all(math.isfinite(row[k]) for k in ("loss", "val_loss")) for row in rows]
    return np.array(finite) & (np.asarray(runs.members.state.diverged_at) < 0)


def _ranked(rows: list[dict[str, Any]], whole: np.ndarray, positions: list[int]) -> list[int]:
    """The positions, best first, those that diverged last."""
    return sorted(positions, key=lambda at: -rows[at]["val_accuracy"] if whole[at] else math.inf)


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


class Sweep:
    """The loop over a study's groups."""

    def __init__(self, study: Study, console: Console):
        self.study, self.console = study, console
        self.path, self.events = study.path, Events(study.path)

    def _cuts(self, group: Group) -> dict[int, int]:
        factor = self.study.search.halving
        if not factor:
            return {}
        return space.rungs(len(group.trials), factor, group.ready.config.epochs)

    def train(self, group: Group, board: Board, interruption: Interruption) -> Standing:
        """Train a group to its end, from its newest checkpoint where there is one.

        Raises RunError, everything saved, where a signal asks to stop.
        """
        epochs, steps = group.ready.config.epochs, group.ready.lengths.epoch
        cuts = self._cuts(group)
        with checkpoint.Checkpoints(self.path / "checkpoints" / str(group.number)) as saved:
            runs = restored(group, saved, cuts) if saved.any() else create(group)
            self._forget(group, int(runs.step))
            programs = None
            while int(runs.step) < epochs * steps:
                if programs is None:
                    programs = compile_programs(group, runs, self.console)
                runs, seconds = self._epoch(group, programs, runs, board, interruption)
                best = None
                if int(runs.step) % steps == 0:
                    runs, kept, best = self._judge(group, programs, runs, seconds, cuts, board)
                    programs = programs if kept else None
                saved.save(runs, best, seconds)
                if interruption.status:
                    saved.wait()
                    raise RunError(
                        f"stopped at step {int(runs.step)} of {epochs * steps} of program "
                        f"{group.number + 1} and saved. Go on with: python launch.py sweep "
                        f"--resume {self.path}", interruption.status,
                    )
        return self._settle(group, runs)

    def _forget(self, group: Group, step: int) -> None:
        self.events.forget(group.number, step)
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
            board.worked(len(runs.members.seed) * min(size, steps - start) / steps, took)
            if interruption.status:
                break
        return runs, seconds

    def _judge(
        self, group: Group, programs: Programs, runs: Population, seconds: float,
        cuts: dict[int, int], board: Board,
    ) -> tuple[Population, bool, float | None]:
        """Evaluate, record, and let go on who may.

        Returns the population, whether it kept its size, and its best accuracy.
        """
        result = programs.evaluate(members=runs.members, validation=group.validation)
        rows, step = _rows(group, runs, result, seconds), int(runs.step)
        whole, numbers = _whole(runs, rows), np.asarray(runs.members.number).tolist()
        once = [at for at, number in enumerate(numbers) if number not in numbers[:at]]
        gone, epoch = self.events.status(), rows[0]["epoch"]
        for at in once:
            if whole[at]:
                folder.append_history(self.path / str(numbers[at]), rows[at])
                board.measured(numbers[at], rows[at])
            elif gone.get(numbers[at]) != "diverged":
                self._leaves(group, step, numbers[at], "diverged", board)
        ranking = _ranked(rows, whole, once)
        best = rows[ranking[0]]["val_accuracy"] if whole[ranking[0]] else None
        board.judged(epoch, group.ready.config.epochs)
        if epoch in cuts:
            kept, dropped = ranking[: cuts[epoch]], ranking[cuts[epoch] :]
            for at in dropped:
                if whole[at]:
                    _save_member(group, runs, at, self.path, rows[at]["val_accuracy"])
                    self._leaves(group, step, numbers[at], "dropped", board)
            members = population.select(runs.members, np.array(filled(group, sorted(kept))))
            return placed(group, Population(runs.step, members)), False, best
        if self.study.search.pbt and epoch < group.ready.config.epochs:
            names = [axis.name for axis in self.study.axes]
            runs, copies = _exploited(group, runs, ranking, names, self.study.config.seed)
            for to, source in copies:
                self.events.add(group.number, step, numbers[to], "copied",
                                source=numbers[source])
        return runs, True, best

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
    study = Study(path, config, search, axes, trials)
    sweep = Sweep(study, console)
    total = sum(t.config.epochs for t in trials)
    with Board(trials, total, console) as board, Interruption() as interruption:
        standings = [
            sweep.train(assemble(number, members, device, dataset, console), board, interruption)
            for number, members in enumerate(groups)
        ]
    results.write(study, standings, dataset, devices.describe(device), console)
    return path
