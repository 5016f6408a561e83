"""The report of a sweep: its plots, and one self-contained HTML page."""

import shlex
from pathlib import Path
from typing import Any

from engine.report import page
from engine.store.folder import replace
from engine.sweep import ranking
from engine.sweep.plots import Histories, pictures
from engine.sweep.ranking import Axes, Rows, Score

CAPTIONS = {
    "curves.png": "By epoch",
    "heatmap.png": "Over the grid",
    "axis.png": "Along the axis",
    "parallel.png": "Across the axes",
}
ENSEMBLE_NUMBERS = ("accuracy", "mean_accuracy", "ece", "disagreement")


def _cards(axes: Axes, rows: Rows, best: dict[str, Any], score: Score) -> list[tuple[str, str]]:
    statuses = [row["status"] for row in rows]
    asked = ["done", "diverged", "dropped", *(["refused"] if "refused" in statuses else [])]
    first = min(rows, key=lambda row: ranking.key([row], score))
    found = ranking.counted([first], score)
    return [
        ("runs", str(len(rows))),
        *((status, str(statuses.count(status))) for status in asked),
        (f"best setting: {ranking.in_words(axes, best)}", ranking.mean(best, score.form)),
        (f"best run: {first['run']}" if found else "best run",
         ranking.number(first[score.name] if found else None, score.form)),
    ]


def _settings(axes: Axes, rows: Rows, ranked: list[dict[str, Any]], score: Score) -> tuple:
    """The head and the rows of the settings' table."""
    dropped = {row["run"] for row in rows if row["status"] == "dropped"}
    body = [
        [*(ranking.shown(setting[name], 60) for name in axes), len(setting["runs"]),
         ranking.mean(setting), ranking.number(setting["best"]),
         len(dropped & set(setting["runs"])), setting["diverged"]]
        for setting in ranked
    ]
    return [*axes, "runs", score.name, "best", "dropped", "diverged"], body


def _runs(axes: Axes, rows: Rows, score: Score) -> tuple:
    """The head and the rows of the runs' table."""
    words = ["run", "status", "seed", *(["fold"] if any(row["fold"] for row in rows) else [])]
    asked = dict.fromkeys(("val_loss", score.name, f"best_{score.name}"))
    numbers = [name for name in asked if name in rows[0]]
    body = [
        [*(row[name] for name in words), *(ranking.shown(row[name], 60) for name in axes),
         row["epochs"], *(ranking.number(row[name]) for name in numbers)]
        for row in rows
    ]
    return [*words, *axes, "epochs", *numbers], body


def _ensembles(ensembles: list[dict[str, Any]]) -> tuple:
    """The head and the rows of the ensembles' table."""
    body = [
        [row["name"], row["split"], row["runs"],
         *(ranking.number(row[name]) for name in ENSEMBLE_NUMBERS)]
        for row in ensembles
    ]
    return ["ensemble", "split", "runs", "accuracy", "mean accuracy", "ECE", "disagreement"], body


def write(
    folder: Path, title: str, device: str, command: str, axes: Axes, rows: Rows,
    histories: Histories, ensembles: list[dict[str, Any]], score: str = "val_accuracy",
    higher: bool = True,
) -> None:
    """The pictures that the axes call for, and report.html, into `folder`.

    `axes` has each swept field's distinct values, seed and fold left out; `rows` one row a run, at
    least one; `histories` each run's epochs; `ensembles` a row (name, split, runs, accuracy,
    mean_accuracy, ece, disagreement) for each combination of runs. `score` is the rows' column that
    they are ranked by, `higher` whether more of it is better.
    """
    by, ranked = Score(score, higher), ranking.settings(axes, rows, score, higher)
    drawn = pictures(axes, rows, histories, by)
    for name, png in drawn.items():
        replace(folder / name, png)
    best, recipe = folder / str(ranked[0]["runs"][0]), folder / "best.py"
    text = page.render(
        "sweep.html", title=title, device=device, cards=_cards(axes, rows, ranked[0], by),
        pictures=[(CAPTIONS[name], drawn[name]) for name in CAPTIONS if name in drawn],
        score=score, higher=higher, settings=_settings(axes, rows, ranked, by),
        ensembles=_ensembles(ensembles), runs=_runs(axes, rows, by),
        again=f"python launch.py --config {shlex.quote(str(recipe))}\n"
        f"python launch.py eval --run_dir {shlex.quote(str(best))}",
        command=command,
    )
    replace(folder / "report.html", text)
