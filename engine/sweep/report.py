"""The report of a sweep: its plots, and one self-contained HTML page."""

import html
import shlex
from pathlib import Path
from typing import Any

from engine.folder import replace
from engine.report import run as report
from engine.sweep import ranking
from engine.sweep.plots import Histories, pictures
from engine.sweep.ranking import Axes, Rows

CAPTIONS = {
    "curves.png": ("By epoch", "Validation curves of the settings by epoch"),
    "heatmap.png": ("Over the grid", "Heat map of validation accuracy: two axes, or one and seeds"),
    "axis.png": ("Along the axis", "Validation accuracy against the swept axis"),
    "parallel.png": ("Across the axes", "Parallel coordinates of the runs"),
}
STYLE = report.STYLE + """
.cards { grid-template-columns: repeat(auto-fit, minmax(6.8rem, 1fr)); }
.card { overflow-wrap: anywhere; }
.wide { grid-column: span 2; }
"""
ENSEMBLE_COLUMNS = {
    "ensemble": "whose predictions are combined",
    "split": "the examples it is measured on",
    "runs": "its members",
    "accuracy": "of the combined prediction",
    "mean accuracy": "of the members one by one, averaged",
    "ECE": "expected calibration error of the combined prediction: how far confidence is from "
    "accuracy in 15 equal-width confidence bins, on average (Guo et al. 2017); lower is better",
    "disagreement": "the share of examples on which two members differ, averaged over pairs",
}


def _cards(axes: Axes, rows: Rows, best: dict[str, Any]) -> str:
    statuses = [row["status"] for row in rows]
    first = min(rows, key=lambda row: ranking.key([row]))
    single = (None, "best run")
    if ranking.counted([first]):
        single = first["val_accuracy"], f"best run: {first['run']}"
    cards = [("", str(len(rows)), "runs")]
    asked = ["done", "diverged", "dropped", *(["refused"] if "refused" in statuses else [])]
    cards += [("", str(statuses.count(name)), name) for name in asked]
    cards += [
        ("wide", ranking.mean(best, rows, ".2%"), f"best setting: {ranking.in_words(axes, best)}"),
        ("", ranking.number(single[0], ".2%"), single[1]),
    ]
    return "".join(
        f'<div class="card {kind}"><b>{html.escape(value)}</b>'
        f'<span class="soft">{html.escape(name)}</span></div>'
        for kind, value, name in cards
    )


def _settings_table(axes: Axes, rows: Rows, ranked: list[dict[str, Any]]) -> str:
    dropped = {row["run"] for row in rows if row["status"] == "dropped"}
    body = [
        [*(ranking.shown(setting[name], 60) for name in axes), len(setting["runs"]),
         ranking.mean(setting, rows), ranking.number(setting["best"]),
         len(dropped & set(setting["runs"])), setting["diverged"]]
        for setting in ranked
    ]
    return report.table([*axes, "runs", "val_accuracy", "best", "dropped", "diverged"], body)


def _runs_table(axes: Axes, rows: Rows) -> str:
    words = ["run", "status", "seed", *(["fold"] if any(row["fold"] for row in rows) else [])]
    numbers = ["val_loss", "val_accuracy", "best_val_accuracy"]
    body = [
        [*(row[name] for name in words), *(ranking.shown(row[name], 60) for name in axes),
         row["epochs"], *(ranking.number(row[name]) for name in numbers)]
        for row in rows
    ]
    return report.table([*words, *axes, "epochs", *numbers], body)


def _ensembles(ensembles: list[dict[str, Any]]) -> str:
    if not ensembles:
        return ""
    numbers = ("accuracy", "mean_accuracy", "ece", "disagreement")
    body = [
        [row["name"], row["split"], row["runs"], *(ranking.number(row[name]) for name in numbers)]
        for row in ensembles
    ]
    meanings = "<br>".join(f"{name}: {text}." for name, text in ENSEMBLE_COLUMNS.items())
    table = report.table(list(ENSEMBLE_COLUMNS), body)
    return f'<h2>Ensembles</h2>{table}<p class="soft">{meanings}</p>'


def page(
    folder: Path, title: str, device: str, command: str, axes: Axes, rows: Rows,
    ensembles: list[dict[str, Any]], drawn: dict[str, bytes],
) -> str:
    """The whole report as one HTML document without scripts or remote parts."""
    ranked = ranking.settings(axes, rows)
    shown = "".join(
        f"<h2>{heading}</h2>{report.picture(drawn[name], alt)}"
        for name, (heading, alt) in CAPTIONS.items() if name in drawn
    )
    best, recipe = folder / str(ranked[0]["runs"][0]), folder / "best.py"
    again = (f"python launch.py --config {shlex.quote(str(recipe))}\n"
             f"python launch.py eval --run_dir {shlex.quote(str(best))}")
    return report.document(title, f"""
<div class="soft">{html.escape(device)}</div>
<div class="cards">{_cards(axes, rows, ranked[0])}</div>
{shown}
<h2>Settings</h2>{_settings_table(axes, rows, ranked)}
<p class="soft">Best first. val_accuracy is the mean, ± the standard deviation, of the setting's
runs that were trained to the end; where there is none, of those dropped early. best is the best of
the same runs. A run that diverged counts in neither.</p>
{_ensembles(ensembles)}
<h2>Runs</h2>{_runs_table(axes, rows)}
<p class="soft">best_val_accuracy is that of the run's best epoch, the others are of its last.</p>
<h2>Go on</h2><pre>{html.escape(again)}</pre>
<h2>Made by</h2><pre>{html.escape(command)}</pre>
""", STYLE)


def write(
    folder: Path, title: str, device: str, command: str, axes: Axes, rows: Rows,
    histories: Histories, ensembles: list[dict[str, Any]],
) -> None:
    """The pictures that the axes call for, and report.html, into `folder`.

    `axes` has each swept field's distinct values, seed and fold left out; `rows` one row a run, at
    least one; `histories` each run's epochs; `ensembles` a row (name, split, runs, accuracy,
    mean_accuracy, ece, disagreement) for each combination of runs.
    """
    drawn = pictures(axes, rows, histories)
    for name, content in drawn.items():
        replace(folder / name, content)
    text = page(folder, title, device, command, axes, rows, ensembles, drawn)
    replace(folder / "report.html", text)
