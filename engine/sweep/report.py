"""The report of a sweep: its plots, and one self-contained HTML page."""

import math
import shlex
from pathlib import Path
from typing import Any

import pandas

from engine.config import Config
from engine.console.number import number
from engine.disk import files
from engine.drawn import pictures
from engine.drawn.shown import Card, Shown
from engine.optim.patience import Monitor
from engine.report import page, run
from engine.report.settings import called, unsaid
from engine.store.folder import config
from engine.sweep import charts, ranking
from engine.sweep.charts import Axes, Histories

STATUSES = "stopped", "dropped", "diverged", "refused"  # what else may become of a run than done

ENSEMBLE = {"name": "ensemble", "split": "split", "runs": "runs", "accuracy": "accuracy",
            "mean_accuracy": "mean accuracy", "ece": "ECE", "disagreement": "disagreement"}


def _table(found: pandas.DataFrame, axes: Axes) -> tuple[list[str], list[list[Any]]]:
    """The head and the rows; axis values as they are read, None for what is no number."""
    found = found.replace([math.inf, -math.inf], math.nan).astype(object)
    found = found.where(found.notna(), None)
    return [*found], found.assign(
        **{name: [ranking.shown(value, 60) for value in found[name]] for name in axes}
    ).values.tolist()


def _cards(axes: Axes, runs: pandas.DataFrame, best: Any, first: Any) -> list[Any]:
    """The best setting and the best run, how many runs, and what became of those that were lost."""
    statuses = runs["status"].value_counts().to_dict()
    lost = [(status, str(statuses[status])) for status in STATUSES if status in statuses]
    value = number(best["mean"] if best["counted"] else None)
    return [
        (f"best setting: {ranking.in_words(axes, best)}", value),
        ("best run" + f": {first['run']}" * bool(first["counted"]), ranking.mean(first)),
        ("runs", str(len(runs))), *lost,
    ]


def _again(folder: Path, best: str, asked: Config) -> str:
    """What goes on from here: commands, or Python where data or parts were objects there."""
    if not (objects := unsaid(asked)):
        recipe, run = (shlex.quote(str(folder / name)) for name in ("best.py", best))
        return f"python launch.py --config {recipe}\npython launch.py eval --run_dir {run}"
    return (f"from flaxmill import fit, load, sweep\n\nrun = load({str(folder / best)!r}, config)\n"
            f"found = {called('sweep', asked, folder)}\n"
            f"run = fit(*found.best{', data=...' * ('data' in objects)})")


def member(folder: Path, title: str, row: dict[str, Any], axes: Axes,
           history: list[dict[str, Any]], score: Monitor) -> bool:
    """report.html of a run of the sweep, in its own folder; False where it left none."""
    path = folder / str(row["run"])
    try:
        saved = config(path)
    except FileNotFoundError:
        return False
    value = history[-1].get(score.name) if history else None
    shown = Shown([Card(score.words, number(value))],
                      tuple(dict.fromkeys(("loss", score.metric))))
    took = sum(epoch["seconds"] for epoch in history)
    text = run.render(
        path, saved, history, shown, f"{len(history)}, the last, whose checkpoint is kept",
        [("training", run.lasted(took))], f"at epoch {len(history)}, {row['status']}",
        [("Swept", ranking.in_words(axes, row))], back=title)
    files.replace(path / "report.html", text)
    return True


def write(
    folder: Path, title: str, device: str, command: str, axes: Axes, rows: list[dict[str, Any]],
    histories: Histories, ensembles: list[dict[str, Any]], score: Monitor,
    given: Config | None = None,
) -> None:
    """The pictures that the axes call for, each run's own report.html, and report.html, into
    `folder`. `rows` are those of results.jsonl, `ensembles` of ensembles.json; `given` is the best
    run's, which may have objects."""
    runs, by = pandas.DataFrame(rows), score.name
    settings, order = (ranking.ranked(runs, keys, score)[1] for keys in (axes, ["run"]))
    shown = charts.drawn(axes, runs, histories, score)
    for picture in shown:
        files.replace(folder / picture.file, pictures.drawn(picture.chart))
    linked = {row["run"] for row in rows
              if member(folder, title, row, axes, histories.get(row["run"], []), score)}
    means = [ranking.mean(setting) for _, setting in settings.iterrows()]
    spoken = settings.assign(**{by: means, "runs": settings["runs"].map(len)})
    lost = [name for name in ranking.LOST if spoken[name].any()]
    asked = dict.fromkeys(("run", "status", "seed", "fold", *axes, "epochs", "val_loss", by,
                           f"best_{by}"))
    columns = [name for name in asked if name in runs and (name != "fold" or runs["fold"].any())]
    text = page.render(
        "sweep.html", title=title, device=device, mean=ranking.mean(settings.iloc[0]),
        score=by, higher=score.higher,
        cards=_cards(axes, runs, settings.iloc[0], order.iloc[0]),
        pictures=shown,
        settings=_table(spoken[[*axes, "runs", by, "best", *lost]].rename(
            columns={"best": "best run"}), axes),
        ensembles=_table(pandas.DataFrame(ensembles, columns=[*ENSEMBLE]).rename(columns=ENSEMBLE),
                         {}),
        runs=_table(runs.set_index("run", drop=False).loc[order["run"], columns], axes),
        linked=linked, command=command,
        again=_again(folder, str(order["run"][0]), given or Config()),
    )
    files.replace(folder / "report.html", text)
