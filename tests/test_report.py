import html
import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from engine import metrics
from engine.loggers.progress import Progress
from engine.report import run as report

EVIL = "<img src=x onerror=alert(1)>"


def run(classes: list[str]):
    """A run's material: (config, history, metrics)."""
    confusion = np.random.default_rng(0).integers(0, 9, (len(classes), len(classes)))
    count = int(confusion.sum())
    tally = metrics.Tally(np.float32(count), np.trace(confusion), np.int32(count))
    scores = metrics.summarise(metrics.Evaluation(tally, np.int32(count), confusion), classes)
    scores |= {"split": "test", "examples_per_second": 9.0, "seconds_train": 1.0,
               "seconds_compile": 2.0}
    row = {"epoch": 1, "step": 3, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.1,
           "val_accuracy": 0.4, "seconds": 1.0, "learning_rate": 1e-3}
    return {"config": {"model": "cnn", "dataset": EVIL}, "device": "cpu"}, [row], scores


def wrong(count: int, channels: int) -> report.Mistakes:
    images = np.zeros((count, 8, 8, channels), np.uint8)
    return report.Mistakes(images, np.zeros(count, int), np.ones(count, int), np.ones(count))


@pytest.mark.parametrize("classes, count, channels", [(2, 0, 3), (10, 7, 1), (100, 25, 3)])
def test_the_report_is_one_self_contained_page(tmp_path, classes, count, channels):
    names = [EVIL, *(f"$class_{i}" for i in range(1, classes))]
    report.write(tmp_path, *run(names), wrong(count, channels))
    text = (tmp_path / "report.html").read_text()
    assert EVIL not in text and html.escape(EVIL) in text and "<script" not in text
    for source in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert source.startswith("data:image/png;base64,")
    assert "http:" not in text and "https:" not in text
    for name in ("curves.png", "confusion.png", "mistakes.png"):
        picture = Image.open(io.BytesIO((tmp_path / name).read_bytes()))
        low, high = picture.convert("L").getextrema()
        assert picture.width > 300 and high - low > 100, "a blank picture"
    assert not list(tmp_path.glob("*.tmp"))


VALUES = {"loss": 1.02341, "accuracy": 0.5, "val_loss": 1.1, "val_accuracy": 0.61}


def progress(terminal: bool, width: int = 200) -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width)
    return Progress(10, 1563, console), stream


def test_elsewhere_one_plain_line_an_epoch():
    line, stream = progress(terminal=False)
    line.update(3, 700, 4.0, VALUES)
    line.finish(3, 9.2217, VALUES)
    assert stream.getvalue() == (
        "Epoch 3/10 1563/1563 " + "━" * 20 + " 9s 5.9ms/step - loss 1.0234 - accuracy 0.5000"
        " - val_loss 1.1000 - val_accuracy 0.6100\n"
    )


def test_in_a_terminal_the_line_moves_and_fits():
    line, stream = progress(terminal=True, width=110)
    line.update(3, 700, 4.0, VALUES)
    line.finish(3, 9.2, VALUES)
    moved, last = stream.getvalue().split("\r\x1b[K")[1:]
    assert " 700/1563 " in moved and "·" in moved and last.endswith("\n")
    assert max(len(moved), len(last) - 1) < 110


def test_a_line_left_half_way_is_ended():
    line, stream = progress(terminal=True)
    with line:
        line.finish(2, 9.2, VALUES)
        line.update(3, 700, 4.0, VALUES)
    assert stream.getvalue().count("\n") == 2 and stream.getvalue().endswith("\n")
