import html
import io
import math
import re

import pytest
from PIL import Image

from engine.sweep import plots as sweep_plots
from engine.sweep import ranking
from engine.sweep import report as sweep_report

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


ENSEMBLES = [
    {"name": EVIL, "runs": 3, "accuracy": 0.8125, "mean_accuracy": 0.75, "ece": 0.03125,
     "disagreement": math.nan, "split": "test"},
]


def written(tmp_path, axes, rows, histories, ensembles=ENSEMBLES) -> tuple[set[str], str]:
    """The pictures' names and the page, both checked to be sound."""
    words = (f"{EVIL} on digits", f"cpu {EVIL}", f"python launch.py sweep {EVIL}")
    sweep_report.write(tmp_path, *words, axes, rows, histories, ensembles)
    text = (tmp_path / "report.html").read_text()
    assert EVIL not in text and html.escape(EVIL) in text
    assert "<script" not in text and "http:" not in text and "https:" not in text
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r'"data:[^"]*"', "", text))
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    names = {path.name for path in tmp_path.iterdir()} - {"report.html"}
    assert len(sources) == len(names)
    for name in names:
        picture = Image.open(io.BytesIO((tmp_path / name).read_bytes()))
        low, high = picture.convert("L").getextrema()
        assert picture.width > 300 and high - low > 100, "a blank picture"
    return names, text


def cells(text: str) -> list[list[str]]:
    """The page's table rows."""
    return [re.findall("<td>(.*?)</td>", line) for line in re.findall("<tr>(.*?)</tr>", text)]


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
    *ranked, last = ranking.settings(axes, rows)
    # Equal means stay in the order of the runs. A sample's variance: 2 · 0.125² / 2 = 0.125².
    assert [summary(setting, "rate", "name") for setting in ranked] == [
        (0.1, "a", [0, 3, 9, 10], 0.625, 0.125, 0.75, 0),
        (0.2, "a", [1, 4, 5], 0.625, 0.0, 0.625, 1),
        (0.3, "a", [2, 6], 0.875, round(0.125 * math.sqrt(2), 12), 1.0, 0),
    ]
    assert (last["rate"], last["runs"], last["diverged"]) == (0.4, [7, 8], 2)
    assert all(math.isnan(last[name]) for name in ("mean", "sd", "best"))


def test_the_best_mean_comes_first():
    rows = [row(run, "done", accuracy, rate=run) for run, accuracy in enumerate((0.25, 0.75, 0.5))]
    ranked = ranking.settings({"rate": [0, 1, 2]}, rows)
    assert [setting["rate"] for setting in ranked] == [1, 2, 0]


def test_without_axes_all_runs_are_one_setting():
    rows = [row(0, "done", 0.5), row(1, "done", 0.75)]
    (setting,) = ranking.settings({}, rows)
    assert summary(setting) == ([0, 1], 0.625, round(0.125 * math.sqrt(2), 12), 0.75, 0)
    assert set(setting) == {"runs", "mean", "sd", "best", "diverged"}


GRID = [(rate, decay) for rate in RATES for decay in DECAYS]
MANY = {"rate": [10.0**-i for i in range(12)], "width": list(range(12))}
CASES = {
    "seeds": ({}, [()], set()),
    "one setting more": ({EVIL: ["$a", EVIL, ""]}, [("$a",), (EVIL,), ("",)], set()),
    "an axis": ({"rate": RATES}, [(rate,) for rate in RATES], {"axis.png"}),
    "integers": ({"width": [16, 32, 64]}, [(16,), (32,), (64,)], {"axis.png"}),
    "switches": ({"flip": [False, True]}, [(False,), (True,)], set()),
    "a grid": ({"rate": RATES, "decay": DECAYS}, GRID, {"heatmap.png"}),
    "a grid of texts": (
        {EVIL: [EVIL, "$b"], "decay": DECAYS}, [(EVIL, 0.0), (EVIL, 0.01), ("$b", 0.0)],
        {"heatmap.png"},
    ),
    "a grid with half of it missing": (
        {"rate": RATES, "decay": DECAYS}, GRID[:3], {"parallel.png"}
    ),
    "samples": (MANY, list(zip(*MANY.values(), strict=True)), {"parallel.png"}),
    "three axes": (
        {"rate": RATES, EVIL: [EVIL, "$b"], "one": [3]},
        [(rate, text, 3) for rate in RATES for text in (EVIL, "$b")], {"parallel.png"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_axes_decide_the_pictures(tmp_path, name):
    axes, settings, expected = CASES[name]
    rows, histories = population(axes, settings)
    names, text = written(tmp_path, axes, rows, histories)
    assert names == {"curves.png"} | expected
    assert len(cells(text)) == 3 + len(settings) + len(ENSEMBLES) + len(rows)  # and three heads


@pytest.mark.parametrize("count", [41, 1])
def test_a_grid_too_long_to_be_read_is_drawn_as_lines(tmp_path, count):
    axes = {"width": list(range(count)), "decay": [0.0]}
    rows, histories = population(axes, [(width, 0.0) for width in axes["width"]], seeds=1)
    names, _ = written(tmp_path, axes, rows, histories)
    assert names == {"curves.png", "parallel.png" if count > 40 else "heatmap.png"}


@pytest.mark.parametrize("axes", [{}, {"rate": RATES}, {"rate": RATES, "decay": DECAYS},
                                  {"rate": RATES, "decay": DECAYS, "name": ["a"]}])
@pytest.mark.parametrize("value", [None, math.nan])
def test_runs_that_all_diverged_at_once_break_nothing(tmp_path, axes, value):
    settings = [(rate, decay, "a")[: len(axes)] for rate, decay in GRID]
    rows = [row(run, "diverged", value, **dict(zip(axes, values, strict=True)))
            for run, values in enumerate(settings)]
    _, text = written(tmp_path, axes, rows, {}, ensembles=[])
    assert "<b>–</b><span class=\"soft\">best run</span>" in text
    assert f"<b>{len(rows)}</b><span class=\"soft\">diverged</span>" in text
    assert "<h2>Ensembles" not in text


def test_the_page_tells_the_population(tmp_path):
    axes = {"rate": [1e-5, 0.5]}
    rows = [
        row(0, "done", 0.5, rate=1e-5, fold="1/2"), row(1, "done", 0.75, rate=1e-5, fold="2/2"),
        row(2, "done", 0.6, rate=0.5, fold="1/2"), row(3, "diverged", None, rate=0.5, fold="2/2"),
        row(4, "dropped", 0.9, rate=0.5, fold="2/2"),
    ]
    _, text = written(tmp_path, axes, rows, {})
    cards = dict(re.findall(r'<b>([^<]*)</b><span class="soft">([^<]*)</span>', text)[4:])
    assert cards == {"62.50% ± 17.68%": "best setting: rate=1e-05", "75.00%": "best run: 1"}
    table = cells(text)
    assert ["1e-05", "2", "0.6250 ± 0.1768", "0.7500", "0", "0"] in table
    assert ["0.5", "3", "0.6000", "0.6000", "1", "1"] in table
    assert ["3", "diverged", "3", "2/2", "0.5", "3", "–", "–", "–"] in table
    assert [html.escape(EVIL), "test", "3", "0.8125", "0.7500", "0.0312", "–"] in table
    assert f"--config {tmp_path}/best.py\n" in text and f"eval --run_dir {tmp_path}/0<" in text


def test_folds_are_shown_only_where_there_are_some(tmp_path):
    _, text = written(tmp_path, {}, *population({}, [()]))
    assert "<th>seed</th><th>epochs</th>" in text


@pytest.mark.parametrize("values, ticks", [
    ([3, 1, 2], [1, 2, 3]),
    ([1e-4, 1e-3, 1e-1], [1e-4, 1e-3, 1e-1]),
    ([0.001, 0.0011, 0.05], [0.001, 0.002, 0.005, 0.01, 0.02, 0.05]),  # two of them too close
    ([float(x) for x in range(1, 12)], [2, 4, 6, 8, 10]),
    ([10.0**-i for i in range(9)], [10.0**-i for i in range(8, -1, -1)]),
])
def test_ticks_are_the_values_or_round_numbers(values, ticks):
    assert sweep_plots._ticks(values) == pytest.approx(ticks)


def test_a_few_bad_runs_leave_the_good_ones_their_colours():
    assert sweep_plots._scale([0.1, 0.68, 0.70, 0.71, 0.72]) == pytest.approx((0.64, 0.72))
    assert sweep_plots._scale([0.6, 0.7]) == pytest.approx((0.6, 0.7))
    low, high = sweep_plots._scale([0.5])
    assert low < 0.5 < high


@pytest.mark.parametrize("sizes, meaning", [
    ({1}, ""), ({4, 1}, "lowest to highest"), ({5, 1}, "quartiles"),
    ({4, 5}, "quartiles; lowest to highest of fewer than 5 runs"),
])
def test_the_legend_says_what_a_band_is(sizes, meaning):
    assert sweep_plots._band_meaning(sizes) == meaning
    assert sweep_plots._spread([1.0, 2.0, 3.0, 6.0]).tolist() == [1, 2.5, 6]
    assert sweep_plots._spread([1.0, 2.0, 3.0, 6.0, 9.0]).tolist() == [2, 3, 6]
