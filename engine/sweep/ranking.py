"""How the settings of a sweep did: which of their runs speak for them, and their order.

A row is one run: run, status ("done", "diverged", "dropped" or "refused"), seed, fold, its value of
every swept axis, epochs, loss, accuracy, val_loss, val_accuracy and best_val_accuracy. A setting is
one combination of axis values; its members differ in seed and fold only.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import numpy as np

from engine.report import run as report

Axes = dict[str, list]
Rows = list[dict[str, Any]]


def finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def counted(members: Rows) -> Rows:
    """The rows that speak for a setting: its done runs, or where it has none its dropped ones."""
    measured = [row for row in members if finite(row["val_accuracy"])]
    done = [row for row in measured if row["status"] == "done"]
    return done or [row for row in measured if row["status"] == "dropped"]


def failures(rows: Rows) -> str:
    """What befell the rows that speak for nothing: diverged, refused."""
    return " or ".join(sorted({row["status"] for row in rows if not counted([row])}))


def accuracies(members: Rows) -> list[float]:
    return [float(row["val_accuracy"]) for row in counted(members)]


def key(members: Rows, centre: Callable = np.median) -> tuple[int, float]:
    """A sorting key, best first: done, then dropped, whose accuracy is from fewer epochs."""
    speaking = counted(members)
    if not speaking:
        return 2, 0.0
    return int(speaking[0]["status"] == "dropped"), -float(centre(accuracies(members)))


def groups(axes: Iterable[str], rows: Rows) -> dict[tuple, Rows]:
    """The members of each setting, by its axis values."""
    found: dict[tuple, Rows] = {}
    for row in rows:
        found.setdefault(tuple(row[axis] for axis in axes), []).append(row)
    return found


def _summary(members: Rows) -> dict[str, Any]:
    values = accuracies(members) or [math.nan]
    return {
        "runs": [row["run"] for row in members],
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=min(1, len(values) - 1))),
        "best": max(values),
        "diverged": sum(row["status"] == "diverged" for row in members),
    }


def settings(axes: Axes, rows: Rows) -> list[dict[str, Any]]:
    """Each setting's axis values, runs, mean, sd, best and number of diverged runs, best first.

    mean, sd (of a sample; 0.0 of one run) and best are of the finite `val_accuracy` of its done
    runs; of its dropped runs where none is done, and such settings rank after the others. Settings
    with neither come last, those three numbers NaN. A diverged run's accuracy never counts.
    """
    ranked = sorted(groups(axes, rows).items(), key=lambda item: key(item[1], np.mean))
    return [
        dict(zip(axes, values, strict=True)) | _summary(members) for values, members in ranked
    ]


def shown(value: Any, length: int = 24) -> str:
    """An axis value to be read: four digits of a float, the beginning of a long text."""
    return report.short(f"{value:.4g}" if isinstance(value, float) else str(value), length)


def in_words(axes: Axes, row: dict[str, Any]) -> str:
    """A setting in words, from its own row or any of its members'."""
    return ", ".join(f"{axis}={shown(row[axis])}" for axis in axes) or "all runs"


def number(value: float | None, form: str = ".4f") -> str:
    return f"{value:{form}}" if finite(value) else "–"


def mean(setting: dict[str, Any], rows: Rows, form: str = ".4f") -> str:
    """The mean, with ± its standard deviation where at least two runs speak for it."""
    speaking = counted([row for row in rows if row["run"] in setting["runs"]])
    spread = f" ± {setting['sd']:{form}}" if len(speaking) > 1 else ""
    return number(setting["mean"], form) + spread
