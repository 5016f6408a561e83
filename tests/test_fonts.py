"""Names of any script in the PNG files: a font that has them, or a number; never a warning."""

import warnings

import numpy as np
import pytest

from engine.drawn import answers, charts, fonts, pictures

NAMES = ["cat", "猫", "قطة", "😀", "\U000f0000"]  # the last one is no character of any font


@pytest.fixture(autouse=True)
def forgotten():
    """What was found on another machine is no answer for this one."""
    fonts.family.cache_clear()
    yield
    fonts.family.cache_clear()


@pytest.fixture
def without_fonts(monkeypatch):
    """A machine with matplotlib's own font alone."""
    own = fonts._faces()[:1]
    monkeypatch.setattr(fonts, "_faces", lambda: own)


def test_a_name_that_no_font_has_is_its_number(without_fonts):
    assert fonts.named(["cat", "猫", "кот"]) == ["cat", "2", "кот"]
    assert fonts.numbered(["cat", "猫", "кот"]) == [[2, "猫"]]


def test_a_font_that_has_the_characters_is_found(monkeypatch):
    monkeypatch.setattr(fonts, "_faces", lambda: [("Own", "own"), ("Kanji", "kanji")])
    monkeypatch.setattr(fonts, "_has", lambda file, c: c.isascii() or file == "kanji" and c == "猫")
    assert (fonts.family("a"), fonts.family("猫"), fonts.family("犬")) == ("Own", "Kanji", "")
    drawn = pictures.figure(2, 1)
    kanji, lone = drawn.text(0, 0, "a 猫"), drawn.text(0, 0, "犬")
    fonts.drawn_with(drawn)
    assert "Kanji" in kanji.get_fontfamily() and kanji.get_text() == "a 猫"
    assert lone.get_text() == "?"


@pytest.mark.parametrize("here", [True, False])
def test_drawing_any_script_warns_of_nothing(monkeypatch, here, request):
    if not here:
        request.getfixturevalue("without_fonts")
    monkeypatch.setattr(pictures, "DPI", 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.matrix(answers.confusion(np.eye(len(NAMES), dtype=int), NAMES))
        pictures.bars(charts.bars(dict.fromkeys(NAMES, 1.0)))
        ticks = [(float(at), name) for at, name in enumerate(NAMES)]
        line = charts.Line("", "c0", [(at, at) for at, _ in ticks])
        drawn = charts.panel(NAMES[1], [line], NAMES[2], named=ticks)
        pictures.panels(charts.Panels([drawn], [("c0", NAMES[4])]))


def test_a_class_keeps_its_number_where_the_most_confused_come_first(
        without_fonts, monkeypatch, figures):
    """The page tells it by that."""
    monkeypatch.setattr(answers.answers, "mistakes", lambda *_: [np.zeros(0)])
    counts = np.eye(31, dtype=int)
    counts[30, 29] = 5
    names = [*map(str, range(30)), "猫"]
    found, = answers.drawn({"confusion": counts.tolist()}, None, np.zeros(0), names)
    pictures.drawn(found.chart, names)
    bars = charts.bars(dict(zip(names, range(31), strict=True)))
    pictures.drawn(bars, names)
    told = [[label.get_text() for label in figure.axes[0].get_yticklabels()] for figure in figures]
    assert told[0][:3] == ["29", "31", "0"] and told[1][:3] == ["31", "29", "28"]
    assert [name for _, name, _ in found.chart.rows[:3]] == ["29", "猫", "0"]
    assert fonts.numbered(names) == [[31, "猫"]]
