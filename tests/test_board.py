import io
import json
import re

import pytest
from rich.console import Console

from engine.config import Config, Hyper
from engine.loggers.progress import plain_console
from engine.request import Request
from engine.store import folder
from engine.sweep.board import SHOWN, Board
from engine.sweep.events import EVENT, FILE, Events
from engine.sweep.space import Search, trials


def row(accuracy: float) -> dict[str, float]:
    return {"loss": 0.25, "accuracy": 0.875, "val_loss": 0.5, "val_accuracy": accuracy}


def played(console: Console) -> str:
    """Two epochs of four runs, of which one diverges and the best is dropped."""
    console.file = file = io.StringIO()
    runs = trials(Request(Config(epochs=2), Hyper()), Search(("learning_rate=0.1,0.2",), seeds=2))
    with Board(runs, 8, console) as board:
        board.worked(2, 4.0)
        board.worked(2, 6.0)
        for run, accuracy in enumerate((0.5, 0.75, 0.7)):
            board.measured(run, row(accuracy), runs[run].values)
        board.left(3)
        board.judged(1, 2)
        board.left(1)
        board.worked(2, 5.0)
        board.measured(0, row(0.6), runs[0].values)
        board.measured(2, row(0.625), runs[2].values)
        board.judged(2, 2)
    return file.getvalue()


LINES = [
    "Epoch 1/2 - 3 of 4 runs alive - best val_accuracy 0.7500 (run 1, learning_rate 0.1) - "
    "720 runs an hour, 50% done",
    "Epoch 2/2 - 2 of 4 runs alive - best val_accuracy 0.6250 (run 2, learning_rate 0.2) - "
    "720 runs an hour, 75% done",
]


def test_away_from_a_terminal_an_epoch_is_one_line_without_control_characters():
    printed = played(plain_console())
    assert printed.splitlines() == LINES
    assert not re.search(r"[^\n -~]", printed)


def test_nothing_measured_has_neither_a_best_nor_a_speed():
    console = plain_console()
    console.file = io.StringIO()
    with Board(trials(Request(Config(), Hyper()), Search()), 10, console) as board:
        board.judged(1, 10)
        board.left(0)
        board.judged(2, 10)
    assert console.file.getvalue() == (
        "Epoch 1/10 - 1 of 1 runs alive\nEpoch 2/10 - 0 of 1 runs alive\n"
    )


def test_what_was_trained_before_counts_as_done_but_not_for_the_speed():
    console = plain_console()
    console.file = io.StringIO()
    with Board(trials(Request(Config(epochs=4), Hyper()), Search(seeds=2)), 8, console) as board:
        board.resumed(4)
        board.worked(2, 10.0)
        board.judged(3, 4)
    assert console.file.getvalue() == (
        "Epoch 3/4 - 2 of 2 runs alive - 180 runs an hour, 75% done\n"
    )


def frames(printed: str) -> list[str]:
    """The tables that a terminal showed one after another, without control characters."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed)
    return ["Epoch " + frame for frame in plain.split("Epoch ")[1:]]


def cells(frame: str) -> list[list[str]]:
    """The words of a table's rows, from its heading on."""
    lines = [re.findall(r"[\w.]+", line) for line in frame.splitlines()]
    return [line for line in lines if len(line) == 7]


@pytest.fixture
def terminal(monkeypatch) -> Console:
    monkeypatch.setenv("TERM", "xterm")
    return Console(force_terminal=True, width=100)


def test_a_terminal_shows_a_table_of_who_is_alive_best_first(terminal):
    printed = played(terminal)
    assert "\x1b[" in printed
    last = frames(printed)[-1]
    assert " ".join(last.split()).startswith(LINES[1])
    assert cells(last) == [
        ["run", "learning_rate", "seed", "loss", "accuracy", "val_loss", "val_accuracy"],
        ["2", "0.2", "0", "0.2500", "0.8750", "0.5000", "0.6250"],
        ["0", "0.1", "0", "0.2500", "0.8750", "0.5000", "0.6000"],
    ]
    first = next(f for f in frames(printed) if f.startswith("Epoch 1/2"))
    assert [line[0] for line in cells(first)] == ["run", "1", "2", "0"]


def test_a_terminal_shows_the_best_few_of_many(terminal):
    terminal.file = io.StringIO()
    runs = trials(Request(Config(), Hyper()), Search(("learning_rate=lin:0:1:12",)))
    with Board(runs, 120, terminal) as board:
        for run in range(12):
            board.measured(run, row(run / 100), runs[run].values)
        board.judged(1, 10)
    shown = [line[0] for line in cells(frames(terminal.file.getvalue())[-1])[1:]]
    assert shown == [str(run) for run in range(11, 11 - SHOWN, -1)]


def test_a_copied_run_is_whole_again_and_others_are_what_befell_them_last(tmp_path):
    events = Events(tmp_path)
    assert events.status() == {}
    events.add(0, 5, 1, "diverged")
    events.add(0, 5, 2, "diverged")
    events.add(0, 5, 1, "copied", source=0)
    events.add(0, 10, 3, "dropped")
    assert events.status() == {2: "diverged", 3: "dropped"}
    events.add(0, 15, 1, "diverged")
    events.add(0, 15, 0, "copied", source=3)
    assert events.status() == {1: "diverged", 2: "diverged", 3: "dropped"}


def test_every_event_is_a_line_of_json(tmp_path):
    events = Events(tmp_path)
    events.add(1, 5, 7, "copied", source=2)
    events.add(1, 10, 3, "dropped")
    assert [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()] == [
        {"group": 1, "step": 5, "run": 7, "event": "copied", "source": 2},
        {"group": 1, "step": 10, "run": 3, "event": "dropped"},
    ]


def test_forgetting_drops_what_will_happen_again(tmp_path):
    events = Events(tmp_path)
    events.forget(0, 0)
    assert events.status() == {}
    for group, step, run in ((0, 5, 0), (0, 99, 1), (1, 5, 2), (1, 10, 3), (1, 15, 4), (2, 1, 5)):
        events.add(group, step, run, "diverged")
    events.forget(1, 10)
    assert list(events.status()) == [0, 1, 2, 3, 5], "other groups are not forgotten"
    assert len(folder.history(tmp_path, name=FILE, needed=EVENT)) == 5
    events.forget(1, 0)
    assert list(events.status()) == [0, 1, 5]


def test_forgetting_a_copy_brings_back_what_it_healed(tmp_path):
    events = Events(tmp_path)
    events.add(0, 5, 1, "diverged")
    events.add(0, 10, 1, "copied", source=0)
    assert events.status() == {}
    events.forget(0, 5)
    assert events.status() == {1: "diverged"}


def test_a_run_that_is_measured_again_is_alive_again():
    console = plain_console()
    console.file = io.StringIO()
    with Board(trials(Request(Config(), Hyper()), Search(seeds=2)), 20, console) as board:
        board.measured(1, row(0.5), {"learning_rate": 0.1})
        board.left(0)
        board.judged(1, 10)
        # Population-based training made it a copy of run 1, and moved it.
        board.measured(0, row(0.75), {"learning_rate": 0.12})
        board.judged(2, 10)
    line = console.file.getvalue().splitlines()[1]
    assert line == ("Epoch 2/10 - 2 of 2 runs alive - best val_accuracy 0.7500 (run 0, "
                    "learning_rate 0.12)")
