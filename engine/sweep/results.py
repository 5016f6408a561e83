"""What a sweep found: a row a run, ensembles, the best setting as a recipe, the report."""

import csv
import dataclasses
import json
import math
import shlex
from typing import Any

from rich.console import Console

from engine.config import Config
from engine.devices import choose
from engine.doors import bring
from engine.errors import RunError
from engine.setup import Setup
from engine.store import folder
from engine.sweep import ranking
from engine.sweep import report as sweep_report
from engine.sweep.ensembles import Standing, ensembles
from engine.sweep.events import Events
from engine.sweep.space import Search, Study, Trial
from engine.task import Task


def rows(
    study: Study, task: Task
) -> tuple[list[dict[str, Any]], dict[int, list[dict[str, Any]]]]:
    """A row a run, and every run's history."""
    names = [name for name in task.row(task.zeros(2)) if name in ("loss", task.score)]
    told = [*names, *(f"val_{name}" for name in names)]
    score, best = f"val_{task.score}", max if task.higher else min
    gone = Events(study.path).status()
    histories = {t.number: folder.history(study.path / str(t.number)) for t in study.trials}
    found = []
    for trial in study.trials:
        history = histories[trial.number]
        last = history[-1] if history else {}
        found.append(
            {"run": trial.number, "status": gone.get(trial.number, "done"),
             "seed": trial.config.seed, "fold": trial.fold}
            | trial.values
            | {"epochs": len(history)}
            | {name: last.get(name) for name in told}
            | {f"best_{score}": best((r[score] for r in history), default=None)}
            | trial.values  # again: a swept `epochs` stays the one asked for
        )
    return found, histories


def _as_left(study: Study) -> Study:
    """The study with the values that population-based training left its runs with."""
    if not study.search.pbt:
        return study
    trials = []
    for trial in study.trials:
        kept = json.loads((study.path / str(trial.number) / "config.json").read_text())
        hyper = trial.hyper._replace(**kept["hyper"])
        values = {name: float(f"{getattr(hyper, name):.4g}") for name in trial.values}
        trials.append(trial._replace(hyper=hyper, values=values))
    return study._replace(trials=trials)


def _literal(value: Any) -> str:
    """A value as Python source, strings in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def recipe(trial: Trial, command: str, score: str, value: float) -> str:
    """A trial as a file for --config."""
    shown = trial.config
    if trial.fold:
        shown = dataclasses.replace(shown, validation_split=Config.validation_split)
    static = {
        f.name: bring.written(getattr(shown, f.name)) for f in dataclasses.fields(shown)
        if getattr(shown, f.name) != f.default
    }
    traced = {k: v for k, v in trial.hyper._asdict().items() if v is not None}
    kind = type(trial.hyper).__name__
    both = [
        f"{name} = {kind}(\n"
        + "".join(f"    {k}={_literal(v)},\n" for k, v in values.items()) + ")\n"
        for name, kind, values in (("config", "Config", static), ("hyper", kind, traced))
    ]
    quoted = command.replace("\\", "\\\\").replace('"', '\\"')
    header = f"The best setting of a sweep: {score.replace('_', ' ')} {value:.4f}.\n\n{quoted}\n"
    own = "" if kind == "Hyper" else _importing(trial)
    names = "Config, Hyper" if kind == "Hyper" else "Config"
    return (f'"""{header}"""\n\nfrom engine.config import {names}\n{own}\n' + "".join(both))


def _importing(trial: Trial) -> str:
    """How a recipe finds the class of the traced values, in the file of the user's optimizer."""
    kind = type(trial.hyper)
    return (f"from engine.doors.bring import first_type\n\n{kind.__name__} = first_type("
            f"{_literal(bring.written(trial.config.optimizer))}, None)\n")


def write(study: Study, standings: list[Standing], ready: Setup, console: Console) -> None:
    """results.jsonl and .csv, best.py, ensembles.json, the plots and report.html; prints the best.

    Raises RunError where every run diverged.
    """
    study, task = _as_left(study), ready.task
    found, histories = rows(study, task)
    folder.write_rows(study.path / "results.jsonl", found)
    with (study.path / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    axes = {a.name: list(dict.fromkeys(t.values[a.name] for t in study.trials))
            for a in study.axes}
    if study.search.samples or study.search.pbt:  # in any order
        axes = {name: sorted(values) for name, values in axes.items()}
    score = f"val_{task.score}"
    ranked = ranking.settings(axes, found, score, task.higher)
    best = ranked[0]
    if math.isnan(best["mean"]):
        raise RunError(f"all {len(found)} runs diverged: sweep smaller learning rates.", status=3)
    trial = next(t for t in study.trials if t.number == best["runs"][0])
    command = "python launch.py " + shlex.join(_words(study))
    name = "validation accuracy" if score == "val_accuracy" else score
    folder.replace(study.path / "best.py", recipe(trial, command, name, best["mean"]))
    together = ensembles(study, standings, best, ready)
    folder.replace(study.path / "ensembles.json", json.dumps(together, indent=2) + "\n")
    config = study.request.config
    title = f"{bring.short(config.model)} on {config.dataset}: {len(found)} runs"
    sweep_report.write(study.path, title, choose.describe(ready.device), command, axes, found,
                       histories, together, score, task.higher)
    _print(study, task.score, ranked, together, console)


def _words(study: Study) -> list[str]:
    """The command line of the search, as it would be typed again."""
    search, words = study.search, ["sweep"]
    for text in search.axes:
        words += ["--sweep", text]
    for name, default in Search._field_defaults.items():
        value = getattr(search, name)
        if name != "axes" and value != default:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    for f in dataclasses.fields(Config):
        value = bring.written(getattr(study.request.config, f.name))
        if value != f.default:
            words += [f"--{f.name}={value}"]
    for name, default in type(study.request.hyper)._field_defaults.items():
        if (value := getattr(study.request.hyper, name)) != default:
            words += [f"--{name}={value}"]
    return words


def _print(
    study: Study, score: str, ranked: list[dict[str, Any]], together: list[dict[str, Any]],
    console: Console,
) -> None:
    for place, setting in enumerate(ranked[:5], 1):
        what = ", ".join(f"{a.name} {setting[a.name]}" for a in study.axes) or "every seed"
        lost = f", {setting['diverged']} diverged" if setting["diverged"] else ""
        count = len(setting["runs"])
        console.print(f"{place}. {what}: {score} {ranking.mean(setting)} "
                      f"({count} run{'s' if count > 1 else ''}{lost})")
    for e in together:
        console.print(
            f"ensemble of {e['name']} ({e['runs']}) on {e['split']}: accuracy {e['accuracy']:.4f} "
            f"against {e['mean_accuracy']:.4f} of one, calibration error {e['ece']:.4f}, "
            f"disagreement {e['disagreement']:.4f}"
        )
    console.print(f"best setting: {study.path / 'best.py'}\n"
                  f"report: {study.path / 'report.html'}")
