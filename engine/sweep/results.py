"""What a sweep found: a row a run, the best setting as a recipe, ensembles, the report.

Legend: R runs, N examples, C classes.
"""

import json
from typing import Any, NamedTuple

import numpy as np
import pandas
from rich.console import Console

from engine import errors
from engine.devices import choose
from engine.disk import files
from engine.doors import bring
from engine.errors import RunError
from engine.examples import Subset
from engine.judging.verdict import held_for_evaluation
from engine.learners.learner import Learner, jitted
from engine.optim import trees
from engine.report import page, settings
from engine.report.settings import unsaid
from engine.scores import lost
from engine.scores.calibration import calibration
from engine.setup import Setup
from engine.store import folder, record
from engine.sweep import ranking
from engine.sweep import report as sweep_report
from engine.sweep.charts import Histories
from engine.sweep.events import Events
from engine.sweep.found import Sweep
from engine.sweep.search import Search
from engine.sweep.space import Asked, Trial


class Standing(NamedTuple):
    """What a group leaves: its learner; by their numbers the values that its runs ended with, and
    the variables that the whole ones predict with."""

    learner: Learner
    hypers: dict[int, Any]
    models: dict[int, Any]


def row(
    trial: Trial, history: list[dict[str, Any]], status: str, ready: Setup
) -> dict[str, Any]:
    """A run's row of results.jsonl."""
    task, score = ready.task, ready.score
    names = dict.fromkeys(("loss", task.score, "val_loss", f"val_{task.score}", score))
    best = max if task.higher else min
    last = history[-1] if history else {}
    return (
        {"run": trial.number, "status": status, "seed": trial.config.seed, "fold": trial.fold}
        | trial.values | {"epochs": len(history)} | {name: last.get(name) for name in names}
        | {f"best_{score}": best((row[score] for row in history), default=None)}
        | trial.values  # again: a swept `epochs` stays the one asked for
    )


def _literal(value: Any) -> str:
    """A value as Python source, strings in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _differing(values: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    return {name: bring.written(getattr(values, name)) for name, default in defaults.items()
            if getattr(values, name) != default}


def _call(name: str, made: str, values: dict[str, str]) -> str:
    return f"{name} = {made}(\n" + "".join(f"    {k}={v},\n" for k, v in values.items()) + ")"


def recipe(trial: Trial, command: str, score: str, value: float) -> str:
    """A trial as a file for --config; one of objects says on top which are to be put in."""
    config, kind, objects = trial.whole, type(trial.hyper).__name__, unsaid(trial.config)
    other = _differing(config, settings.of_config())
    static = {k: k if k in objects else _literal(v) for k, v in other.items()}
    traced = {k: repr(v) for k, v in trial.hyper._asdict().items() if v is not None}
    said = [f"The best setting of a sweep: {score.replace('_', ' ')} {value:.4f}.",
            command.replace("\\", "\\\\").replace('"', '\\"')]
    imports, own = "from engine.config import Config, Hyper", ""
    if trees.values_of(config.model):
        imports = f"from engine.config import Config\nfrom engine.learners.trees import {kind}"
    elif kind != "Hyper":  # the class of the traced values is in the file of the user's optimizer
        imports = "from engine.config import Config\nfrom engine.doors.bring import first_type"
        own = f"{kind} = first_type({static['optimizer']}, None)"
    if objects:
        said.append(f"Put in what was an object in Python: {' and '.join(objects)}.")
    given = "\n".join(f"{name} = ...  # {what}" for name, what in objects.items())
    calls = f"{_call('config', 'Config', static)}\n{_call('hyper', kind, traced)}\n"
    head = '"""' + "\n\n".join(said) + '\n"""'
    return "\n\n".join(filter(None, (head, imports, given, own, calls)))


def command(asked: Asked) -> str:
    """The search as it would be typed again, in Python where data or parts were objects."""
    config, hyper, *_ = asked.request
    if (objects := unsaid(config)) and not asked.search.study:
        axes = dict(text.split("=", 1) for text in asked.search.axes)
        others = _differing(asked.search._replace(axes=()), Search._field_defaults)
        typed = "".join(f", {name}={value!r}" for name, value in others.items())
        return f"sweep(config, {axes!r}, hyper{', data=data' * ('data' in objects)}{typed})"
    words = [record.flag("sweep", text) for text in asked.search.axes]
    for values, defaults in ((asked.search._replace(axes=()), Search._field_defaults),
                             (config, settings.of_config()), (hyper, type(hyper)._field_defaults)):
        words += [record.flag(name, value) for name, value in _differing(values, defaults).items()]
    return " ".join(["python launch.py sweep", *words])


def _ensemble(
    name: str, numbers: set[int], standings: list[Standing], split: str, subset: Subset
) -> dict[str, Any]:
    """The mean of these members' probabilities, judged; what it says is by the first one's task, as
    `eval` has it. {} where some of it are no numbers, which is told."""
    found = [(standing.learner, variables) for standing in standings
             for number, variables in standing.models.items() if number in numbers]
    task, inputs, predicted = found[0][0].task, subset.split.inputs[subset.rows], []
    summed_NxC: np.ndarray = np.float32(0)  # type: ignore[assignment]
    for learner, variables in found:
        own_NxC = np.asarray(jitted(learner, "predict")(variables, inputs))
        summed_NxC = summed_NxC + own_NxC
        predicted.append(learner.task.said(own_NxC))  # not all own, which grow with the runs
    predicted_RxN, mean_NxC = np.stack(predicted), summed_NxC / len(predicted)
    labels_N = subset.targets
    if count := len(lost.rows(mean_NxC)):
        errors.tell(f"ensemble of {name}: {count:,} of {len(mean_NxC):,} predictions on {split} "
                    "are no numbers, so that it isn't scored")
        return {}
    return {
        "name": name, "runs": len(predicted), "split": split,
        "accuracy": float((task.said(mean_NxC) == labels_N).mean()),
        "mean_accuracy": float((predicted_RxN == labels_N).mean()),
        "ece": calibration(mean_NxC, labels_N).error,
        "disagreement": disagreement(predicted_RxN),
    }


def ensembles(
    asked: Asked, standings: list[Standing], best: list[int], ready: Setup
) -> list[dict[str, Any]]:
    """All whole runs, and those of the `best` setting, of two or more; none where folds leave no
    common examples, or a table's have features of their own, nor of what is no class, or is
    streamed, which each member would read again."""
    apart = asked.search.folds and (ready.columns or ready.judged is None)
    if ready.task.kind != "classes" or ready.task.any_outputs or apart or ready.stream:
        return []
    everyone = {number for standing in standings for number in standing.models}
    own = everyone & {*best}
    chosen = {"all runs": everyone} | ({"the best setting's": own} if own < everyone else {})
    judged = held_for_evaluation(ready)
    found = [_ensemble(name, numbers, standings, *judged) for name, numbers in chosen.items()
             if len(numbers) > 1]
    return [*filter(None, found)]


def disagreement(predicted_RxN: np.ndarray) -> float:
    """The share of examples on which two of R members differ, averaged over pairs of members."""
    from scipy.spatial.distance import pdist

    return float(pdist(predicted_RxN, "hamming").mean())


def write(asked: Asked, standings: list[Standing], ready: Setup, console: Console) -> Sweep:
    """What `tell` writes, of the runs' own folders. Raises RunError where every run diverged."""
    if asked.search.pbt:  # which has left its runs with other values
        left = standings[0].hypers
        asked = asked._replace(trials=[t._replace(hyper=left[t.number], values={
            name: float(f"{getattr(left[t.number], name):.4g}") for name in t.values
        }) for t in asked.trials])
    histories = {t.number: folder.history(asked.path / str(t.number)) for t in asked.trials}
    gone = Events(asked.path).status()
    found = [row(t, histories[t.number], gone.get(t.number, "done"), ready) for t in asked.trials]
    return tell(asked, found, histories, standings, ready, console)


def tell(
    asked: Asked, found: list[dict[str, Any]], histories: Histories, standings: list[Standing],
    ready: Setup, console: Console,
) -> Sweep:
    """results.jsonl and .csv, best.py, ensembles.json, the plots and report.html of the runs'
    rows `found`; prints the best. Raises RunError where every run diverged."""
    task, config = ready.task, asked.request.config
    folder.write_rows(asked.path / "results.jsonl", found)
    runs = pandas.DataFrame(found, dtype=object)
    runs.to_csv(asked.path / "results.csv", index=False, lineterminator="\r\n")
    axes = {a.name: list(dict.fromkeys(t.values[a.name] for t in asked.trials))
            for a in asked.axes}
    if asked.search.samples or asked.search.pbt:  # in any order
        axes = {name: sorted(values) for name, values in axes.items()}
    score = ready.learner.ranking(ready.hyper)
    tried = ranking.ranked(runs, axes, score)[1]
    best = tried.iloc[0]
    if not best["counted"]:
        raise RunError(f"all {len(found)} runs diverged: sweep smaller learning rates.", status=3)
    typed = command(asked)
    name = "validation accuracy" if score.name == "val_accuracy" else score.name
    trial = next(t for t in asked.trials if t.number == best["runs"][0])
    files.replace(asked.path / "best.py", recipe(trial, typed, name, best["mean"]))
    together = ensembles(asked, standings, best["runs"], ready)
    files.replace(asked.path / "ensembles.json", json.dumps(together, indent=2) + "\n")
    title = f"{bring.short(config.model)} on {config.dataset}: {len(found)} runs"
    for at, setting in tried[:5].iterrows():
        what = ", ".join(f"{name} {setting[name]}" for name in axes) or "every seed"
        gone = "".join(f", {setting[became]} {became}" for became in ranking.LOST
                       if setting[became])
        count = len(setting["runs"])
        console.print(f"{at + 1}. {what}: {task.score} {ranking.mean(setting)} "
                      f"({count} run{'s' if count > 1 else ''}{gone})")
    for e in together:
        console.print(
            f"ensemble of {e['name']} ({e['runs']}) on {e['split']}: accuracy {e['accuracy']:.4f} "
            f"against {e['mean_accuracy']:.4f} of one, calibration error {e['ece']:.4f}, "
            f"disagreement {e['disagreement']:.4f}"
        )
    missing = " and ".join(unsaid(trial.config))
    console.print(f"best setting: {asked.path / 'best.py'}"
                  + f", once you have put in its {missing}" * bool(missing))
    if ready.request.place.report:
        with page.spared("the report"):
            sweep_report.write(asked.path, title, choose.describe(ready.device), typed, axes, found,
                               histories, together, score, trial.config)
            console.print(f"report: {asked.path / 'report.html'}")
    return Sweep(asked.path, found, (trial.whole, trial.hyper))
