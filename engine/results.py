"""What a sweep found: a row a run, ensembles, the best setting as a recipe, the report."""

import csv
import dataclasses
import json
import math
import shlex
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from engine import folder, metrics, population, sweep_report
from engine.config import Config, Hyper, read
from engine.errors import RunError
from engine.evaluation import held_for_evaluation
from engine.events import Events
from engine.group import Group
from engine.population import Population
from engine.sources.dataset import Dataset
from engine.space import Search, Study, Trial


class Standing(NamedTuple):
    """How a group ended: its population, and which members of it are whole."""

    group: Group
    population: Population
    finite: np.ndarray


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


def _ensemble(name: str, standings: list[Standing], numbers: set[int]) -> dict[str, Any] | None:
    """The mean of so many members' probabilities, judged; None for fewer than two."""
    total, predicted = 0.0, []
    for group, runs, finite in standings:
        split, subset = held_for_evaluation(group.ready)
        chosen = [at for at in np.flatnonzero(finite) if int(runs.members.number[at]) in numbers]
        if chosen:
            params = jax.device_put(
                population.select(runs.members, np.array(chosen)).state.params, group.ready.device
            )
            summed_NxC, each_RxN = jax.device_get(
                jax.jit(partial(population.probabilities, group.ready.model))(params, subset)
            )
            total = total + summed_NxC
            predicted.append(each_RxN)
    if sum(map(len, predicted)) < 2:
        return None
    predicted_RxN = np.concatenate(predicted)
    labels_N = np.asarray(subset.split.labels)[np.asarray(subset.rows)]
    mean_NxC = np.asarray(total) / len(predicted_RxN)
    return {
        "name": name, "runs": len(predicted_RxN), "split": split,
        "accuracy": float((mean_NxC.argmax(axis=1) == labels_N).mean()),
        "mean_accuracy": float((predicted_RxN == labels_N).mean()),
        "ece": metrics.calibration_error(mean_NxC, labels_N),
        "disagreement": metrics.disagreement(predicted_RxN),
    }


def _ensembles(
    standings: list[Standing], best: dict[str, Any], folds: int, dataset: Dataset
) -> list[dict[str, Any]]:
    """All finished runs, and the best setting's; none where folds leave no common examples."""
    if folds and "test" not in dataset.splits:
        return []
    everyone = {int(n) for s in standings for n in s.population.members.number}
    several = everyone > set(best["runs"])
    asked = [("all runs", everyone), ("the best setting's", set(best["runs"]))]
    found = [_ensemble(name, standings, numbers) for name, numbers in asked[: 1 + several]]
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


def write(
    study: Study, standings: list[Standing], dataset: Dataset, device: str, console: Console
) -> None:
    """results.jsonl and .csv, best.py, ensembles.json, the plots and report.html; prints the best.

    Raises RunError where every run diverged.
    """
    study = _as_left(study)
    found, histories = rows(study)
    folder.replace(study.path / "results.jsonl", "".join(json.dumps(r) + "\n" for r in found))
    with (study.path / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    axes = {a.name: list(dict.fromkeys(t.values[a.name] for t in study.trials))
            for a in study.axes}
    if study.search.samples or study.search.pbt:  # in any order
        axes = {name: sorted(values) for name, values in axes.items()}
    ranked = sweep_report.settings(axes, found)
    best = ranked[0]
    if math.isnan(best["mean"]):
        raise RunError(f"all {len(found)} runs diverged: sweep smaller learning rates.", status=3)
    trial = study.trials[best["runs"][0]]
    command = "python launch.py " + shlex.join(_words(study))
    folder.replace(study.path / "best.py", recipe(trial, command, best["mean"]))
    ensembles = _ensembles(standings, best, study.search.folds, dataset)
    folder.replace(study.path / "ensembles.json", json.dumps(ensembles, indent=2) + "\n")
    title = f"{study.config.model} on {study.config.dataset}: {len(found)} runs"
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
    study: Study, ranked: list[dict[str, Any]], ensembles: list[dict[str, Any]], console: Console
) -> None:
    for place, setting in enumerate(ranked[:5], 1):
        what = ", ".join(f"{a.name} {setting[a.name]}" for a in study.axes) or "every seed"
        spread = f" ± {setting['sd']:.4f}" if len(setting["runs"]) > 1 else ""
        lost = f", {setting['diverged']} diverged" if setting["diverged"] else ""
        count = len(setting["runs"])
        console.print(f"{place}. {what}: accuracy {setting['mean']:.4f}{spread} "
                      f"({count} run{'s' if count > 1 else ''}{lost})")
    for e in ensembles:
        console.print(
            f"ensemble of {e['name']} ({e['runs']}) on {e['split']}: accuracy {e['accuracy']:.4f} "
            f"against {e['mean_accuracy']:.4f} of one, calibration error {e['ece']:.4f}, "
            f"disagreement {e['disagreement']:.4f}"
        )
    console.print(f"best setting: {study.path / 'best.py'}\n"
                  f"report: {study.path / 'report.html'}")
