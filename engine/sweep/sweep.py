"""A sweep from request to results: the host's side of population.py."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from engine.devices import choose
from engine.doors import bring
from engine.errors import RequestError
from engine.job.host import Host, begin_alone
from engine.job.signals import Interruption
from engine.programs import memory
from engine.request import Request
from engine.setup import load, of_objects
from engine.sources.dataset import Dataset
from engine.store import folder, record
from engine.sweep import halving, results, space
from engine.sweep.board import Board
from engine.sweep.ensembles import Standing
from engine.sweep.group import assemble, grouped
from engine.sweep.lockstep import Lockstep
from engine.sweep.space import Search, Study, Trial


def _check(search: Search, trials: list[Trial]) -> None:
    """Raises RequestError for a search that its runs leave no room for."""
    if search.halving and len(trials) < search.halving:
        raise RequestError(f"--halving {search.halving} has {len(trials)} runs to choose from: "
                           "type more --seeds, --samples or values.")
    if search.halving and not halving.cuts(search, trials):
        raise RequestError(f"--halving {search.halving} has its first rung after epoch 1 of "
                           f"{search.halving} or more: type --epochs {search.halving} or more.")
    if search.pbt and len(trials) < 2:
        raise RequestError("--pbt needs 2 runs or more: type more values, --samples or --seeds.")


def run(request: Request, search: Search, resume: str = "") -> Path:
    """Carry a sweep out, or go on with the one in the folder `resume`; its folder."""
    axes = space.axes(search, request.hyper)
    _check(search, space.trials(request, search))
    host = begin_alone(request.place)
    dataset = load(request, host)
    request = of_objects(request, dataset, host)
    trials = space.trials(request, search)
    groups = grouped(trials, dataset)
    path = Path(resume) if resume else folder.create(request, "sweep")
    facts = {"fingerprint": dataset.fingerprint, "files": bring.digests(request.config),
             "swept_files": _files(trials)}
    with folder.alone(path):
        if resume:
            saved = record.compare(path, request, facts, "sweep.json")
            if saved.content.get("swept_files", {}) != facts["swept_files"]:
                raise RequestError(f"a swept file has changed since the sweep in {path} began: put "
                                   "it back, or start a new sweep in another --run_dir.")
        else:
            folder.write_config(path, folder.described(
                request, search=search._asdict(), device=choose.describe(host.device), **facts,
            ), "sweep.json")
        fixed = [a.name for a in axes if not a.traced]
        programs = "one program" if len(groups) == 1 else (
            f"{len(groups)} programs, compiled one by one for "
            f"{' and '.join(fixed) or 'folds of two sizes'}"
        )
        host.console.print(f"sweep: {path}, {len(trials)} runs in {programs}")
        _carry_out(Study(path, request, search, axes, trials), groups, dataset, host)
    return path


def _files(trials: list[Trial]) -> dict[str, str]:
    """The SHA-256 of each file of the user's that is swept, by its word."""
    words = {v for trial in trials for v in trial.values.values() if bring.is_file(v)}
    return {word: bring.digest(Path(word.rpartition(":")[0])) for word in sorted(words)}


def _carry_out(
    study: Study, groups: list[list[Trial]], dataset: Dataset, host: Host
) -> None:
    """Train the groups one after another; then the results of all."""
    total = sum(halving.run_epochs(len(members), halving.cuts(study.search, members),
                                   members[0].config.epochs) for members in groups)
    standings: list[Standing] = []
    refusals: list[RequestError] = []
    task = bring.task(study.request.config)
    with (Board(study.trials, total, host.console, task.score, task.higher) as board,
          Interruption() as interruption):
        lockstep = Lockstep(study, board, interruption, host)
        for number, members in enumerate(groups):
            try:
                with _short_of_memory():
                    group = assemble(number, members, study.request, dataset, host)
                    standings.append(lockstep.train(group))
                    ready = group.ready
            except RequestError as refusal:
                lockstep.refuse(number, members, refusal)
                refusals.append(refusal)
    if standings:
        results.write(study, standings, ready, host.console)
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
