"""A run's pictures, read back from the figures before they are drawn, and its page."""

import html
import io
import itertools
import math
import re
import tomllib

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from rich.console import Console

from engine.console.number import number
from engine.console.progress import Progress
from engine.drawn import answers, charts, pictures
from engine.drawn.shown import Shown
from engine.parts.inventory import Inventory
from engine.report import page
from engine.report import run as report
from engine.scores.judged import Judged
from engine.tasks.classification import Classification, Tally

EVIL = "<img src=x onerror=alert(1)>"


def run(classes: list[str]):
    """A run's material: (config, history, metrics)."""
    confusion = np.random.default_rng(0).integers(0, 9, (len(classes), len(classes)))
    count = int(confusion.sum())
    tally = Tally(np.float32(count), np.trace(confusion), np.int32(count))
    true, said = (np.repeat(at.ravel(), confusion.ravel()) for at in np.indices(confusion.shape))
    logits = 2 * np.eye(len(classes), dtype=np.float32)[said]  # nothing is said of probabilities
    scores = Classification().summarise(Judged(tally, logits, true, true.take), tuple(classes))
    scores |= {"split": "test", "examples_per_second": 9.0, "seconds_train": 1.0,
               "seconds_compile": 2.0, "epoch": 1}
    row = {"epoch": 1, "step": 3, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.1,
           "val_accuracy": 0.4, "seconds": 1.0, "learning_rate": 1e-3}
    data = Inventory(EVIL, dict.fromkeys(classes, 3), dict.fromkeys(classes, 1), (EVIL,), (EVIL,))
    config = {"config": {"model": "cnn", "dataset": EVIL}, "device": "cpu",
              "image_shape": [8, 8, 3], "data": data._asdict()}
    return config, [row], scores


def wrong(count: int, channels: int) -> tuple[np.ndarray, ...]:
    images = np.zeros((count, 8, 8, channels), np.uint8)
    return images, np.zeros(count, int), np.ones(count, int), np.ones(count)


def shown(scores: dict, mistakes: tuple[np.ndarray, ...]) -> Shown:
    """What a classification shows, of classes that may have any name."""
    classes = list(scores["per_class"])
    return Shown(
        [(classes[0], classes[0])], ("loss", "accuracy"),
        (["class", classes[0]], [[name, row["f1"]] for name, row in scores["per_class"].items()]),
        classes[0],
        [("confusion.png", f"Confusion: {classes[0]}",
          pictures.matrix(answers.confusion(np.array(scores["confusion"]), classes))),
         ("mistakes.png", classes[0], pictures.mistakes(*mistakes, classes))],
    )


def test_the_report_is_one_self_contained_page(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "DPI", 50)
    config, history, scores = run([EVIL, "$b", "c$"])
    report.write(tmp_path, config, history, scores, lambda: shown(scores, wrong(2, 3)))
    text = (tmp_path / "report.html").read_text()
    assert EVIL not in text and html.escape(EVIL, quote=False) in text and "<script" not in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) == 2 and "<svg" in text  # what has no chart is there as PNG
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http:" not in text and "https:" not in text
    for name in ("curves.png", "confusion.png", "mistakes.png"):
        picture = Image.open(io.BytesIO((tmp_path / name).read_bytes()))
        low, high = picture.convert("L").getextrema()
        assert picture.width > 150 and high - low > 100, "a blank picture"
    assert not list(tmp_path.glob("*.tmp"))


def test_a_picture_is_drawn_once_its_layout_included(monkeypatch):
    from matplotlib.figure import Figure

    draws, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda *given: draws.append(0) or draw(*given))
    chart = charts.curves([{"epoch": n, "loss": 1 / n} for n in (1, 2)], ["loss"])
    size = Image.open(io.BytesIO(pictures.panels(chart))).size
    assert size == (4.75 * pictures.DPI, int(3.42 * pictures.DPI)) and len(draws) == 1


def tables(text: str) -> list[list[str]]:
    return [re.findall("<t[hd]>(.*?)</t[hd]>", line) for line in re.findall("<tr>(.*?)</tr>", text)]


def test_a_report_serves_a_task_without_classes(tmp_path, figures):
    config = {"config": {"model": "mlp", "dataset": "wine"}, "device": "cpu", "image_shape": [13],
              "input_dtype": "float32",
              "data": Inventory("wine, 178", {}, {}, ("validation: 0.1",), ())._asdict()}
    history = [{"epoch": 1, "step": 3, "loss": 0.5, "val_loss": None, "mse": math.nan,
                "val_mse": 12345678.9, "learning_rate": 1.5e-5},
               {"epoch": 2, "step": 6, "loss": 2e-7, "val_loss": 1.0}]
    scores = {"num_examples": 1234, "split": "test", "examples_per_second": None, "epoch": 2,
              "seconds_train": 1.25, "seconds_compile": 2.0}
    told = Shown([("mse", "0.25")], ("loss", "mse"),
                        pictures=[("predicted.png", "Predicted: against true", b"P")])
    report.write(tmp_path, config, history, scores, lambda: told)
    text = (tmp_path / "report.html").read_text()
    assert "<h1>mlp on wine</h1>" in text and "<dd>2 of 2, the best by validation" in text
    cards = dict(reversed(pair) for pair in
                 re.findall(r'<b>([^<]*)</b><span class="soft">([^<]*)</span>', text))
    assert cards == {"mse": "0.25", "examples a second": "–", "training": "1.2 s",
                     "compilation": "2.0 s"}
    assert tables(text) == [
        ["epoch", "step", "loss", "val_loss", "mse", "val_mse", "learning_rate"],
        ["1", "3", "0.5000", "–", "nan", "1.235e+07", "1.5e-05"],
        ["2", "6", "2e-07", "1.0000", "–", "–", "–"],
        ["differs", "is", "by default"],
        ["model", "mlp", "cnn"], ["dataset", "wine", "cifar10"],
    ]
    assert "<h2>Predicted</h2>" in text and ">Against true</p>" in text and "<h2>By" not in text
    assert (tmp_path / "predicted.png").read_bytes() == b"P"
    assert "eval --run_dir" in text and "predict --run_dir" not in text and "image.png" not in text


def test_a_report_that_fails_costs_a_line_and_not_the_run(tmp_path, capsys):
    with page.spared("the report"):
        report.write(tmp_path, {}, [{}], {}, lambda: Shown([], ("loss",)))
    told = capsys.readouterr().err
    assert told.startswith("the report could not be written: KeyError") and told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value, text", [
    (0.0, "0.0000"), (0.25, "0.2500"), (-3.5, "-3.5000"), (1e-9, "1e-09"), (1e6, "1e+06"),
    (3, "3"), (None, "–"), (math.inf, "inf"), ("a", "a"),
])
def test_numbers_are_written_in_four_digits(value, text):
    assert number(value) == text


def test_every_template_is_packaged():
    found = {path.name for path in (ROOT / "engine/report/templates").iterdir()}
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = {path.name for pattern in patterns["package-data"]["engine.report"]
              for path in (ROOT / "engine/report").glob(pattern)}
    assert found == listed and "page.html" in found


def read(canvas, places, log: bool = False) -> np.ndarray:
    """The values [N, 2] at places of a picture, by what its ticks tell: upwards the more; across
    by their logarithms where they are `log`, and names by their numbers from 0."""
    bottom, top = canvas.get_ylim()
    assert bottom > top  # it is counted downwards, as the page does
    values = []
    for axis, at in zip((canvas.xaxis, canvas.yaxis), np.transpose(places), strict=True):
        names = [label.get_text() for label in axis.get_ticklabels()]
        told = np.arange(len(names)) if names[0].isalpha() else np.array(names, float)
        power = log and axis is canvas.xaxis
        line = np.polyfit(axis.get_ticklocs(), np.log(told) if power else told,
                          min(1, len(told) - 1))
        values.append(np.exp(np.polyval(line, at)) if power else np.polyval(line, at))
    assert np.all(np.diff(canvas.get_yticks()) < 0)
    return np.transpose(values)


def dots_of(canvas) -> list:
    """What is drawn of dots, a collection a style; no cells."""
    return [found for found in canvas.collections if hasattr(found, "get_sizes")]


def told_by_legend(figure) -> dict[str, str]:
    """The name of each colour."""
    (legend,) = figure.legends
    return {handle.get_color(): text.get_text() for handle, text in zip(
        legend.get_lines(), legend.get_texts(), strict=True)}


def test_curves_are_those_of_the_history(figures):
    history = [{"epoch": 1, "loss": 3.0, "val_loss": 4.0, "mse": 5.0},
               {"epoch": 2, "loss": 1.0, "val_loss": None, "mse": math.nan}]
    pictures.panels(charts.curves(history, ("loss", "mse", "nothing")))
    loss, mse = figures[0].axes
    names = told_by_legend(figures[0])
    drawn = {names[line.get_color()]: line for line in loss.get_lines() if len(line.get_xdata())}
    for name, values in (("training", [[1, 3], [2, 1]]), ("validation", [[1, 4]])):
        places = drawn[name].get_xydata()
        np.testing.assert_allclose(read(loss, places), values, atol=0.01)
        assert any(np.array_equal(dots.get_offsets(), places) for dots in dots_of(loss)
                   if len(dots.get_offsets()))
    assert [names[line.get_color()] for line in mse.get_lines()] == ["training"]
    assert [panel.get_title() for panel in (loss, mse)] == ["loss", "mse"]
    assert {panel.get_xlabel() for panel in (loss, mse)} == {"epoch"}


def test_confusion_has_true_classes_down_and_predicted_ones_across(figures):
    matrix = np.array([[5, 1, 0], [2, 7, 4], [0, 0, 0]])
    chart = answers.confusion(matrix, ["a", "$b", "c"])
    pictures.matrix(chart)
    (panel,) = figures[0].axes
    rows, columns = panel.get_yticks().tolist(), panel.get_xticks().tolist()
    shares = 100 * matrix / [[6], [13], [1]]
    read = np.zeros_like(shares)
    for text in panel.texts:
        across, down = text.get_position()
        read[rows.index(down), columns.index(across)] = int(text.get_text())
    np.testing.assert_array_equal(read, shares.round())
    counted = np.zeros_like(matrix)
    for x, y, _, _, said in chart.cells:  # which the page tells under a pointer
        at = rows.index(y + chart.side / 2), columns.index(x + chart.wide / 2)
        counted[at] = int(said.split(": ")[1].split()[0])
    np.testing.assert_array_equal(counted, matrix)
    bottom, top = panel.get_ylim()
    assert bottom > top and rows == sorted(rows)  # the first class is the upmost
    (cells,) = panel.collections
    drawn = {tuple(path.vertices[:4].mean(0).round(6)): colour[3] for path, colour in zip(
        cells.get_paths(), cells.get_facecolors(), strict=True)}
    assert drawn == pytest.approx({
        (columns[c], rows[r]): 0.06 + 0.0064 * shares[r, c]
        for r, c in np.argwhere(matrix).tolist()}, abs=0.005)
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("predicted", "true")
    assert figures[0].get_supxlabel().split() == chart.note.split() and "percent" in chart.note
    for labels in (panel.get_xticklabels(), panel.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["a", r"\$b", "c"]


def test_many_classes_are_named_and_none_counted(figures):
    pictures.matrix(answers.confusion(np.eye(100), [str(i) for i in range(100)]))
    panel = figures[0].axes[0]
    assert not panel.texts and len(panel.get_xticks()) == 100
    for labels in (panel.get_xticklabels(), panel.get_yticklabels()):
        assert [label.get_text() for label in labels] == [str(i) for i in range(100)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 12, 40])
def test_names_of_a_matrix_are_legible(figures, count):
    """They don't overlap, aren't clipped, and are no smaller than a page's small print."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = [f"class {i} of {count} as somebody has written it" for i in range(count)]
    pictures.matrix(answers.confusion(np.eye(count, dtype=int), names))
    FigureCanvasAgg(figures[0]).draw()
    (panel,) = figures[0].axes
    for labels, side in ((panel.get_yticklabels(), 1), (panel.get_xticklabels(), 0)):
        boxes = sorted((label.get_window_extent().extents for label in labels),
                       key=lambda box: box[side])
        assert all(a[side + 2] <= b[side] + 1 for a, b in itertools.pairwise(boxes))
        assert np.min(boxes) >= 0 and np.max(boxes, 0)[2] <= figures[0].bbox.width
        assert np.max(boxes, 0)[3] <= figures[0].bbox.height and labels[0].get_size() >= 9


@pytest.mark.parametrize("channels, kind", [(1, np.uint8), (3, np.uint8), (4, np.float32)])
def test_mistakes_keep_their_order(figures, channels, kind):
    images = np.stack([np.full((8, 8, channels), i) for i in range(3)]).astype(kind)
    assert pictures.are_pictures(images) and not pictures.are_pictures(images[0])
    pictures.mistakes(images, np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([0.9, 0.75, 0.5]),
                      ["a", "b", "c"])
    (panel,) = figures[0].axes
    assert [text.get_text() for text in panel.texts] == [
        "a → b\n90.0%", "b → c\n75.0%", "c → a\n50.0%"]
    if kind == np.uint8:
        assert [image.get_array().max() for image in panel.images] == [0, 1, 2]


def test_a_mistake_is_upright_keeps_its_shape_and_lies_below_its_title(figures):
    images = np.zeros((7, 8, 4, 3), np.uint8)
    images[:, 0] = 255
    pictures.mistakes(images, *wrong(7, 3)[1:], ["a", "b"])
    (panel,) = figures[0].axes
    panel.apply_aspect()  # as drawing does
    corners = panel.transData.transform
    for image, text in zip(panel.images, panel.texts, strict=True):
        left, right, bottom, top = image.get_extent()
        (x0, y0), (x1, y1) = corners([(left, bottom), (right, top)])
        assert (y1 - y0) / (x1 - x0) == pytest.approx(2) and image.origin == "upper"
        across, above = corners(text.get_position())
        assert x0 < across < x1 and 0 < above - y1 < 20
    places = [tuple(image.get_extent()[::3]) for image in panel.images]
    assert len(set(places)) == 7 and places == sorted(places, key=lambda at: (at[1], at[0]))


def test_without_mistakes_the_picture_says_so(figures):
    pictures.mistakes(*wrong(0, 1), ["a"])
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["no mistakes"]


@pytest.mark.parametrize("image, expected", [
    ([0.25, 1.0], [0.25, 1.0]), ([-1.0, 3.0], [0.0, 1.0]), ([2.0, 2.0], [0.0, 0.0]),
    ([math.nan, 0.5], [0.0, 0.5]),
])
def test_floats_are_stretched_only_where_they_must(image, expected):
    visible = pictures.visible(np.array(image).reshape(1, 2, 1))
    np.testing.assert_allclose(visible.ravel(), expected)


def test_predicted_is_drawn_against_true(figures):
    true, guess = np.array([1.0, 2.0, math.nan, 4.0]), np.array([3.0, math.inf, 1.0, 5.0])
    pictures.panels(answers.predicted(true, guess, ["y"]))
    (panel,) = figures[0].axes
    (dots,), (diagonal,) = dots_of(panel), panel.get_lines()
    np.testing.assert_allclose(read(panel, dots.get_offsets()), [[1, 3], [4, 5]], atol=0.01)
    assert (panel.get_xlabel(), panel.get_title()) == ("true", "y, predicted")
    (left, low), (right, high) = read(panel, diagonal.get_xydata())
    assert (left, right) == pytest.approx((low, high), abs=0.01)
    assert 0 < left < 1 and 5 < right < 6  # the diagonal draws nothing else in


def test_many_points_are_counted_and_four_outputs_drawn(figures):
    values = np.random.default_rng(0).normal(size=(answers.POINTS + 1, 6))
    chart = answers.predicted(values, values, "abcdef")
    pictures.panels(chart)
    titles = [panel.get_title().replace("\n", " ") for panel in figures[0].axes]
    assert [title.partition(":")[0] for title in titles] == [
        f"{name}, {k} of 6, predicted" for k, name in enumerate("abcd", 1)]
    for panel, drawn, title in zip(chart.panels, figures[0].axes, titles, strict=True):
        counts = [int(said.split()[-2]) for *_, said in panel.cells]
        assert sum(counts) == len(values) and f"up to {max(counts)} examples" in title
        (cells,) = drawn.collections
        assert len(cells.get_paths()) == len(counts)
        assert cells.get_facecolors()[:, 3].argmax() == np.argmax(counts)


def test_bars_are_sorted_and_bounded(figures):
    told = {"a": ", AP 0.1", "$b": ", AP 0.2", "c": ", AP –"}
    pictures.drawn(charts.bars({"a": 0.5, "$b": 0.75, "c": 0.0}, "F1", told))
    pictures.drawn(charts.bars({str(i): 1 - i / 89 for i in range(90)}))
    few, many = (figure.axes[0] for figure in figures)
    assert [label.get_text() for label in few.get_yticklabels()] == [r"\$b", "a", "c"]
    assert [bar.get_width() for bar in few.containers[0]] == [100, 66.7, 0]
    assert [(text.get_position()[1], text.get_text()) for text in few.texts] == [
        (0, "0.7500, AP 0.2"), (1, "0.5000, AP 0.1"), (2, "0.0000, AP –")]
    bottom, top = few.get_ylim()
    assert bottom > top and few.get_xlabel() == "F1"  # the best is the upmost
    names = [int(label.get_text()) for label in many.get_yticklabels()]
    assert names == [*range(20), *range(70, 90)]


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
    trained = {name: VALUES[name] for name in ("loss", "accuracy")}
    for width in (80, 130):
        line, stream = progress(terminal=True, width=width)
        line.update(3, 700, 4.0, trained)
        line.finish(3, 9.2, VALUES)
        moved, last = stream.getvalue().split("\r\x1b[K")[1:]
        assert " 700/1563 " in moved and "·" in moved and last.endswith("\n")
        assert max(len(moved), len(last) - 1) < width and last.count("━") >= 5
    line, stream = progress(terminal=True, width=80)
    line.finish(3, 9.2, VALUES)
    assert " 9s - loss 1.0234, val 1.1000 - accuracy 0.5000, val 0.6100\n" in stream.getvalue()


def test_a_terminal_too_narrow_for_a_line_has_it_broken_between_words():
    line, stream = progress(terminal=True, width=40)
    line.update(3, 700, 4.0, VALUES)
    line.finish(3, 9.2, VALUES)
    moved, last = stream.getvalue().split("\r\x1b[K")[1:]
    assert len(moved) < 40 and all(len(row) <= 40 for row in last.splitlines())
    assert last.split() == ("Epoch 3/10 9s - loss 1.0234, val 1.1000 - accuracy 0.5000, "
                            "val 0.6100").split()


def test_a_line_left_half_way_is_ended():
    line, stream = progress(terminal=True)
    with line:
        line.finish(2, 9.2, VALUES)
        line.update(3, 700, 4.0, VALUES)
    assert stream.getvalue().count("\n") == 2 and stream.getvalue().endswith("\n")
