"""Runs compared: a short table in the terminal, and a page."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from engine.command.scores import table
from engine.doors import bring
from engine.errors import RequestError, RunError, visible
from engine.errors import tell as say
from engine.judging import judge
from engine.learners import threshold
from engine.learners.chosen import task_of
from engine.place import Place
from engine.report import comparison
from engine.report.comparison import Compared
from engine.store import folder, record, target

FILE = "comparison.html"


def tell(place: Place, words: Sequence[str], output: str) -> None:
    """Compare the runs in the folders `words`, print how they stand, and write the page to
    `output`. Raises RequestError for what can't be compared, before anything is computed."""
    file = target.of(output or FILE, ".html")
    runs = [_judged(saved, run, place) for saved, run in _read(words)]
    best, *others = comparison.ranked(runs)
    differences = [comparison.difference(best, other) for other in others]
    score, told = best.task.score, {d.other: d for d in differences}
    rows = []
    for run in (best, *others):
        found = told.get(run.name)
        rows.append((run.name, run.metrics[score], found and 0.0 - found.value,  # never -0.0
                     *([0.0 - v for v in found.interval[::-1]] if found and not found.why
                       else (None, None))))
    lines = table(["run", score, "less the best", "95% from", "to"], rows)[:-1]
    print("\n".join(lines))
    print(visible(comparison.verdict(differences), ""))
    comparison.write(file, (best, *others), differences)
    print(f"report: {file}")


def _read(words: Sequence[str]) -> list[tuple[Place, Compared]]:
    """The runs' records, and where each was trained. Raises RequestError for fewer than two, for a
    folder that is none, and for runs that have learned different things."""
    paths = list(dict.fromkeys(Path(os.path.normpath(word)) for word in words))
    if len(paths) < 2:
        raise RequestError("report compares the runs of two folders or more: python launch.py "
                           "report runs/A runs/B; the page of one run is its report.html.")
    found = []
    for path in paths:
        if (path / folder.HOLDS["sweep"]).exists():
            raise RequestError(f"{path} is a sweep's folder: name runs of it, {path}/0 {path}/1.")
        saved = record.read(path / "config.json")
        task = bring.task(saved.request.config)
        if task.score == "loss":  # whose numbers are of the targets that are learned
            task = task_of(saved.request.config, folder.columns(path, saved.content))
        found.append((saved.request.place, Compared(str(path), saved.content, folder.history(path),
                                     folder.metrics(path), task)))
    kinds = {(type(run.task).__name__, run.task.measure): run.name for _, run in found}
    if len(kinds) > 1:
        told = " and ".join(f"{name} learned {kind} ({measure})"
                            for (kind, measure), name in [*kinds.items()][:2])
        raise RequestError(f"{told}: only runs of one task can be compared" + (
            ", and by their loss only those of one." if task.score == "loss" else "."))
    return found


def _judged(saved: Place, run: Compared, place: Place) -> Compared:
    """With what its best checkpoint says of the examples that judged it, or why it can't."""
    path = Path(run.name)
    where = dataclasses.replace(saved, device=place.device, compile_cache=place.compile_cache,
                                data_dir=place.data_dir or saved.data_dir)
    say(f"judging {path}")
    try:
        by = judge.judge_of(path, None, None, where)
        learner = threshold.kept(by.learner, path, run.metrics)
        _, judged = judge.restored(path, by, learner, "best")
    except (RequestError, RunError) as error:
        if run.metrics:
            return run._replace(why=f"{path} can't be judged again ({error})")
        raise
    found = learner.task.summarise(judged, by.names)
    examples = str(run.saved.get("fingerprint")), by.facts["split"]
    return run._replace(metrics=found | run.metrics, task=learner.task, examples=examples,
                        judged=judged)
