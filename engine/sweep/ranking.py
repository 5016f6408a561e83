"""How the settings of a sweep did: which of their runs speak for them, and their order.

A row is one run: run, status ("done", "diverged", "dropped" or "refused"), seed, fold, its value of
every swept axis, epochs, and its metrics, the score that the runs are ranked by among them. A
setting is one combination of axis values; its members differ in seed and fold only.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from engine.report.pictures import short

Axes = dict[str, list]
Rows = list[dict[str, Any]]


class Score(NamedTuple):
    """The metric that the runs are ranked by, and whether more of it is better."""

    name: str = "val_accuracy"
    higher: bool = True

    @property
    def metric(self) -> str:
        """Its name without the split that it is measured on."""
        return self.name.removeprefix("val_")

    @property
    def words(self) -> str:
        """As a plot's label."""
        return ("validation " * self.name.startswith("val_") + self.metric).replace("_", " ")

    @property
    def form(self) -> str:
        """How a headline writes it."""
        return ".2%" if "accuracy" in self.name else ".4g"


def finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def counted(members: Rows, score: Score) -> Rows:
    """The rows that speak for a setting: its done runs, or where it has none its dropped ones."""
    measured = [row for row in members if finite(row[score.name])]
    done = [row for row in measured if row["status"] == "done"]
    return done or [row for row in measured if row["status"] == "dropped"]


def failures(rows: Rows, score: Score) -> str:
    """What befell the rows that speak for nothing: diverged, refused."""
    return " or ".join(sorted({row["status"] for row in rows if not counted([row], score)}))


def values(members: Rows, score: Score) -> list[float]:
    return [float(row[score.name]) for row in counted(members, score)]


def median(members: Rows, score: Score) -> float:
    """NaN where no run speaks."""
    return float(np.median(values(members, score) or [math.nan]))


def key(members: Rows, score: Score, centre: Callable = np.median) -> tuple[int, float]:
    """A sorting key, best first: done, then dropped, whose score is from fewer epochs."""
    speaking = counted(members, score)
    if not speaking:
        return 2, 0.0
    middle = float(centre(values(members, score)))
    return int(speaking[0]["status"] == "dropped"), -middle if score.higher else middle


def groups(axes: Iterable[str], rows: Rows) -> dict[tuple, Rows]:
    """The members of each setting, by its axis values."""
    found: dict[tuple, Rows] = {}
    for row in rows:
        found.setdefault(tuple(row[axis] for axis in axes), []).append(row)
    return found


def _summary(members: Rows, score: Score) -> dict[str, Any]:
    found = values(members, score) or [math.nan]
    return {
        "runs": [row["run"] for row in members],
        "counted": len(counted(members, score)),
        "mean": float(np.mean(found)),
        "sd": float(np.std(found, ddof=min(1, len(found) - 1))),
        "best": max(found) if score.higher else min(found),
        "diverged": sum(row["status"] == "diverged" for row in members),
    }


def settings(
    axes: Axes, rows: Rows, score: str = "val_accuracy", higher: bool = True
) -> list[dict[str, Any]]:
    """Each setting's axis values and its runs, counted, mean, sd, best and diverged, best first.

    mean, sd (of a sample; 0.0 of one run) and best are of the finite scores of its done runs; of
    its dropped runs where none is done, and such settings rank after the others; counted is how
    many these are. Settings with neither come last, those three numbers NaN. A diverged run's score
    never counts. `higher` says whether more of the score is better.
    """
    by = Score(score, higher)
    ranked = sorted(groups(axes, rows).items(), key=lambda item: key(item[1], by, np.mean))
    return [
        dict(zip(axes, chosen, strict=True)) | _summary(members, by) for chosen, members in ranked
    ]


def shown(value: Any, length: int = 24) -> str:
    """An axis value to be read: four digits of a float, the beginning of a long text."""
    return short(f"{value:.4g}" if isinstance(value, float) else str(value), length)


def in_words(axes: Axes, row: dict[str, Any]) -> str:
    """A setting in words, from its own row or any of its members'."""
    return ", ".join(f"{axis}={shown(row[axis])}" for axis in axes) or "all runs"


def number(value: float | None, form: str = ".4f") -> str:
    return f"{value:{form}}" if finite(value) else "–"


def mean(setting: dict[str, Any], form: str = ".4f") -> str:
    """The mean, with ± its standard deviation where at least two runs speak for it."""
    spread = f" ± {setting['sd']:{form}}" if setting["counted"] > 1 else ""
    return number(setting["mean"], form) + spread
