"""Runs side by side: curves over each other, scores, what differs in their configuration, and
whether their difference is more than chance. N examples, R resamples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.console.number import number
from engine.disk.files import replace
from engine.doors.bring import telling
from engine.drawn import charts
from engine.drawn.charts import Line
from engine.errors import RequestError
from engine.report import page, settings
from engine.scores import bootstrap
from engine.scores.inverse import inverts
from engine.scores.judged import Judged
from engine.task import Task

ACCURACY, F1 = ("classes", "accuracy"), ("labels", "f1_micro")


class Compared(NamedTuple):
    """A run: its name, config.json's content, its epochs' rows, its scores as metrics.json has
    them; `examples` say which ones judged it now, with `judged` what was said of them, None where
    they can't be had, for the reason `why`."""

    name: str
    saved: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    task: Task
    examples: tuple[str, ...] = ()
    judged: Judged | None = None
    why: str = ""


class Difference(NamedTuple):
    """Of a run's score less another's, on the same examples: with the `interval` of a bootstrap of
    pairs; of classes, how many examples each alone had right, and the probability of a split as
    uneven by chance (McNemar 1947, exact), else None."""

    name: str
    other: str
    value: float
    interval: list[float]
    alone: tuple[int, int] | None = None
    probability: float | None = None
    why: str = ""

    @property
    def chance(self) -> str:
        """Why it may be chance, at 5%, by the interval or by the test; '' where it isn't."""
        if self.interval[0] <= 0 <= self.interval[1]:
            return "0 is within the 95% interval"
        uneven = self.probability is not None and self.probability >= 0.05
        return f"McNemar's p is {self.probability:.4f}" if uneven else ""


def _is(task: Task, kind: str, score: str) -> bool:
    return (task.kind, task.score) == (kind, score)


def _numbers(task: Task, judged: Judged) -> np.ndarray | None:
    """Numbers [K, N] of each example whose means make the score, see `_score`; None where no mean
    makes it, or what is said doesn't tell them."""
    if _is(task, *ACCURACY):
        return np.asarray([task.said(judged.predicted) == judged.targets], np.float64)
    if _is(task, *F1):
        there = judged.targets > 0.5
        said = judged.predicted >= task.threshold  # type: ignore[attr-defined]
        return np.asarray([(said & there).sum(1), (said != there).sum(1)], np.float64)
    try:
        with telling("scores"):
            outputs = task.outputs(judged.predicted)  # type: ignore[arg-type]
            back: Any = task.predict(outputs)
            each: Any = {"loss": task.loss(outputs, judged.targets, None),  # type: ignore[arg-type]
                         **task.scores(outputs, judged.targets)}  # type: ignore[arg-type]
    except RequestError:
        return None
    if task.score not in each or not inverts(back, judged.predicted):
        return None
    return np.asarray(each[task.score], np.float64)[None]


def _score(task: Task, means: np.ndarray) -> np.ndarray:
    """Of means [R, K]: accuracy or an error itself; of labels F1, of hits and wrong ones."""
    if _is(task, *F1):
        return 2 * means[:, 0] / np.maximum(2 * means[:, 0] + means[:, 1], 1e-12)
    return means[:, 0]


def difference(a: Compared, b: Compared) -> Difference:
    """The score of `a` less that of `b`; with a reason in `why` where they have no common examples.
    """
    value = a.metrics[a.task.score] - b.metrics[b.task.score]
    blank = Difference(a.name, b.name, value, [], why=a.why or b.why)
    if blank.why:
        return blank
    assert a.judged and b.judged
    if a.examples != b.examples or not np.array_equal(a.judged.targets, b.judged.targets):
        return blank._replace(why=f"{a.name} and {b.name} were judged on other examples")
    first, second = _numbers(a.task, a.judged), _numbers(b.task, b.judged)
    if first is None or second is None:
        return blank._replace(why=f"their {a.task.score} is no mean over examples that what they "
                                  "predict tells")
    own, numbers = len(first), np.concatenate([first, second])

    def less(means: np.ndarray) -> dict[str, np.ndarray]:
        return {"": _score(a.task, means[:, :own]) - _score(b.task, means[:, own:])}

    found = blank._replace(value=float(less(numbers.mean(axis=1)[None])[""][0]),
                           interval=bootstrap.intervals(numbers, less)[""])
    if not _is(a.task, *ACCURACY):
        return found
    from scipy.stats import binomtest

    alone = int((numbers[0] > numbers[1]).sum()), int((numbers[1] > numbers[0]).sum())
    chance = binomtest(alone[0], sum(alone)).pvalue if any(alone) else 1.0
    return found._replace(alone=alone, probability=float(chance))


def ranked(runs: Sequence[Compared]) -> list[Compared]:
    """Best first, by the score of their task."""
    task = runs[0].task
    return sorted(runs, key=lambda run: run.metrics[task.score], reverse=task.higher)


def verdict(differences: Sequence[Difference]) -> str:
    """In a sentence: what the best run is better than."""
    known = [d for d in differences if not d.why]
    if not known:
        return f"Whether it is more than chance can't be told: {differences[0].why}."
    over = [f"{d.other} by {abs(d.value):.4f}, more than chance: 95% interval "
            f"{min(map(abs, d.interval)):.4f} to {max(map(abs, d.interval)):.4f}"
            for d in known if not d.chance]
    level = [f"{d.other}: {d.chance}" for d in known if d.chance]
    told = [f"better than {'; '.join(over)}"] * bool(over)
    told += [f"not told apart from {'; '.join(level)}"] * bool(level)
    told += [f"No test of {d.other}, since {d.why}" for d in differences if d.why]
    return f"{known[0].name}: {'. '.join(told)}."


def curves(runs: Sequence[Compared]) -> charts.Panels:
    """Validation of the best runs over each other, by epoch."""
    shown = runs[: charts.COLOURS]
    names = [name for name in dict.fromkeys(("val_loss", f"val_{runs[0].task.score}"))
             if any(row.get(name) is not None for run in shown for row in run.history)]
    panels = [charts.panel(name.replace("val_", "validation ").replace("_", " "), [
        Line(run.name, f"c{at}", [(row["epoch"], row.get(name)) for row in run.history])
        for at, run in enumerate(shown)], "epoch", whole=True) for name in names]
    return charts.Panels(panels, [(f"c{at}", run.name) for at, run in enumerate(shown)])


def differing(runs: Sequence[Compared]) -> list[list[Any]]:
    """A row a setting that isn't the same in all: its name, and each run's value."""
    every = [settings.asked(run.saved) for run in runs]
    names = dict.fromkeys(name for asked in every for name in asked)
    rows = [[name, *(asked.get(name) for asked in every)] for name in names]
    return [row for row in rows if any(value != row[1] for value in row[2:])]


def scores(runs: Sequence[Compared]) -> tuple[list[str], list[list[Any]]]:
    """The head and a row a run: its scores, its best epoch, what it took."""
    task = runs[0].task
    names = [name for name in dict.fromkeys((task.score, *(task.headline or ("loss",))))
             if any(run.metrics.get(name) is not None for run in runs)]
    head = ["run", names[0], "from", "to", *names[1:], "epoch", "parameters", "training, s"]
    rows = []
    for run in runs:
        first, *others = (run.metrics.get(name) for name in names)
        low, high = run.metrics.get("interval", {}).get(task.score, (None, None))
        took = run.metrics.get("seconds_train")
        rows.append([run.name, first, low, high, *others, run.metrics.get("epoch"),
                     run.metrics.get("parameters"), took and round(took)])
    return [name.replace("_", " ") for name in head], rows


def write(file: Path, runs: Sequence[Compared], differences: Sequence[Difference]) -> None:
    """The page of `runs`, best first, with the `differences` of the first from each other."""
    sets = dict.fromkeys(run.saved["config"]["dataset"] for run in runs)
    task, best = runs[0].task, runs[0]
    text = page.render(
        "comparison.html", title=f"{len(runs)} runs on {', '.join(sets)}", best=best,
        score=task.score.replace("_", " "), value=number(best.metrics[task.score]),
        spread=best.metrics.get("interval", {}).get(task.score),
        verdict=verdict(differences), differences=[d for d in differences if not d.why],
        apart=[d for d in differences if d.why], scores=scores(runs), curves=curves(runs),
        differing=(["setting", *(run.name for run in runs)], differing(runs)),
        lower=not task.higher, more=max(0, len(runs) - charts.COLOURS),
    )
    replace(file, text)
