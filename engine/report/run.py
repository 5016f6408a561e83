"""The report of a run: its pictures, and one self-contained HTML page with everything in it."""

import datetime
import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from engine.disk import whereabouts
from engine.disk.files import replace
from engine.doors.bring import short
from engine.drawn import charts, fonts, pictures
from engine.drawn.shown import Picture, Shown
from engine.errors import some
from engine.optim import trees
from engine.parts.inventory import Inventory
from engine.report import page, settings

LONG = 230  # characters of a fact


def _epochs(history: list[dict[str, Any]], names: tuple[str, ...]) -> tuple[list[str], list[list]]:
    """The head and the rows of the epochs' table; a column that no row has is left out."""
    both = [key for name in names for key in (name, f"val_{name}")]
    head = [key for key in ("epoch", "step", *both, "learning_rate")
            if any(row.get(key) is not None for row in history)]
    return head, [[row.get(key) for key in head] for row in history]


def _understood(data: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """What the inventory in config.json says, and a row a class: its name and examples."""
    found = Inventory(**data)
    rows = [[name, count, found.validation[name]] for name, count in found.train.items()]
    return found.lines(), rows


def _again(run_dir: Path, saved: dict[str, Any]) -> str:
    """The commands that go on from here."""
    quoted = shlex.quote(str(run_dir))
    if not settings.is_typed(saved):
        return (f"from flaxmill import fit, load\n\nrun = load({str(run_dir)!r}, config)\n"
                f"run = fit(config, hyper, data=..., resume={str(run_dir)!r})")
    pictures = len(saved["image_shape"]) == 3 and saved.get("input_dtype", "uint8") == "uint8"
    return (f"python launch.py --resume {quoted}\npython launch.py eval --run_dir {quoted}"
            + f"\npython launch.py predict --run_dir {quoted} image.png" * pictures)


def lasted(seconds: float) -> str:
    """A duration in words."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _learned_by(saved: dict[str, Any]) -> list[tuple[str, str]]:
    """The optimizer with its values, or those of trees."""
    own, values = saved["config"], {k: v for k, v in saved.get("hyper", {}).items()
                                    if v is not None}
    told = {"learning_rate", "max_depth", *(name for name, *_ in settings.differing(saved))}
    more = [f"{name.replace('_', ' ')} {value:g}" for name, value in values.items()
            if name in told]
    if trees.values_of(own.get("model")):
        return [("Trees", ", ".join(more))]
    words = [short(own.get("optimizer", "")), *more, f"batches of {own.get('batch_size', '–')}"]
    schedule = own.get("schedule", "constant")
    return [("Optimizer", ", ".join(words) + f", {schedule}" * (schedule != "constant"))]


def _classes(line: str, names: Iterable[str]) -> tuple[str, str]:
    """What the inventory's `line` says of them, without a list of names that is long."""
    told = line.removeprefix("classes: ")
    return "Classes", told if len(told) <= LONG else told.replace(f" ({some([*names])})", "")


def _facts(saved: dict[str, Any], best: str) -> list[tuple[str, str]]:
    """What was done, by name: which epoch is the `best`, on what, by what, where, when."""
    found = Inventory(**saved["data"]) if "data" in saved else None
    data, *others = found.lines() if found else ["data: –"]
    classes = [_classes(others[0], found.train)] if found and found.train else []
    now = datetime.datetime.now().astimezone()
    return [("Best epoch", best), ("Trained on", data.removeprefix("data: ")), *classes,
            *_learned_by(saved), ("Device", saved["device"]), ("Date", f"{now:%-d %B %Y, %H:%M}")]


def render(
    run_dir: Path, saved: dict[str, Any], history: list[dict[str, Any]], shown: Shown,
    best: str, cost: Sequence[tuple[str, str]], judged: str, facts: Sequence[tuple[str, str]] = (),
    back: str = "",
) -> str:
    """The page of a run. `best` tells its best epoch, `judged` what its first card is of, `cost`
    are cards of its throughput; `facts` come besides, and `back` leads to the sweep that it is of.
    """
    own = saved["config"]
    seconds = charts.Line("", "soft", [(row["epoch"], row.get("seconds")) for row in history])
    speed = charts.panel("seconds an epoch", [seconds], "epoch", whole=True)
    return page.render(
        "run.html", title=f"{short(own['model'])} on {own['dataset']}", judged=judged,
        facts=[*_facts(saved, best), *facts], shown=shown, cost=cost, back=back,
        curves=charts.curves(history, shown.names), speed=charts.Panels([speed]),
        understood=_understood(saved["data"]) if "data" in saved else ([], []),
        epochs=_epochs(history, shown.names), again=_again(whereabouts.told(run_dir), saved),
        command=settings.command(saved) if settings.is_typed(saved) else "",
        differing=settings.differing(saved), numbered=fonts.numbered(saved.get("classes", [])),
        configuration=json.dumps(saved, indent=2, ensure_ascii=False, default=str),
    )


def write(
    run_dir: Path, saved: dict[str, Any], history: list[dict[str, Any]], metrics: dict[str, Any],
    show: Callable[[], Shown], more: Callable[[], Sequence[Any]] = tuple,
) -> None:
    """curves.png, the task's pictures and report.html into `run_dir`.

    `saved` is config.json's content, `history` its epochs' rows, `metrics` metrics.json's; `show`
    draws what the task has to show, `more` other pictures.
    """
    shown, speed = show(), metrics["examples_per_second"]
    made = [Picture(*picture) for picture in (*shown.pictures, *more())]
    shown = shown._replace(pictures=made)
    peak = metrics.get("peak_device_bytes")
    cost = [("examples a second", f"{speed:,.0f}" if speed else "–"),
            ("training", lasted(metrics["seconds_train"])),
            ("compilation", lasted(metrics["seconds_compile"])),
            *([("peak of device memory", f"{peak / 2**20:,.0f} MiB")] if peak else [])]
    size = metrics.get("parameters")
    whole = lasted(metrics["seconds_train"] + metrics["seconds_compile"])
    best = f"{metrics['epoch']} of {len(history)}, the best by validation" + (
        f": checkpoints/{metrics['step']}" if "step" in metrics else "")
    text = render(
        run_dir, saved, history, shown, best, cost,
        f"of {metrics['num_examples']:,} examples of {metrics['split']}",
        [("Duration", whole), *([("Parameters", f"{size:,}")] if size else [])])
    curves = Picture("curves.png", "", chart=charts.curves(history, shown.names))
    pngs = {of.file: of.png or pictures.drawn(of.chart, saved.get("classes", []))
            for of in (curves, *made)}
    for name, png in pngs.items():
        replace(run_dir / name, png)
    replace(run_dir / "report.html", text)
