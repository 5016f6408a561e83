"""A sweep from request to results: the host's side of population.py."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from engine import checkpoint, folder, loop, memory, metrics
from engine.config import Config, Hyper
from engine.devices import choose as devices
from engine.errors import RequestError, RunError
from engine.optim import schedule
from engine.pace import Pace
from engine.setup import Setup, begin_alone, load
from engine.signals import Interruption
from engine.sources.dataset import Dataset
from engine.sweep import population, results, space
from engine.sweep.board import Board
from engine.sweep.events import REFUSED, Events
from engine.sweep.group import (
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
from engine.sweep.population import Member, Population
from engine.sweep.results import Standing
from engine.sweep.space import Search, Study, Trial


def _hyper(member: Member) -> Hyper:
    """A member's values as they would be typed: float32's shortest decimals, the same bits."""
    return jax.tree.map(lambda x: float(str(x)), member.hyper)


def _save_member(path: Path, step: int, member: Member, accuracy: float) -> None:
    """A member, on the host, as an ordinary run's checkpoint in its own folder."""
    state = member.state._replace(step=np.int32(step))  # type: ignore[arg-type]  # on the host
    with checkpoint.Checkpoints(path / "checkpoints") as saved:
        if saved.latest() < step:  # else it was saved before the sweep was resumed
            saved.save(state, accuracy, 0.0)


def _write_config(path: Path, trial: Trial, ready: Setup) -> None:
    path.mkdir(exist_ok=True)
    config = dataclasses.replace(trial.config, run_dir=str(path))
    folder.write_config(path, folder.described(config, trial.hyper, **ready.facts))


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
    group: Group, runs: Population, verdict: Verdict, names: list[str], seed: int
) -> tuple[Population, list[tuple[int, int]]]:
    """Population-based training: the worst fifth go on as moved copies of the best fifth.

    Jaderberg et al. 2017. Returns (to, from) of every copy; number, seed and fold stay.
    """
    draw, ranking = np.random.default_rng((seed, int(runs.step))), verdict.ranking
    share = max(1, len(ranking) // 5)
    sources = [at for at in ranking[:share] if verdict.whole[at]]
    if not sources or len(ranking) < 2:
        return runs, []
    which = np.arange(len(verdict.numbers))
    copies = [(to, int(draw.choice(sources))) for to in ranking[-share:]]
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

    def __init__(self, study: Study, board: Board, interruption: Interruption, console: Console):
        self.study, self.board, self.console = study, board, console
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
        cuts = _cuts(self.study.search, group.trials)
        with checkpoint.Checkpoints(self.study.path / "checkpoints" / str(group.number)) as saved:
            runs, seconds = restored(group, saved) if saved.latest() >= 0 else (create(group), 0.0)
            self._begin(group, int(runs.step))
            done, begun = divmod(int(runs.step), steps)
            self.board.resumed(space.run_epochs(len(group.trials), cuts, done)
                               + _alive(runs) * begun / steps)
            programs = None
            while int(runs.step) < epochs * steps:
                if programs is None or programs.count != len(runs.members.seed):
                    programs = compile_programs(group, runs, self.console)
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
        position = int(runs.step) % steps
        while position < steps and not (seconds and self.interruption.status):
            count = min(self._pace.steps, steps - position)
            began = time.perf_counter()
            runs = programs.segment(
                population=runs, order=group.order, train_FxN=group.train, count=np.int32(count)
            )
            jax.block_until_ready(runs)
            took = time.perf_counter() - began
            self._pace.learn(count, took)
            position, seconds = position + count, seconds + took
            self.board.worked(_alive(runs) * count / steps, took)
        return runs, seconds

    def _judge(
        self, group: Group, programs: Programs, runs: Population, seconds: float,
        cuts: dict[int, int],
    ) -> Population:
        """Evaluate, record, and let go on who may."""
        result = programs.evaluate(members=runs.members, validation=group.validation)
        verdict = _verdict(runs, _rows(group, runs, result, seconds))
        epoch, epochs = verdict.rows[0]["epoch"], group.ready.config.epochs
        self._record(group, runs, verdict)
        self.board.judged(epoch, epochs)
        if epoch in cuts:
            return self._halve(group, runs, verdict, cuts[epoch])
        if self.study.search.pbt and epoch < epochs:
            return self._exploit(group, runs, verdict)
        return runs

    def _record(self, group: Group, runs: Population, verdict: Verdict) -> None:
        gone, trials = self.events.status(), {t.number: t for t in group.trials}
        hypers = jax.device_get(runs.members.hyper)
        for at in sorted(verdict.ranking):
            number = verdict.numbers[at]
            if verdict.whole[at]:
                folder.append_history(self._folder(number), verdict.rows[at])
                values = {
                    name: float(f"{getattr(hypers, name)[at]:.6g}") if name in Hyper._fields else v
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
                accuracy = verdict.rows[at]["val_accuracy"]
                member = population.select(members, at)
                _save_member(self._folder(number), step, member, accuracy)
                self._leaves(group.number, step, number, "dropped")
        kept = np.array(filled(group, sorted(verdict.ranking[:count])))
        return placed(group, Population(runs.step, population.select(runs.members, kept)))

    def _exploit(self, group: Group, runs: Population, verdict: Verdict) -> Population:
        names = [axis.name for axis in self.study.axes]
        moved, copies = _exploited(group, runs, verdict, names, self.study.config.seed)
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
                accuracy = folder.history(self._folder(number))[-1]["val_accuracy"]
                _save_member(self._folder(number), step, member, accuracy)
                whole.append(at)
        variables = jax.tree.map(lambda x: x[np.array(whole, int)], members.state.variables)
        return Standing(group.ready.model, [numbers[at] for at in whole], variables)


def run(config: Config, hyper: Hyper, search: Search, resume: str = "") -> Path:
    """Carry a sweep out, or go on with the one in the folder `resume`; its folder."""
    axes = space.axes(search)
    trials = space.trials(config, hyper, search)
    if search.halving and len(trials) < search.halving:
        raise RequestError(f"--halving {search.halving} has {len(trials)} runs to choose from: "
                           "type more --seeds, --samples or values.")
    if search.halving and not _cuts(search, trials):
        raise RequestError(f"--halving {search.halving} has its first rung after epoch 1 of "
                           f"{search.halving} or more: type --epochs {search.halving} or more.")
    if search.pbt and len(trials) < 2:
        raise RequestError("--pbt needs 2 runs or more: type more values, --samples or --seeds.")
    device, console = begin_alone(config)
    dataset = load(config)
    groups = grouped(trials, dataset)
    path = Path(resume) if resume else folder.create(config, "sweep")
    with folder.alone(path):
        if resume:
            folder.open_to_resume(path, config, hyper, dataset.fingerprint, "sweep.json")
        else:
            folder.write_config(path, folder.described(
                config, hyper, search=search._asdict(), fingerprint=dataset.fingerprint,
                device=devices.describe(device),
            ), "sweep.json")
        fixed = [a.name for a in axes if not a.traced]
        programs = "one program" if len(groups) == 1 else (
            f"{len(groups)} programs, compiled one by one for "
            f"{' and '.join(fixed) or 'folds of two sizes'}"
        )
        console.print(f"sweep: {path}, {len(trials)} runs in {programs}")
        _carry_out(Study(path, config, hyper, search, axes, trials), groups, device, dataset,
                   console)
    return path


def _carry_out(
    study: Study, groups: list[list[Trial]], device: jax.Device, dataset: Dataset,
    console: Console,
) -> None:
    """Train the groups one after another; then the results of all."""
    total = sum(
        space.run_epochs(len(members), _cuts(study.search, members), members[0].config.epochs)
        for members in groups
    )
    standings: list[Standing] = []
    refusals: list[RequestError] = []
    with Board(study.trials, total, console) as board, Interruption() as interruption:
        sweep = Sweep(study, board, interruption, console)
        for number, members in enumerate(groups):
            try:
                with _short_of_memory():
                    group = assemble(number, members, device, dataset, console)
                    standings.append(sweep.train(group))
                    ready = group.ready
            except RequestError as refusal:
                sweep.refuse(number, members, refusal)
                refusals.append(refusal)
    if standings:
        results.write(study, standings, ready, console)
    elif not list(study.path.glob("checkpoints/[0-9]*/[0-9]*")):
        (study.path / folder.HOLDS["sweep"]).unlink()  # so that its folder is free for another
    if refusals:
        raise refusals[0]


@contextlib.contextmanager
def _short_of_memory() -> Iterator[None]:
    """A lack of memory as a RequestError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not memory.exhausted(error):
            raise
        raise RequestError("the device ran out of memory: sweep fewer runs at once, or type a "
                           "smaller --batch_size.") from None
