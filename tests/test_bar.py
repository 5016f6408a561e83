"""A bar on a terminal, lines elsewhere, and never a word on standard output."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from engine import sources
from engine.loggers import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for n in range(8):
        (tmp_path / "pets" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), n, np.uint8)).save(tmp_path / f"pets/{'ab'[n % 2]}/{n}.png")
    return tmp_path / "pets"


def test_a_terminal_sees_how_far_checking_and_decoding_are(pets, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    sources.load(f"image_folder:{pets}")
    shown = sys.stderr.getvalue()
    for what in (f"listing {pets}", f"checking {pets}", f"decoding image_folder train from {pets}"):
        assert what in shown
    assert shown.count("8/8") >= 2
    assert capsys.readouterr().out == ""


def test_elsewhere_a_line_comes_now_and_then(pets, monkeypatch, capsys):
    sources.load(f"image_folder:{pets}")
    told = f"decoding image_folder train from {pets}\n"
    assert capsys.readouterr() == ("", told)
    monkeypatch.setattr(bar, "EVERY_S", 0.0)
    with bar.bar("counting", 3) as moved:
        moved(1)
        moved(2)
    with bar.bar("\x1b[31m", None, silent=True) as moved:
        moved(7)
    assert capsys.readouterr() == (
        "", "counting\ncounting: 1 of 3\ncounting: 3 of 3\n\\x1b[31m: 7\n")


def test_a_name_cannot_move_the_cursor_of_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with bar.bar("a\x07\x1b[2Jb[red]", 2) as moved:
        moved(2)
    shown = sys.stderr.getvalue()
    assert "\x07" not in shown and "\x1b[2J" not in shown and "[red]" in shown
