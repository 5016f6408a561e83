"""The report of a run: its pictures, and one self-contained HTML page with everything in it."""

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.doors.bring import short
from engine.parts.inventory import Inventory
from engine.report import page, pictures
from engine.store.files import replace


class Card(NamedTuple):
    """A headline figure, formatted, and what it may as well be."""

    name: str
    value: str
    interval: str = ""


class Shown(NamedTuple):
    """What a task has to show of a run.

    `cards` are headline figures; `names` the curves, such as ("loss",
    "accuracy"); `table` the head and the rows by class or label, its first column's name the
    heading; `note` explains it. A picture is (file name, text, PNG): the text is its heading, and
    after a colon and a space what explains it. `scores` are rows (name, value, low, high), the
    last two of its interval, or None.
    """

    cards: Sequence[Card | tuple[str, str]]
    names: tuple[str, ...]
    table: tuple[list[str], list[list[Any]]] | None = None
    note: str = ""
    pictures: Sequence[tuple[str, str, bytes]] = ()
    scores: Sequence[list[Any]] = ()


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
    asked = saved["config"]
    objects = [str(asked.get(n)).startswith("<") for n in ("model", "task", "optimizer", "augment")]
    if any(objects) or asked["dataset"] == "arrays":
        return (f"from flaxmill import fit, load\n\nrun = load({str(run_dir)!r}, config)\n"
                f"run = fit(config, hyper, data=..., resume={str(run_dir)!r})")
    pictures = len(saved["image_shape"]) == 3 and saved.get("input_dtype", "uint8") == "uint8"
    return (f"python launch.py --resume {quoted}\npython launch.py eval --run_dir {quoted}"
            + f"\npython launch.py predict --run_dir {quoted} image.png" * pictures)


def write(
    run_dir: Path, saved: dict[str, Any], history: list[dict[str, Any]], metrics: dict[str, Any],
    show: Callable[[], Shown], more: Callable[[], Sequence[tuple[str, str, bytes]]] = tuple,
) -> None:
    """curves.png, the task's pictures and report.html into `run_dir`.

    `saved` is config.json's content, `history` its epochs' rows, `metrics` metrics.json's; `show`
    draws what the task has to show, `more` other pictures.
    """
    shown, asked, speed = show(), saved["config"], metrics["examples_per_second"]
    shown = shown._replace(pictures=[*shown.pictures, *more()])
    curves = pictures.curves(history, shown.names)
    cost = [("examples a second", f"{speed:,.0f}" if speed else "–"),
            ("training", f"{metrics['seconds_train']:.1f} s"),
            ("compilation", f"{metrics['seconds_compile']:.1f} s")]
    text = page.render(
        "run.html", title=f"{short(asked['model'])} on {asked['dataset']}",
        subtitle=f"{metrics['num_examples']:,} examples of {metrics['split']} · epoch "
        f"{metrics['epoch']} of {len(history)}, the best by validation · {saved['device']}",
        understood=_understood(saved["data"]),
        shown=shown._replace(cards=[*shown.cards, *cost]), curves=curves,
        epochs=_epochs(history, shown.names), again=_again(run_dir, saved),
        configuration=json.dumps(saved, indent=2, ensure_ascii=False, default=str),
    )
    for name, _, png in [("curves.png", "", curves), *shown.pictures]:
        replace(run_dir / name, png)
    replace(run_dir / "report.html", text)
