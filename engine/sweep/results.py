"""What a sweep found: a row a run, ensembles, the best setting as a recipe, the report."""

import csv
import dataclasses
import json
import math
import shlex
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from rich.console import Console

from engine import folder, metrics
from engine.config import Config, Hyper, read
from engine.data import Subset
from engine.devices import choose as devices
from engine.errors import RunError
from engine.evaluation import has_own_test, held_for_evaluation
from engine.setup import Setup
from engine.sweep import population, ranking
from engine.sweep import report as sweep_report
from engine.sweep.events import Events
from engine.sweep.space import Search, Study, Trial


class Standing(NamedTuple):
    """What a group leaves: its model, and its whole members' numbers and stacked variables [R]."""

    model: nn.Module
    numbers: list[int]
    variables: Any


def rows(study: Study) -> tuple[list[dict[str, Any]], dict[int, list[dict[str, Any]]]]:
    """A row a run, and every run's history."""
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
            | {k: last.get(k) for k in ("loss", "accuracy", "val_loss", "val_accuracy")}
            | {"best_val_accuracy": max((r["val_accuracy"] for r in history), default=None)}
            | trial.values  # again: a swept `epochs` stays the one asked for
        )
    return found, histories


def _as_left(study: Study) -> Study:
    """The study with the values that population-based training left its runs with."""
    if not study.search.pbt:
        return study
    trials = []
    for trial in study.trials:
        _, hyper, _ = read(study.path / str(trial.number) / "config.json")
        values = {name: float(f"{getattr(hyper, name):.4g}") for name in trial.values}
        trials.append(trial._replace(hyper=hyper, values=values))
    return study._replace(trials=trials)


def _ensemble(
    name: str, numbers: set[int], standings: list[Standing], split: str, subset: Subset
) -> dict[str, Any] | None:
    """The mean of these members' probabilities, judged; None for fewer than two."""
    total, predicted = 0.0, []
    for model, found, variables in standings:
        chosen = np.array([at for at, number in enumerate(found) if number in numbers], int)
        if len(chosen):
            some = jax.tree.map(lambda x, chosen=chosen: x[chosen], variables)
            summed_NxC, each_RxN = jax.device_get(
                jax.jit(partial(population.probabilities, model))(some, subset)
            )
            total = total + summed_NxC
            predicted.append(each_RxN)
    if sum(map(len, predicted)) < 2:
        return None
    predicted_RxN = np.concatenate(predicted)
    labels_N = np.asarray(subset.split.targets)[np.asarray(subset.rows)]
    mean_NxC = np.asarray(total) / len(predicted_RxN)
    return {
        "name": name, "runs": len(predicted_RxN), "split": split,
        "accuracy": float((mean_NxC.argmax(axis=1) == labels_N).mean()),
        "mean_accuracy": float((predicted_RxN == labels_N).mean()),
        "ece": metrics.calibration_error(mean_NxC, labels_N),
        "disagreement": metrics.disagreement(predicted_RxN),
    }


def _ensembles(
    study: Study, standings: list[Standing], best: dict[str, Any], ready: Setup
) -> list[dict[str, Any]]:
    """All whole runs, and the best setting's; none where folds leave no common examples."""
    if study.search.folds and not has_own_test(ready.config, ready.dataset):
        return []
    everyone = {number for standing in standings for number in standing.numbers}
    own = everyone & set(best["runs"])
    asked = {"all runs": everyone} | ({"the best setting's": own} if own < everyone else {})
    judged = held_for_evaluation(ready)
    found = [_ensemble(name, numbers, standings, *judged) for name, numbers in asked.items()]
    return [e for e in found if e is not None]


def _literal(value: Any) -> str:
    """A value as Python source, strings in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def recipe(trial: Trial, command: str, accuracy: float) -> str:
    """A trial as a file for --config."""
    shown = trial.config
    if trial.fold:
        shown = dataclasses.replace(shown, validation_split=Config.validation_split)
    static = {
        f.name: getattr(shown, f.name) for f in dataclasses.fields(shown)
        if not f.metadata["local"] and getattr(shown, f.name) != f.default
    }
    traced = {k: v for k, v in trial.hyper._asdict().items() if v is not None}
    both = [
        f"{name} = {kind}(\n"
        + "".join(f"    {k}={_literal(v)},\n" for k, v in values.items()) + ")\n"
        for name, kind, values in (("config", "Config", static), ("hyper", "Hyper", traced))
    ]
    quoted = command.replace("\\", "\\\\").replace('"', '\\"')
    header = f"The best setting of a sweep: validation accuracy {accuracy:.4f}.\n\n{quoted}\n"
    return (f'"""{header}"""\n\nfrom engine.config import Config, Hyper\n\n' + "".join(both))


def write(study: Study, standings: list[Standing], ready: Setup, console: Console) -> None:
    """results.jsonl and .csv, best.py, ensembles.json, the plots and report.html; prints the best.

    Raises RunError where every run diverged.
    """
    study = _as_left(study)
    found, histories = rows(study)
    folder.write_rows(study.path / "results.jsonl", found)
    with (study.path / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    axes = {a.name: list(dict.fromkeys(t.values[a.name] for t in study.trials))
            for a in study.axes}
    if study.search.samples or study.search.pbt:  # in any order
        axes = {name: sorted(values) for name, values in axes.items()}
    ranked = ranking.settings(axes, found)
    best = ranked[0]
    if math.isnan(best["mean"]):
        raise RunError(f"all {len(found)} runs diverged: sweep smaller learning rates.", status=3)
    trial = next(t for t in study.trials if t.number == best["runs"][0])
    command = "python launch.py " + shlex.join(_words(study))
    folder.replace(study.path / "best.py", recipe(trial, command, best["mean"]))
    ensembles = _ensembles(study, standings, best, ready)
    folder.replace(study.path / "ensembles.json", json.dumps(ensembles, indent=2) + "\n")
    title = f"{study.config.model} on {study.config.dataset}: {len(found)} runs"
    device = devices.describe(ready.device)
    sweep_report.write(study.path, title, device, command, axes, found, histories, ensembles)
    _print(study, ranked, ensembles, console)


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
        value = getattr(study.config, f.name)
        if not f.metadata["local"] and value != f.default:
            words += [f"--{f.name}={value}"]
    for name, default in Hyper._field_defaults.items():
        if (value := getattr(study.hyper, name)) != default:
            words += [f"--{name}={value}"]
    return words


def _print(
    study: Study, ranked: list[dict[str, Any]],
    ensembles: list[dict[str, Any]], console: Console,
) -> None:
    for place, setting in enumerate(ranked[:5], 1):
        what = ", ".join(f"{a.name} {setting[a.name]}" for a in study.axes) or "every seed"
        lost = f", {setting['diverged']} diverged" if setting["diverged"] else ""
        count = len(setting["runs"])
        console.print(f"{place}. {what}: accuracy {ranking.mean(setting)} "
                      f"({count} run{'s' if count > 1 else ''}{lost})")
    for e in ensembles:
        console.print(
            f"ensemble of {e['name']} ({e['runs']}) on {e['split']}: accuracy {e['accuracy']:.4f} "
            f"against {e['mean_accuracy']:.4f} of one, calibration error {e['ece']:.4f}, "
            f"disagreement {e['disagreement']:.4f}"
        )
    console.print(f"best setting: {study.path / 'best.py'}\n"
                  f"report: {study.path / 'report.html'}")
