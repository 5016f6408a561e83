import json

from engine.store import folder
from engine.sweep.events import EVENT, FILE, REFUSED, Events


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


def test_who_was_refused_may_fit_the_next_time(tmp_path):
    """On a device that has more memory free."""
    events = Events(tmp_path)
    for run in (1, 2):
        events.add(run, 0, run, REFUSED)
    events.forget(1, 5)
    assert events.status() == {2: REFUSED}


def test_forgetting_a_copy_brings_back_what_it_healed(tmp_path):
    events = Events(tmp_path)
    events.add(0, 5, 1, "diverged")
    events.add(0, 10, 1, "copied", source=0)
    assert events.status() == {}
    events.forget(0, 5)
    assert events.status() == {1: "diverged"}
