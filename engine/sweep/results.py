"""What a sweep found: a row a run, ensembles, the best setting as a recipe, the report."""

import dataclasses
import json
import shlex
from typing import Any

import pandas
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


def _row(trial: Trial, history: list[dict[str, Any]], status: str, task: Task) -> dict[str, Any]:
    names = dict.fromkeys(("loss", task.score, "val_loss", f"val_{task.score}"))
    score, best = f"val_{task.score}", max if task.higher else min
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


def recipe(trial: Trial, command: str, score: str, value: float) -> str:
    """A trial as a file for --config."""
    config, kind = trial.config, type(trial.hyper).__name__
    if trial.fold:
        config = dataclasses.replace(config, validation_split=Config.validation_split)
    static = _differing(config, {f.name: f.default for f in dataclasses.fields(config)})
    traced = {k: v for k, v in trial.hyper._asdict().items() if v is not None}
    quoted = command.replace("\\", "\\\\").replace('"', '\\"')
    imports = "from engine.config import Config, Hyper\n"
    if kind != "Hyper":  # the class of the traced values is in the file of the user's optimizer
        imports = ("from engine.config import Config\nfrom engine.doors.bring import first_type\n\n"
                   f"{kind} = first_type({_literal(bring.written(config.optimizer))}, None)\n")
    calls = [f"{name} = {made}(\n" + "".join(f"    {k}={_literal(v)},\n" for k, v in values.items())
             for name, made, values in (("config", "Config", static), ("hyper", kind, traced))]
    return (f'"""The best setting of a sweep: {score.replace("_", " ")} {value:.4f}.\n\n{quoted}\n'
            f'"""\n\n{imports}\n{calls[0]})\n{calls[1]})\n')


def command(study: Study) -> str:
    """The search as it would be typed again."""
    config, hyper, *_ = study.request
    words = [word for text in study.search.axes for word in ("--sweep", text)]
    static = {f.name: f.default for f in dataclasses.fields(config)}
    for values, defaults in ((study.search._replace(axes=()), Search._field_defaults),
                             (config, static), (hyper, type(hyper)._field_defaults)):
        words += [f"--{name}={value}" for name, value in _differing(values, defaults).items()]
    return "python launch.py sweep " + shlex.join(words)


def write(study: Study, standings: list[Standing], ready: Setup, console: Console) -> None:
    """results.jsonl and .csv, best.py, ensembles.json, the plots and report.html; prints the best.

    Raises RunError where every run diverged.
    """
    task, config = ready.task, study.request.config
    if study.search.pbt:  # which has left its runs with other values
        study = study._replace(trials=[
            trial._replace(values={name: float(f"{getattr(trial.hyper, name):.4g}")
                                   for name in trial.values}) for trial in standings[0].trials])
    histories = {t.number: folder.history(study.path / str(t.number)) for t in study.trials}
    gone = Events(study.path).status()
    found = [_row(t, histories[t.number], gone.get(t.number, "done"), task) for t in study.trials]
    folder.write_rows(study.path / "results.jsonl", found)
    runs = pandas.DataFrame(found, dtype=object)
    runs.to_csv(study.path / "results.csv", index=False, lineterminator="\r\n")
    axes = {a.name: list(dict.fromkeys(t.values[a.name] for t in study.trials))
            for a in study.axes}
    if study.search.samples or study.search.pbt:  # in any order
        axes = {name: sorted(values) for name, values in axes.items()}
    score = ranking.Score(f"val_{task.score}", task.higher)
    settings = ranking.ranked(runs, axes, score)[1]
    best = settings.iloc[0]
    if not best["counted"]:
        raise RunError(f"all {len(found)} runs diverged: sweep smaller learning rates.", status=3)
    typed = command(study)
    name = "validation accuracy" if score.name == "val_accuracy" else score.name
    trial = next(t for t in study.trials if t.number == best["runs"][0])
    folder.replace(study.path / "best.py", recipe(trial, typed, name, best["mean"]))
    together = ensembles(study, standings, best["runs"], ready)
    folder.replace(study.path / "ensembles.json", json.dumps(together, indent=2) + "\n")
    title = f"{bring.short(config.model)} on {config.dataset}: {len(found)} runs"
    sweep_report.write(study.path, title, choose.describe(ready.device), typed, axes, found,
                       histories, together, *score)
    for at, setting in settings[:5].iterrows():
        what = ", ".join(f"{name} {setting[name]}" for name in axes) or "every seed"
        lost = f", {setting['diverged']} diverged" if setting["diverged"] else ""
        count = len(setting["runs"])
        console.print(f"{at + 1}. {what}: {task.score} {ranking.mean(setting)} "
                      f"({count} run{'s' if count > 1 else ''}{lost})")
    for e in together:
        console.print(
            f"ensemble of {e['name']} ({e['runs']}) on {e['split']}: accuracy {e['accuracy']:.4f} "
            f"against {e['mean_accuracy']:.4f} of one, calibration error {e['ece']:.4f}, "
            f"disagreement {e['disagreement']:.4f}"
        )
    console.print(f"best setting: {study.path / 'best.py'}\n"
                  f"report: {study.path / 'report.html'}")
