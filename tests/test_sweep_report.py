"""A sweep's ranking, its pictures, read back from the figures before they are drawn, its page."""

import html
import io
import math
import re

import numpy as np
import pandas
import pytest
from PIL import Image
from test_report import dots_of, read, told_by_legend

from engine.config import Config
from engine.drawn import charts as lines
from engine.drawn import pictures
from engine.optim import patience
from engine.sweep import charts, ranking
from engine.sweep import report as sweep_report

SCORE = patience.Monitor("val_accuracy", higher=True)
EVIL = "<img src=x onerror=alert(1)>"
RATES, DECAYS = [1e-4, 1e-3, 1e-1], [0.0, 0.01]
METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


def row(run: int, status: str, accuracy: float | None, **values) -> dict:
    """A run's row; without an accuracy all its metrics are missing."""
    scores = dict.fromkeys((*METRICS, "best_val_accuracy"), accuracy)
    return {"run": run, "status": status, "seed": run, "fold": "", "epochs": 3, **scores, **values}


def population(axes: dict[str, list], settings: list[tuple], seeds: int = 2):
    """Rows and histories; the last setting diverges: one of its runs at once, others later."""
    rows, histories = [], {}
    for i, values in enumerate(settings):
        for seed in range(seeds):
            run = len(rows)
            lost = i and i == len(settings) - 1
            score = (None if seed else math.nan) if lost else 0.5 + 0.01 * i + 0.001 * seed
            status = "diverged" if lost else "dropped" if i == 1 else "done"
            rows.append(row(run, status, score, **dict(zip(axes, values, strict=True))))
            histories[run] = [
                {"epoch": epoch, "learning_rate": 0.1, **dict.fromkeys(METRICS, score)}
                for epoch in range(1, 1 + (seed if lost else 2 if status == "dropped" else 3))
            ]
    return rows, histories


CAPTIONS = {
    "curves.png": "By epoch", "heatmap.png": "Over the grid", "axis.png": "Along every axis",
}
ENSEMBLES = [
    {"name": EVIL, "runs": 3, "accuracy": 0.8125, "mean_accuracy": 0.75, "ece": 0.03125,
     "disagreement": math.nan, "split": "test"},
]


def written(tmp_path, axes, rows, histories, ensembles=ENSEMBLES) -> tuple[set[str], str]:
    """The pictures' names and the page, which is checked to be sound."""
    words = (f"{EVIL} on digits", f"cpu {EVIL}", f"python launch.py sweep {EVIL}")
    sweep_report.write(tmp_path, *words, axes, rows, histories, ensembles, SCORE)
    text = (tmp_path / "report.html").read_text()
    assert EVIL not in text and html.escape(EVIL, quote=False) in text
    assert "<script" not in text and "http:" not in text and "https:" not in text
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r'"data:[^"]*"', "", text))
    assert not re.findall(r'(?:src|href)="([^"]*)"', text)
    names = {path.name for path in tmp_path.iterdir()} - {"report.html"}
    headings = {file for file, told in CAPTIONS.items() if f"<h2>{told}</h2>" in text}
    assert names == headings
    return names, text


def cells(text: str) -> list[list[str]]:
    """The page's table rows."""
    return [re.findall("<td>(.*?)</td>", line) for line in re.findall("<tr>(.*?)</tr>", text)]


def ranked(axes, rows: list[dict], score=SCORE) -> list[dict]:
    """The settings, best first."""
    return ranking.ranked(pandas.DataFrame(rows), axes, score)[1].to_dict("records")


def summary(setting: dict, *axes: str) -> tuple:
    """A setting's axis values and its runs, mean, sd, best and number of diverged runs."""
    numbers = [round(setting[name], 12) for name in ("mean", "sd", "best")]
    return *(setting[name] for name in axes), setting["runs"], *numbers, setting["diverged"]


def test_settings_have_known_answers():
    axes = {"rate": [0.1, 0.2, 0.3, 0.4], "name": ["a"]}
    rows = [
        row(0, "done", 0.5, rate=0.1, name="a"),
        row(1, "done", 0.625, rate=0.2, name="a"),
        row(2, "dropped", 1.0, rate=0.3, name="a"),
        row(3, "done", 0.625, rate=0.1, name="a"),
        row(4, "dropped", 0.1, rate=0.2, name="a"),
        row(5, "diverged", 0.99, rate=0.2, name="a"),
        row(6, "dropped", 0.75, rate=0.3, name="a"),
        row(7, "diverged", math.nan, rate=0.4, name="a"),
        row(8, "diverged", None, rate=0.4, name="a"),
        row(9, "done", 0.75, rate=0.1, name="a"),
        row(10, "done", math.inf, rate=0.1, name="a"),
    ]
    *settings, last = ranked(axes, rows)
    # Equal means stay in the order of the runs. A sample's variance: 2 · 0.125² / 2 = 0.125².
    assert [summary(setting, "rate", "name") for setting in settings] == [
        (0.1, "a", [0, 3, 9, 10], 0.625, 0.125, 0.75, 0),
        (0.2, "a", [1, 4, 5], 0.625, 0.0, 0.625, 1),
        (0.3, "a", [2, 6], 0.875, round(0.125 * math.sqrt(2), 12), 1.0, 0),
    ]
    assert [setting["counted"] for setting in settings] == [3, 1, 2]
    assert (last["rate"], last["runs"], last["diverged"]) == (0.4, [7, 8], 2)
    assert all(math.isnan(last[name]) for name in ("mean", "sd", "best"))


def test_the_best_mean_comes_first():
    rows = [row(run, "done", accuracy, rate=run) for run, accuracy in enumerate((0.25, 0.75, 0.5))]
    assert [setting["rate"] for setting in ranked(["rate"], rows)] == [1, 2, 0]


def test_where_lower_is_better_the_order_turns_but_not_that_of_the_lost():
    scores = [("done", 0.5), ("diverged", 0.0), ("done", 0.25), ("dropped", 0.1), ("done", 0.125)]
    rows = [{"run": run, "status": status, "val_mse": score, "rate": run // 4 or run}
            for run, (status, score) in enumerate(scores)]
    first, *others = ranked(["rate"], rows, patience.Monitor("val_mse", higher=False))
    assert (first["rate"], first["runs"], first["best"]) == (1, [1, 4], 0.125)
    assert [setting["rate"] for setting in others] == [2, 0, 3]


def test_without_axes_all_runs_are_one_setting():
    rows = [row(0, "done", 0.5), row(1, "done", 0.75)]
    (setting,) = ranked([], rows)
    assert summary(setting) == ([0, 1], 0.625, round(0.125 * math.sqrt(2), 12), 0.75, 0)


GRID = [(rate, decay) for rate in RATES for decay in DECAYS]
MANY = {"rate": [10.0**-i for i in range(12)], "width": list(range(12))}
CASES = {
    "seeds": ({}, [()], set()),
    "one setting more": ({EVIL: ["$a", EVIL, ""]}, [("$a",), (EVIL,), ("",)], {"axis.png"}),
    "an axis": ({"rate": RATES}, [(rate,) for rate in RATES], {"axis.png"}),
    "integers": ({"width": [16, 32, 64]}, [(16,), (32,), (64,)], {"axis.png"}),
    "switches": ({"flip": [False, True]}, [(False,), (True,)], {"axis.png"}),
    "a grid": ({"rate": RATES, "decay": DECAYS}, GRID, {"heatmap.png", "axis.png"}),
    "a grid of texts": (
        {EVIL: [EVIL, "$b"], "decay": DECAYS}, [(EVIL, 0.0), (EVIL, 0.01), ("$b", 0.0)],
        {"heatmap.png", "axis.png"},
    ),
    "a grid with half of it missing": (
        {"rate": RATES, "decay": DECAYS}, GRID[:3], {"axis.png"}
    ),
    "samples": (MANY, list(zip(*MANY.values(), strict=True)), {"axis.png"}),
    "three axes": (
        {"rate": RATES, EVIL: [EVIL, "$b"], "one": [3]},
        [(rate, text, 3) for rate in RATES for text in (EVIL, "$b")], {"axis.png"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_axes_decide_the_pictures(tmp_path, monkeypatch, name):
    for kind in ("panels", "matrix"):
        monkeypatch.setattr(pictures, kind, lambda *_: b"PNG")
    axes, settings, expected = CASES[name]
    rows, histories = population(axes, settings)
    names, text = written(tmp_path, axes, rows, histories)
    assert names == {"curves.png"} | expected
    assert len(cells(text)) == 3 + len(settings) + len(ENSEMBLES) + len(rows)  # and three heads


@pytest.mark.parametrize("name", [
    "an axis", *(pytest.param(name, marks=pytest.mark.slow)
                 for name in ("a grid of texts", "three axes"))])
def test_the_pictures_are_pictures(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pictures, "DPI", 40)
    axes, settings, expected = CASES[name]
    written(tmp_path, axes, *population(axes, settings))
    for path in {"curves.png"} | expected:
        picture = Image.open(io.BytesIO((tmp_path / path).read_bytes()))
        low, high = picture.convert("L").getextrema()
        assert picture.width > 100 and high - low > 100, "a blank picture"


@pytest.mark.parametrize("count", [41, 1])
def test_a_grid_too_long_to_be_read_is_not_drawn(tmp_path, figures, count):
    axes = {"width": list(range(count)), "decay": [0.0]}
    rows, histories = population(axes, [(width, 0.0) for width in axes["width"]], seeds=1)
    names, _ = written(tmp_path, axes, rows, histories)
    assert names == {"curves.png", "axis.png"} | ({"heatmap.png"} if count < 40 else set())


@pytest.mark.slow
@pytest.mark.parametrize("axes", [{}, {"rate": RATES}, {"rate": RATES, "decay": DECAYS},
                                  {"rate": RATES, "decay": DECAYS, "name": ["a"]}])
@pytest.mark.parametrize("value", [None, math.nan])
def test_runs_that_all_diverged_at_once_break_nothing(tmp_path, figures, axes, value):
    settings = [(rate, decay, "a")[: len(axes)] for rate, decay in GRID]
    rows = [row(run, "diverged", value, **dict(zip(axes, values, strict=True)))
            for run, values in enumerate(settings)]
    _, text = written(tmp_path, axes, rows, {}, ensembles=[])
    assert "<b>–</b><span class=\"soft\">best run</span>" in text
    assert f"<b>{len(rows)}</b><span class=\"soft\">diverged</span>" in text
    assert "<h2>Ensembles" not in text


def test_the_page_tells_the_population(tmp_path, figures):
    axes = {"rate": [1e-5, 0.5]}
    rows = [
        row(0, "done", 0.5, rate=1e-5, fold="1/2"), row(1, "done", 0.75, rate=1e-5, fold="2/2"),
        row(2, "done", 0.6, rate=0.5, fold="1/2"), row(3, "diverged", None, rate=0.5, fold="2/2"),
        row(4, "dropped", 0.9, rate=0.5, fold="2/2"),
    ]
    _, text = written(tmp_path, axes, rows, {})
    cards = dict(re.findall(r'<b>([^<]*)</b><span class="soft">([^<]*)</span>', text))
    assert cards == {"0.6250": "best setting: rate=1e-05", "0.7500": "best run: 1", "5": "runs",
                     "1": "diverged"} and text.count("<b>1</b>") == 2  # and one dropped
    table = cells(text)
    assert ["1e-05", "2", "0.6250 ± 0.1768", "0.7500", "0", "0"] in table
    assert ["0.5", "3", "0.6000", "0.6000", "1", "1"] in table
    assert ["3", "diverged", "3", "2/2", "0.5", "3", "–", "–", "–"] in table
    assert [html.escape(EVIL, quote=False), "test", "3", "0.8125", "0.7500", "0.0312", "–"] in table
    assert [line[0] for line in table if len(line) == 9] == ["1", "2", "0", "4", "3"]
    assert f"--config {tmp_path}/best.py\n" in text and f"eval --run_dir {tmp_path}/1<" in text


def test_the_page_of_objects_goes_on_in_python(tmp_path, figures):
    sweep_report.write(tmp_path, "t", "cpu", "c", {}, [row(0, "done", 0.5)], {}, [], SCORE,
                       Config(dataset="arrays"))
    text = html.unescape((tmp_path / "report.html").read_text())
    assert "launch.py" not in text and f"run = load('{tmp_path}/0', config)\n" in text
    assert (f"found = sweep(config, hyper=hyper, data=..., resume='{tmp_path}')\n"
            "run = fit(*found.best, data=...)") in text


def test_folds_are_shown_only_where_there_are_some(tmp_path, figures):
    _, text = written(tmp_path, {}, *population({}, [()]))
    assert "<th>seed</th><th>epochs</th>" in text


def test_the_page_of_a_score_of_which_less_is_better(tmp_path, figures):
    rows = [{"run": run, "status": "done", "seed": 0, "fold": "", "rate": run, "epochs": 1,
             "val_loss": 1.0, "val_mse": score, "best_val_mse": score}
            for run, score in enumerate((4.0, 0.5, 2.0))]
    sweep_report.write(tmp_path, "t", "cpu", "c", {"rate": [0, 1, 2]}, rows, {}, [],
                       patience.Monitor("val_mse", higher=False))
    text = (tmp_path / "report.html").read_text()
    assert "<b>0.5000</b><span class=\"soft\">best setting: rate=1</span>" in text
    assert [line[0] for line in cells(text) if len(line) == 4] == ["1", "2", "0"]
    assert "diverged</span>" not in text and "<th>dropped" not in text
    assert "<th>best_val_mse</th>" in text and "accuracy" not in text
    (panel,) = figures[-1].axes
    assert panel.get_title() == "validation mse: 0.5 at 1" and panel.get_xlabel() == "rate"


def drawn_lines(panel) -> dict[str, np.ndarray]:
    """The values of each line of a panel, by its name in the legend."""
    names = told_by_legend(panel.figure)
    return {names[line.get_color()]: read(panel, line.get_xydata())
            for line in panel.get_lines() if len(line.get_xdata())}


@pytest.mark.parametrize("count, low, high, share", [(4, 1, 6, 1.0), (5, 2, 6, 0.5)])
def test_curves_are_medians_with_their_band(figures, count, low, high, share):
    """Of five runs from the lower quartile to the upper one; the diverged one is nowhere."""
    values = [1.0, 2.0, 3.0, 6.0, 9.0][:count]
    rows = [row(run, "done", 0.5) for run in range(count)] + [row(count, "diverged", 0.9)]
    histories = {run: [{"epoch": 1, **dict.fromkeys(METRICS, value)}]
                 for run, value in enumerate([*values, 99.0])}
    pictures.panels(charts.curves({}, pandas.DataFrame(rows), histories, SCORE))
    _, panel = figures[0].axes
    drawn = drawn_lines(panel)
    assert [*drawn] == ["training", "validation"]
    for line in drawn.values():
        np.testing.assert_allclose(line, [[1, np.median(values)]], atol=0.01)
    heights = np.concatenate([read(panel, band.get_xy())[:, 1] for band in panel.patches])
    assert (heights.min(), heights.max()) == pytest.approx((low, high), abs=0.01)
    assert len(panel.patches) == 2 and ("quartiles" in panel.get_title()) == (count == 5)
    line = charts._line(pandas.DataFrame({"epoch": 1, "loss": values}), "loss", "", "", share)
    assert (line.points, line.band) == ([(1, np.median(values))], [(1, low, high)])


def test_the_curves_of_many_settings_are_the_best_ones(figures):
    count = lines.COLOURS + 2
    axes = {"rate": list(range(count))}
    rows = [row(run, "done", run / 10, rate=run) for run in range(count)]
    histories = {run: [{"epoch": 1, "val_loss": 1.0 + run / 10, "val_accuracy": run / 10}]
                 for run in range(count)}
    pictures.panels(charts.curves(axes, pandas.DataFrame(rows), histories, SCORE))
    _, accuracy = figures[0].axes
    drawn = drawn_lines(accuracy)
    assert [*drawn] == [f"rate={run}" for run in reversed(range(2, count))]
    for name, line in drawn.items():
        np.testing.assert_allclose(line, [[1, int(name[5:]) / 10]], atol=1e-3)


def corners(path) -> tuple[list[float], list[float]]:
    return path.vertices.min(0).tolist(), path.vertices.max(0).tolist()


def outline(panel) -> tuple[list[float], list[float]]:
    """Of a heat map's picture, in rows and columns from the upper left corner."""
    (path,) = panel.collections[1].get_paths()
    (x, right), (y, foot) = panel.get_xlim(), panel.get_ylim()[::-1]
    cell = (right - x) / len(panel.get_xticks()), (foot - y) / len(panel.get_yticks())
    return tuple(((np.array(corner) - (x, y)) / cell).round(3).tolist()
                 for corner in corners(path))


def test_a_heat_map_has_each_mean_in_its_cell(figures):
    axes = {"rate": [1, 2, 3], "name": ["a", "b"]}
    scores = {(1, "a"): [0.1], (2, "a"): [0.1, 0.2, 0.6], (3, "b"): [0.7], (1, "b"): [None]}
    rows = []
    for (rate, name), values in scores.items():
        rows += [row(len(rows) + i, "diverged" if value is None else "done", value, rate=rate,
                     name=name) for i, value in enumerate(values)]
    page = charts.heatmap(axes, axes, pandas.DataFrame(rows), SCORE)
    pictures.matrix(page)
    (panel,) = figures[0].axes
    rates, names = ({at: label.get_text() for at, label in zip(
        axis.get_ticklocs(), axis.get_ticklabels(), strict=True)}
        for axis in (panel.yaxis, panel.xaxis))
    assert {(rates[y], names[x]): text.get_text() for text in panel.texts
            for x, y in [text.get_position()]} == {
        ("1", "a"): "0.1", ("2", "a"): "0.3", ("3", "b"): "0.7", ("1", "b"): "×"}
    assert panel.get_ylim()[0] > panel.get_ylim()[1] and [*rates] == sorted(rates)
    cells = panel.collections[0]
    shades = {(rates[y], names[x]): round(colour[3], 2) for path, colour in zip(
        cells.get_paths(), cells.get_facecolors(), strict=True)
        for x, y in [np.mean(corners(path), axis=0)]}
    assert shades == {("1", "a"): 0.1, ("2", "a"): 0.1, ("3", "b"): 0.7, ("1", "b"): 0.02}
    assert outline(panel) == ([1, 2], [2, 3])
    assert page.best == (page.left + page.wide, page.top + 2 * page.side, page.wide, page.side)
    note = "Validation accuracy, the mean; the best setting is outlined. × diverged or was refused."
    assert page.note == note and figures[0].get_supxlabel().split() == note.split()
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("name", "rate")


@pytest.mark.parametrize("value, text", [
    (5.0, "5"), (4000, "4000"), (3e3, "3000"), (5e4, "50000"), (0.88542, "0.8854"),
    (12.345, "12.35"), (-0.94724, "-0.947"), (12345.6, "12346"), (123456, "1.23e5"),
    (1.234e-3, "0.0012"), (-1.234e-5, "-1e-5"), (0.0, "0"),
])
def test_a_cells_number_is_short(value, text):
    assert charts.compact(value) == text and len(text) <= 6


def test_a_large_heat_map_tells_what_its_tones_are_of(figures):
    axes = {"rate": list(range(25)), "width": [1, 2]}
    rows = [row(rate, "diverged" if rate == 3 else "done", None if rate == 3 else rate / 24,
                rate=rate, width=1 + rate % 2) for rate in axes["rate"]]
    rows += [row(25 + rate, "done", 0.5, rate=rate, width=2 - rate % 2) for rate in axes["rate"]]
    page = charts.heatmap(axes, axes, pandas.DataFrame(rows), SCORE)
    pictures.matrix(page)
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["×"]
    assert "light to dark: 0.5, the middle one, to 1;" in page.note


def test_over_its_seeds_the_best_setting_is_outlined_not_the_best_run(figures):
    rows = [row(0, "done", 0.9, rate=1, seed=0), row(1, "done", 0.1, rate=1, seed=1),
            row(2, "done", 0.6, rate=2, seed=0), row(3, "done", 0.7, rate=2, seed=1)]
    runs, axes = pandas.DataFrame(rows), {"rate": [1, 2]}
    over = charts.plane(axes, runs)
    page = charts.heatmap(over, axes, runs, SCORE)
    pictures.matrix(page)
    assert outline(figures[0].axes[0]) == ([0, 1], [2, 2])
    assert page.best == (page.left, page.top + page.side, 2 * page.wide, page.side)
    assert "mean" not in page.note + figures[0].get_supxlabel()


@pytest.mark.parametrize("higher, best", [(True, [0.01, 0.6]), (False, [0.1, 0.2])])
def test_along_an_axis_the_line_is_of_means_and_the_best_has_a_ring(figures, higher, best):
    rows = [row(0, "done", 0.3, rate=1e-3, name="a"), row(1, "done", 0.5, rate=1e-3, name="a"),
            row(2, "done", 0.6, rate=0.01, name="a"), row(3, "dropped", 0.9, rate=0.01, name="a"),
            row(4, "done", 0.2, rate=0.1, name="b"), row(5, "diverged", 0.1, rate=1.0, name="b"),
            row(6, "stopped", 0.2, rate=0.1, name="b")]
    axes = {"rate": [0.1, 1e-3, 0.01, 1.0], "name": ["b", "a"]}
    pictures.panels(charts.along(axes, pandas.DataFrame(rows), SCORE._replace(higher=higher)))
    panel, other = figures[0].axes
    (line,) = (line for line in panel.get_lines() if len(line.get_xdata()))
    np.testing.assert_allclose(
        read(panel, line.get_xydata(), log=True), [[1e-3, 0.4], [0.01, 0.6], [0.1, 0.2]], rtol=0.02)
    (legend,) = figures[0].legends
    names = [text.get_text() for text in legend.get_texts()]
    lost = "diverged or refused, at the foot"
    assert names == ["a run", "a run, stopped", "a run, dropped", lost, "mean", "the best mean"]
    looks = {tuple(handle.get_edgecolor().ravel()) + tuple(handle.get_facecolor().ravel()): name
             for handle, name in zip(legend.legend_handles, names, strict=True) if name != "mean"}
    dots = {looks[tuple(found.get_edgecolor()[0]) + tuple(found.get_facecolor().ravel())]:
            read(panel, found.get_offsets(), log=True)
            for found in dots_of(panel)[1:] if len(found.get_offsets())}  # the first is the line's
    assert {name: np.round(at, 2 if name != "a run" else 3).tolist() for name, at in dots.items()
            if name != lost} == {
        "a run": [[0.001, 0.3], [0.001, 0.5], [0.01, 0.6], [0.1, 0.2]],
        "a run, stopped": [[0.1, 0.2]], "a run, dropped": [[0.01, 0.9]], "the best mean": [best]}
    ((rate, foot),) = dots[lost]
    assert rate == pytest.approx(1, rel=0.02) and foot < 0.2  # below every score
    (line,) = other.get_lines()
    np.testing.assert_allclose(read(other, line.get_xydata()), [[0, 0.2], [1, 1.4 / 3]], atol=2e-3)
    assert [text.get_text() for text in other.get_xticklabels()] == ["b", "a"]
