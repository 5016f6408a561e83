"""A bar on a terminal, lines elsewhere, and never a word on standard output."""

import io
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from engine import sources
from engine.console import bar
from engine.console.progress import Progress, plain_console
from engine.width import fitted


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
    with bar.bar("fetching", 1 << 20, of_bytes=True):
        pass
    assert capsys.readouterr() == ("", "fetching: 1,048,576 bytes\n")


def test_a_name_cannot_move_the_cursor_of_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with bar.bar("a\x07\x1b[2Jb[red]", 2) as moved:
        moved(2)
    shown = sys.stderr.getvalue()
    assert "\x07" not in shown and "\x1b[2J" not in shown and "[red]" in shown


def test_a_long_name_leaves_the_bar_its_room(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with bar.bar("decoding the pictures of /a/" + "long/" * 30 + "path", 2) as moved:
        moved(2)
    shown = sys.stderr.getvalue()
    assert "2/2" in shown and "decoding" in shown and "/path" in shown and "━━━━" in shown


def test_a_wait_is_shown_in_a_terminal_alone():
    for terminal, quiet in ((True, False), (True, True), (False, False)):
        stream = Terminal()
        with bar.waiting("compiling", Console(file=stream, force_terminal=terminal, quiet=quiet)):
            pass
        assert ("compiling" in stream.getvalue()) == (terminal and not quiet)


def test_a_stream_without_a_bars_characters_is_written_escapes(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    console = plain_console()
    console.print("4 × 4")
    Progress(1, 1, console).finish(1, 0.0, {})
    assert sys.stdout.buffer.getvalue().decode().startswith("4 \\xd7 4\nEpoch 1/1 1/1 \\u2501")


def test_lines_are_broken_between_words_and_only_in_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    path = "/a/" + "path/" * 9
    text = f"a line of some words, {path} and 猫猫猫猫猫猫\n\n  | two  cells | and more"
    assert fitted(text, io.StringIO()) == text
    assert fitted(text, Terminal()) == (
        f"a line of some\n  words,\n  {path}\n  and 猫猫猫猫猫猫\n\n  | two  cells | and\n  more")
