"""The report of a sweep: its plots, and one self-contained HTML page."""

import math
import shlex
from pathlib import Path
from typing import Any

import pandas

from engine.report import page
from engine.store.files import replace
from engine.sweep import ranking
from engine.sweep.plots import Axes, Histories, pictures
from engine.sweep.ranking import Score

CAPTIONS = {
    "curves.png": "By epoch", "heatmap.png": "Over the grid", "axis.png": "Along every axis",
}
ENSEMBLE = {"name": "ensemble", "split": "split", "runs": "runs", "accuracy": "accuracy",
            "mean_accuracy": "mean accuracy", "ece": "ECE", "disagreement": "disagreement"}


def _table(found: pandas.DataFrame, axes: Axes) -> tuple[list[str], list[list[Any]]]:
    """The head and the rows; axis values as they are read, None for what is no number."""
    found = found.replace([math.inf, -math.inf], math.nan).astype(object)
    found = found.where(found.notna(), None)
    return [*found], found.assign(
        **{name: [ranking.shown(value, 60) for value in found[name]] for name in axes}
    ).values.tolist()


def _cards(axes: Axes, runs: pandas.DataFrame, best: Any, score: Score) -> list[tuple[str, str]]:
    statuses = {"done": 0, "diverged": 0, "dropped": 0} | runs["status"].value_counts().to_dict()
    form = ".2%" if "accuracy" in score.name else ".4g"
    first = ranking.ranked(runs, ["run"], score)[1].iloc[0]
    return [
        ("runs", str(len(runs))), *((status, str(n)) for status, n in statuses.items()),
        (f"best setting: {ranking.in_words(axes, best)}", ranking.mean(best, form)),
        ("best run" + f": {first['run']}" * bool(first["counted"]), ranking.mean(first, form)),
    ]


def write(
    folder: Path, title: str, device: str, command: str, axes: Axes, rows: list[dict[str, Any]],
    histories: Histories, ensembles: list[dict[str, Any]], score: str = "val_accuracy",
    higher: bool = True,
) -> None:
    """The pictures that the axes call for, and report.html, into `folder`. `rows` are those of
    results.jsonl, `ensembles` of ensembles.json; `score` is the column that runs are ranked by,
    `higher` whether more of it is better."""
    by, runs = Score(score, higher), pandas.DataFrame(rows)
    settings = ranking.ranked(runs, axes, by)[1]
    drawn = pictures(axes, runs, histories, by)
    for name, png in drawn.items():
        replace(folder / name, png)
    means = [ranking.mean(setting) for _, setting in settings.iterrows()]
    told = settings.assign(**{score: means, "runs": settings["runs"].map(len)})
    asked = dict.fromkeys(("run", "status", "seed", "fold", *axes, "epochs", "val_loss", score,
                           f"best_{score}"))
    columns = [name for name in asked if name in runs and (name != "fold" or runs["fold"].any())]
    quoted = [shlex.quote(str(folder / name)) for name in ("best.py", str(settings["runs"][0][0]))]
    text = page.render(
        "sweep.html", title=title, device=device, cards=_cards(axes, runs, settings.iloc[0], by),
        pictures=[(text, drawn[name]) for name, text in CAPTIONS.items() if name in drawn],
        score=score, higher=higher,
        settings=_table(told[[*axes, "runs", score, "best", "dropped", "diverged"]], axes),
        ensembles=_table(pandas.DataFrame(ensembles, columns=[*ENSEMBLE]).rename(columns=ENSEMBLE),
                         {}),
        runs=_table(runs[columns], axes), command=command,
        again=f"python launch.py --config {quoted[0]}\npython launch.py eval --run_dir {quoted[1]}",
    )
    replace(folder / "report.html", text)
