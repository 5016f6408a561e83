"""A run's plots as PNG, and one self-contained HTML page with everything in it."""

import base64
import html
import io
import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.folder import replace


class Mistakes(NamedTuple):
    """The most confident wrong answers: uint8 images, int labels [K], float probability [K]."""

    images_KxHxWxC: np.ndarray
    true_K: np.ndarray
    predicted_K: np.ndarray
    probability_K: np.ndarray


TRAINING, VALIDATION = "#2563eb", "#d97706"
COUNTED_CLASSES = 20  # above this, numbers in the confusion matrix can't be read


def png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def curves(history: list[dict[str, Any]]) -> bytes:
    """Loss and accuracy by epoch, training and validation, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, colour in (
            (name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION)
        ):
            axes.plot(epochs, [row[key] for row in history], "o-", ms=3, c=colour, label=label)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return png(figure)


def confusion(matrix_CxC: np.ndarray, classes: list[str]) -> bytes:
    """A heat map of each true class's shares, counts written in where they can be read, as PNG."""
    import seaborn
    from matplotlib.figure import Figure

    matrix = np.asarray(matrix_CxC, np.float64)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    few = len(classes) <= COUNTED_CLASSES
    side = 2 + (0.55 if few else 0.12) * len(classes)
    figure = Figure(figsize=(max(4.5, side + 1), max(4, side)), layout="constrained")
    axes = figure.subplots()
    names = [plain(short(name)) for name in classes]
    seaborn.heatmap(
        shares, ax=axes, cmap="Blues", vmin=0, vmax=1, square=True, xticklabels=names,
        yticklabels=names, annot=matrix.astype(int) if few else None, fmt="d",
        annot_kws={"size": 8}, cbar_kws={"label": "share of the true class", "shrink": 0.8},
    )
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(axis="x", rotation=90 if len(classes) > 5 else 0)
    axes.tick_params(axis="y", rotation=0)
    return png(figure)


def short(text: str, length: int = 24) -> str:
    """The beginning of a long text: a picture has no room for more."""
    return text if len(text) <= length else text[: length - 1] + "…"


def plain(name: str) -> str:
    """A class name as matplotlib text: a dollar sign would start mathematics."""
    return name.replace("$", r"\$")


def mistakes(wrong: Mistakes, classes: list[str]) -> bytes:
    """A grid of the most confident mistakes, as PNG; a picture that says so where there is none."""
    from matplotlib.figure import Figure

    count = len(wrong.true_K)
    columns = max(1, min(5, count))
    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(max(5, 1.9 * columns), 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    names = [plain(short(name)) for name in classes]
    for axes in grid:
        axes.axis("off")
    for axes, image, true, predicted, share in zip(grid, *wrong, strict=False):
        axes.imshow(image.squeeze(), cmap="gray" if image.shape[-1] == 1 else None)
        axes.set_title(
            f"{names[true]} → {names[predicted]}\n{share:.1%}", fontsize=9
        )
    if not count:
        grid[0].text(0.5, 0.5, "no mistakes", ha="center", va="center", fontsize=14)
    return png(figure)


STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #667085; --line: #e4e7ec; --page: #fff;
  --card: #f8f9fb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #9aa3b2; --line: #2d323b;
  --page: #14171c; --card: #1c2027; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; background: var(--page);
  color: var(--ink); font: 15px/1.55 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.6rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.05rem; margin: 2.5rem 0 .8rem; }
.soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .7rem;
  margin-top: 1.5rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .7rem .9rem; }
.card b { display: block; font-size: 1.35rem; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 500; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 10px; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem;
  overflow-x: auto; font-size: 13px; }
"""


def _cell(value: Any) -> str:
    return html.escape(f"{value:.4f}" if isinstance(value, float) else str(value))


def table(head: list[str], rows: list[list[Any]]) -> str:
    top = "".join(f"<th>{_cell(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{_cell(v)}</td>" for v in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def picture(content: bytes, alt: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def _cards(metrics: dict[str, Any]) -> str:
    speed = metrics["examples_per_second"]
    shown = [
        ("accuracy", f"{metrics['accuracy']:.2%}"),
        ("loss", f"{metrics['loss']:.4f}"),
        ("precision, macro", f"{metrics['precision_macro']:.4f}"),
        ("recall, macro", f"{metrics['recall_macro']:.4f}"),
        ("F1, macro", f"{metrics['f1_macro']:.4f}"),
        ("images a second", f"{speed:,.0f}" if speed else "–"),
        ("training", f"{metrics['seconds_train']:.1f} s"),
        ("compilation", f"{metrics['seconds_compile']:.1f} s"),
    ]
    if "top5_accuracy" in metrics:
        shown.insert(1, ("top-5 accuracy", f"{metrics['top5_accuracy']:.2%}"))
    return "".join(
        f'<div class="card"><b>{html.escape(value)}</b><span class="soft">{name}</span></div>'
        for name, value in shown
    )


# Should a value ever slip through unescaped, a browser still runs and fetches nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; " \
    "form-action 'none'"


def document(title: str, body: str, style: str = STYLE) -> str:
    """An HTML document headed by its title; `body` is HTML that follows."""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)} · flaxmill</title><style>{style}</style>
<h1>{html.escape(title)}</h1>{body}</html>
"""


def page(
    run_dir: Path, config: dict[str, Any], history: list[dict[str, Any]], metrics: dict[str, Any],
    pictures: dict[str, bytes],
) -> str:
    """The whole report as one HTML document without scripts or remote parts."""
    asked = config["config"]
    title = f"{asked['model']} on {asked['dataset']}"
    columns = ["epoch", "step", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    epochs = [[*(row[name] for name in columns[:-1]), f"{row['learning_rate']:.3g}"]
              for row in history]
    classes = [[name, *row.values()] for name, row in metrics["per_class"].items()]
    quoted = shlex.quote(str(run_dir))
    again = (f"python launch.py --resume {quoted}\npython launch.py eval --run_dir {quoted}\n"
             f"python launch.py predict --run_dir {quoted} image.png")
    return document(title, f"""
<div class="soft">{metrics["num_examples"]:,} examples of {html.escape(metrics["split"])} ·
{html.escape(config["device"])}</div>
<div class="cards">{_cards(metrics)}</div>
<h2>Epochs</h2>{picture(pictures["curves.png"], "Loss and accuracy by epoch")}
{table(columns, epochs)}
<h2>Classes</h2>{table(["class", "precision", "recall", "f1", "support"], classes)}
<p class="soft">A class never predicted has precision 0.</p>
{picture(pictures["confusion.png"], "Confusion matrix: rows true, columns predicted")}
<h2>Most confident mistakes</h2>
<p class="soft">True class → predicted class, and the probability given to it.</p>
{picture(pictures["mistakes.png"], "Grid of misclassified images")}
<h2>Go on</h2><pre>{html.escape(again)}</pre>
<h2>Configuration</h2><pre>{html.escape(json.dumps(config, indent=2, ensure_ascii=False))}</pre>
""")


def write(
    run_dir: Path, config: dict[str, Any], history: list[dict[str, Any]], metrics: dict[str, Any],
    wrong: Mistakes,
) -> None:
    """curves.png, confusion.png, mistakes.png and report.html into `run_dir`.

    `config` is config.json's content, `history` its epochs' rows, `metrics` metrics.json's.
    """
    classes = list(metrics["per_class"])
    pictures = {
        "curves.png": curves(history),
        "confusion.png": confusion(np.array(metrics["confusion"]), classes),
        "mistakes.png": mistakes(wrong, classes),
    }
    for name, content in pictures.items():
        replace(run_dir / name, content)
    text = page(run_dir, config, history, metrics, pictures)
    replace(run_dir / "report.html", text)
