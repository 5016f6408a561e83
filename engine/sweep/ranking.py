"""How the settings of a sweep did: which of their runs speak for them, and their order.

A frame of runs has a row a run: run, status ("done", "stopped", "diverged", "dropped" or
"refused"), seed, fold, its value of every swept axis, epochs, and its metrics. A setting is one
combination of axis values; its members differ in seed and fold only.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas

from engine.optim.patience import Monitor
from engine.width import shortened

KINDS = {"done": 0, "stopped": 0, "dropped": 1}  # a dropped run's score is from fewer epochs
LOST = "dropped", "diverged"  # what is counted of a setting, whose mean is of the others
SILENT = 2  # diverged, refused, or without a finite score


def ranked(
    runs: pandas.DataFrame, axes: Iterable[str], score: Monitor
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """The runs with their setting's `place` and, where they speak for it, their score as `value`;
    a row a setting, best first, with the axes, runs (their numbers), counted (how many speak),
    mean, sd (of a sample; 0 of one run), best, dropped and diverged.

    The done runs with a finite score speak for a setting, or where it has none its dropped ones;
    such settings come after the others, and those of which none speaks last, their numbers NaN.
    """
    by = [runs[name] for name in axes] or [runs["status"].isna()]  # without axes, one setting
    value = runs[score.name].astype(float)
    kind = runs["status"].map(KINDS).where(np.isfinite(value)).fillna(SILENT)
    heard = kind.lt(SILENT) & kind.eq(kind.groupby(by, dropna=False).transform("min"))
    runs = runs.assign(value=value.where(heard), kind=kind)
    setting = runs.groupby(by, sort=False, dropna=False).ngroup()
    found = runs.assign(dropped=runs["status"].eq("dropped"), diverged=runs["status"].eq("diverged")
                        ).groupby(setting).agg(
        **{name: (name, "first") for name in axes}, runs=("run", list), counted=("value", "count"),
        mean=("value", "mean"), sd=("value", "std"),
        best=("value", "max" if score.higher else "min"), dropped=("dropped", "sum"),
        diverged=("diverged", "sum"), kind=("kind", "min"),
    )
    found["sd"] = found["sd"].where(found["counted"] != 1, 0.0)
    found = found.sort_values(["kind", "mean"], ascending=[True, not score.higher])
    place = pandas.Series(range(len(found)), found.index)
    return runs.assign(place=setting.map(place)), found.reset_index(drop=True)


def shown(value: Any, length: int = 24) -> str:
    """An axis value to be read: four digits of a float, a long text without its middle."""
    return shortened(f"{value:.4g}" if isinstance(value, float) else str(value), length)


def in_words(axes: Iterable[str], row: Any) -> str:
    """A setting in words, from its own row or any of its members'."""
    return ", ".join(f"{axis}={shown(row[axis])}" for axis in axes) or "all runs"


def mean(setting: Any) -> str:
    """The mean, with ± its standard deviation where at least two runs speak; a dash where none."""
    spread = f" ± {setting['sd']:.4f}" if setting["counted"] > 1 else ""
    return f"{setting['mean']:.4f}{spread}" if setting["counted"] else "–"
