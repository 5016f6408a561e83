"""Charts of a page: places, texts and what is left out have known answers; its colours contrast."""

import dataclasses
import itertools
import math
import re
import shlex

import numpy as np
import pytest
from conftest import ROOT

from engine.command import flags
from engine.config import Config, Hyper
from engine.drawn import answers, charts, pictures
from engine.drawn.charts import Line
from engine.drawn.matrix import cut
from engine.optim.trees import XGBoost
from engine.report import notebook, page, settings
from engine.request import Request
from engine.store import record
from engine.width import shortened


def place(ticks: list[tuple[float, str]], text: str) -> float:
    return next(at for at, told in ticks if told == text)


def test_a_point_lies_at_its_ticks():
    drawn = charts.panel("t", [Line("a", "c0", [(1, 0.0), (2, 5.0), (3, 10.0)])], "epoch",
                         whole=True)
    ((style, places, marks),) = drawn.lines
    assert style == "c0" and [mark.said for mark in marks] == [
        "a, epoch 1: 0", "a, epoch 2: 5", "a, epoch 3: 10"]
    assert [mark.x for mark in marks] == [place(drawn.xticks, text) for text in "123"]
    assert [mark.y for mark in (marks[0], marks[2])] == [
        place(drawn.yticks, text) for text in ("0", "10")]
    assert marks[0].y > marks[1].y > marks[2].y  # SVG counts downwards
    assert places == [(mark.x, mark.y) for mark in marks]
    assert page.path([(1.0, 20.5), (3.0, 4.0)]) == "M1 20.5L3 4"


def test_what_is_no_number_is_left_out_and_one_epoch_is_a_point_in_the_middle():
    history = [{"epoch": 1, "loss": 2.0, "val_loss": None, "mse": math.nan}]
    loss, mse = charts.curves(history, ("loss", "mse", "nothing")).panels
    ((_, _, (mark,)),) = loss.lines
    assert not mse.lines and (loss.title, mse.title) == ("loss", "mse")
    assert mark.x == pytest.approx((charts.LEFT + charts.RIGHT) / 2)
    assert [text for _, text in loss.xticks] == ["1"]


def test_names_of_ticks_keep_apart():
    named = [(value, "a long name") for value in range(40)]
    drawn = charts.panel("t", [Line("a", "c0", [(v, v) for v, _ in named])], named=named)
    places = [at for at, _ in drawn.xticks]
    assert 2 < len(places) < 8 and min(b - a for a, b in itertools.pairwise(places)) > 70


def test_a_logarithmic_axis_has_equal_steps_for_equal_factors():
    drawn = charts.panel("t", [Line("a", "c0", [(1e-3, 1), (1e-2, 1), (1e-1, 1)])], log=True)
    x = [mark.x for mark in drawn.lines[0][2]]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)


def test_a_confusion_matrix_tells_shares_of_the_true_class():
    drawn = answers.confusion(np.array([[2, 1, 0], [0, 4, 0], [3, 1, 4]]), ["a", "b", "c"])
    rows, columns = ({name: at for at, name, _ in side} for side in (drawn.rows, drawn.columns))
    told = {(y + drawn.side / 2, x + drawn.wide / 2): (opacity, text, said)
            for x, y, opacity, text, said in drawn.cells}
    assert told.keys() == {(rows[r], columns[c]) for r, c in ("aa", "ab", "bb", "ca", "cb", "cc")}
    assert told[rows["c"], columns["a"]][1:] == ("38", "c → a: 3 (37.5%)")
    assert told[rows["b"], columns["b"]][0] == 0.7
    assert drawn.note == "Of each true class the share that is said to be each, in percent."
    assert drawn.pairs == [["c", "a", 3, 0.375], ["a", "b", 1, 1 / 3], ["c", "b", 1, 0.125]]


@pytest.mark.parametrize("count, shown, words", [
    (30, 30, ""), (31, 31, " The most confused classes come first."),
    (250, 200, " The most confused classes come first; the first 200 of 250."),
])
def test_of_many_classes_the_most_confused_come_first(count, shown, words):
    matrix = np.eye(count, dtype=int) * 9
    matrix[count - 1, count - 2] = 5
    drawn = answers.confusion(matrix, [f"class {i}" for i in range(count)])
    assert len(drawn.rows) == len(drawn.columns) == shown
    assert drawn.note == ("Of each true class the share that is said to be each: the darker, the "
                          "larger." + words)
    first = f"class {count - 2}" if words else "class 0"
    assert drawn.rows[0][2] == drawn.columns[0][2] == first
    assert drawn.pairs == [[f"class {count - 1}", f"class {count - 2}", 5, 5 / 14]]


def test_a_long_name_is_cut_in_the_middle():
    assert shortened("abcdefghijklmnopqrstuvwxyz", 9) == "abcd…wxyz"
    assert shortened("abcdefghi", 9) == "abcdefghi"
    assert {shortened("abcdefghi", length) for length in (-3, 1, 2, 3)} == {"a…i"}


def test_names_are_cut_no_more_than_leaves_them_apart():
    alike = [f"the class {word} as somebody writes it" for word in ("alpha", "omega")]
    assert cut(alike) == ["the class alph…ody writes it", "the class omeg…ody writes it"]
    assert [len(name) for name in cut([f"{n} {alike[0]}" for n in range(3)])] == [20] * 3


def test_many_points_are_counted_in_cells():
    true = np.random.default_rng(0).normal(size=answers.POINTS + 1)
    (many,) = answers.predicted(true, 2 * true, ["y"]).panels
    assert sum(int(cell[-1].split()[-2]) for cell in many.cells) == len(true) and not many.dots
    (few,) = answers.predicted(np.array([1.0, math.nan]), np.array([2.0, 1.0]), ["y"]).panels
    assert [dot.said for dot in few.dots] == ["true 1, predicted 2"] and few.straight
    ends = min(true.min(), 2 * true.min()), max(true.max(), 2 * true.max())
    (low, high) = charts.panel("", dots=[charts.Dot(end, end, "") for end in ends],
                               square=True).dots
    for _, top, _, tall, _, said in many.cells:  # its lower edge is what it says
        value = float(said.split("predicted ")[1].split(":")[0])
        place = low.y + (high.y - low.y) * (value - ends[0]) / (ends[1] - ends[0])
        assert top + tall == pytest.approx(place, abs=0.3)


def test_a_dots_area_is_its_examples_and_a_band_goes_there_and_back():
    curve = [{"confidence": c, "accuracy": c, "count": n} for c, n in ((0.2, 25), (0.9, 100))]
    (drawn,) = answers.calibration(curve).panels
    assert [dot.size for dot in drawn.dots] == [3 + 9 / 2, 3 + 9] and "100 at most" in drawn.title
    band = [(1.0, 0.0, 2.0), (2.0, 1.0, 3.0)]
    told = charts.panel("t", [Line("a", "c0", [(1, 1), (2, 2)], band)], "epoch", whole=True)
    (((_, places),), ((_, line, marks),)) = told.bands, told.lines
    drawn = str(page._pages().get_template("charts.html").module.draw(charts.Panels([told])))
    assert f'd="{page.path(places)}Z"' in drawn and f'd="{page.path(line)}"' in drawn
    x = [mark.x for mark in marks]
    assert [at for at, _ in places] == [*x, *x[::-1]]
    lows, highs = places[:2], places[:1:-1]
    assert all(low > high for (_, low), (_, high) in zip(lows, highs, strict=True))


def test_a_bar_is_as_long_as_its_share_of_the_longest():
    assert charts.bars({"b": 1.0, "c": -2.0, "a": 4.0}, more={"a": " ± 0.5000"}).rows == [
        ("a", 100.0, "4.0000 ± 0.5000"), ("b", 25.0, "1.0000"), ("c", 0.0, "-2.0000")]


def test_a_notebook_has_the_curves_that_a_page_has():
    history = [{"epoch": n, "loss": 1 / n, "val_loss": 2 / n, "seconds": 0.5} for n in (1, 2)]
    (drawn,) = charts.curves(history, ["loss"]).panels
    shown = notebook.History(history)._repr_html_()
    assert shown.count("<svg") == 1 and all(f'd="{page.path(line)}"' in shown
                                            for _, line, _ in drawn.lines)
    assert "<script" not in shown and "http" not in shown
    for few in (history[:1], [{"run": "a", "val_loss": 0.5}] * 2):  # a sweep's runs have no epochs
        assert "<svg" not in notebook.History(few)._repr_html_()


def test_the_command_of_a_page_typed_again_is_the_same_run():
    config = Config(dataset="it's a path", epochs=3, optimizer="sgd", nesterov=True, flip=True,
                    task="classification", schedule="warmup_cosine", warmup_epochs="50st")
    hyper = Hyper(learning_rate=0.05, momentum=0.9)
    saved = record.to_json(Request(config, hyper)) | {"device": "cpu"}
    again = flags.parse(shlex.split(settings.command(saved))[2:]).request
    assert dataclasses.asdict(again.config) == dataclasses.asdict(config) | {
        "task": "auto"}  # which settles so again
    assert again.hyper == hyper
    told = {name: (value, plain) for name, value, plain in settings.differing(saved)}
    assert told["learning_rate"] == (0.05, 1e-3) and "batch_size" not in told
    trees = record.to_json(Request(Config(model="xgboost"), XGBoost(max_depth=3.0)))
    differing = [name for name, *_ in settings.differing(trees) if name not in ("model", "task")]
    assert differing == ["max_depth"]


def test_what_was_an_object_is_gone_on_with_in_python():
    """Where data or parts were, no command brings them back by itself."""
    typed = "python launch.py --resume 'r 1'"
    assert settings.going_on("fit", Config(dataset="digits", model="a.py:Net"), "r 1") == typed
    assert settings.going_on("sweep", Config(), "r") == "python launch.py sweep --resume r"
    assert settings.going_on("fit", Config(model=dict), "r 1") == (
        f"fit(config, hyper=hyper, resume='r 1'), or of a recipe {typed} --config RECIPE.py")
    assert settings.going_on("sweep", Config(dataset="arrays"), "r") == (
        "sweep(config, hyper=hyper, data=..., resume='r'), or of a recipe python launch.py sweep "
        "--resume r --config RECIPE.py")


def luminance(colour: np.ndarray) -> float:
    """WCAG 2's, of sRGB from 0 to 1."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: np.ndarray, b: np.ndarray) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


PAGE = (ROOT / "engine/report/templates/page.html").read_text()


def test_the_pictures_tones_are_the_pages_by_day():
    colours = dict(re.findall(r"--(\w+): (#\w+)", PAGE.partition("@media")[0]))
    tones = {style: colours[name] for styles, name in re.findall(
        r"((?:\.\w+, )*\.\w+) \{ --tone: var\(--(\w+)\)", PAGE)
        for style in styles.replace(".", "").split(", ")}
    assert tones == pictures.TONES
    assert [colours[name] for name in ("ink", "line", "heat")] == [
        pictures.INK, pictures.RULE, pictures.HEAT]


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_contrasts_with_what_it_lies_on(scheme):
    """4.5 or more (WCAG 2, AA), in light and in dark; a cell's text on the darkest cell too."""
    block = re.findall(r":root \{.*?\}", PAGE, re.S)[scheme]
    found = {name: np.array([int(c * (2 // len(c) if len(c) == 1 else 1), 16) / 255
                             for c in re.findall("." * (len(digits) // 3), digits)])
             for name, digits in re.findall(r"--(\w+): #(\w+)", block)}
    for ink in ("ink", "soft", "accent"):
        assert min(contrast(found[ink], found[on]) for on in ("page", "card")) >= 4.5, ink
    darkest = 0.7 * found["heat"] + 0.3 * found["page"]
    assert contrast(found["ink"], darkest) >= 4.5
    for tone in ("c1", "c2", "c3", "c4", "c5"):  # lines: 3 is WCAG's bound
        assert contrast(found[tone], found["page"]) >= 3
