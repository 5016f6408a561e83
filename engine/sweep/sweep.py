"""A sweep from request to results: the host's side of population.py."""

from pathlib import Path

import jax
from rich.progress import Progress

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
from engine.sweep import results, space
from engine.sweep.ensembles import Standing
from engine.sweep.group import assemble, grouped
from engine.sweep.lockstep import Lockstep
from engine.sweep.space import Search, Study, Trial


def run(request: Request, search: Search, resume: str = "") -> Path:
    """Carry a sweep out, or go on with the one in the folder `resume`; its folder."""
    axes = space.axes(search, request.hyper)
    space.trials(request, search)  # refused before a device is asked for
    host = begin_alone(request.place)
    dataset = load(request, host)
    request = of_objects(request, dataset, host)
    trials = space.trials(request, search)
    groups = grouped(trials, dataset)
    path = Path(resume) if resume else folder.create(request, "sweep")
    swept = {v for trial in trials for v in trial.values.values() if bring.is_file(v)}
    facts = {"fingerprint": dataset.fingerprint, "files": bring.digests(request.config),
             "swept_files": {w: bring.digest(Path(w.rpartition(":")[0])) for w in sorted(swept)}}
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
        fixed = " and ".join(a.name for a in axes if not a.traced) or "folds of two sizes"
        programs = "one program" if len(groups) == 1 else \
            f"{len(groups)} programs, compiled one by one for {fixed}"
        host.console.print(f"sweep: {path}, {len(trials)} runs in {programs}")
        _carry_out(Study(path, request, search, axes, trials), groups, dataset, host)
    return path


def _carry_out(
    study: Study, groups: list[list[Trial]], dataset: Dataset, host: Host
) -> None:
    """Train the groups one after another; then the results of all."""
    standings: list[Standing] = []
    refusals: list[RequestError] = []
    with (Progress(console=host.console, disable=not host.console.is_terminal) as progress,
          Interruption() as interruption):
        lockstep = Lockstep(study, interruption, host, progress)
        for number, members in enumerate(groups):
            try:
                group = assemble(number, members, study.request, dataset, host)
                standings.append(lockstep.train(group))
                ready = group.ready
                continue
            except RequestError as error:
                refusals.append(error)
            except jax.errors.JaxRuntimeError as error:
                if not memory.exhausted(error):
                    raise
                refusals.append(RequestError("the device ran out of memory: sweep fewer runs at "
                                             "once, or type a smaller --batch_size."))
            lockstep.refuse(number, members, refusals[-1])
    if standings:
        results.write(study, standings, ready, host.console)
    elif not list(study.path.glob("checkpoints/[0-9]*/[0-9]*")):
        (study.path / folder.HOLDS["sweep"]).unlink()  # so that its folder is free for another
    if refusals:
        raise refusals[0]
