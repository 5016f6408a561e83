"""Who stays away is missed, in words; jobs of real processes are in tests/faults."""

import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT

from engine.job import presence


@pytest.fixture
def said(monkeypatch):
    """What a process would have ended with; a new meeting each time."""
    words: list[str] = []
    monkeypatch.setattr(presence, "_end", words.append)
    monkeypatch.setattr(presence, "_leaving", threading.Event())
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.02)
    yield words
    presence.stop()


def meeting(monkeypatch, barrier) -> None:
    monkeypatch.setattr(presence.multihost, "get_barrier_sync_fn", lambda: barrier)


def away(key, timeout_ms):
    time.sleep(timeout_ms / 1000)
    raise RuntimeError("DEADLINE_EXCEEDED")


def test_those_who_come_are_not_missed(said, monkeypatch):
    names = []
    meeting(monkeypatch, lambda key, timeout_ms: names.append((key, timeout_ms)))
    presence.keep_meeting(0.2)
    time.sleep(1)
    assert not said and len(names) > 5
    assert set(names) == {("flaxmill presence", 200)}  # or the coordinator's memory grows


def test_one_who_stays_away_is_missed_after_the_seconds(said, monkeypatch):
    meeting(monkeypatch, away)
    began = time.monotonic()
    presence.keep_meeting(0.3)
    while not said and time.monotonic() - began < 10:
        time.sleep(0.01)
    assert time.monotonic() - began > 0.3
    assert said[0].startswith("another process of the job has been silent for 0.3 s")


def test_a_meeting_that_fails_once_ends_nothing(said, monkeypatch):
    tries = []

    def once(key, timeout_ms):
        tries.append(key)
        if len(tries) == 2:
            raise RuntimeError("UNAVAILABLE")

    meeting(monkeypatch, once)
    presence.keep_meeting(0.5)
    time.sleep(1.5)
    assert not said and len(tries) > 4


def test_nobody_is_missed_on_the_way_out(said, monkeypatch):
    meeting(monkeypatch, away)
    presence.keep_meeting(0.2)
    presence.stop()
    time.sleep(0.6)
    assert not said


@pytest.mark.parametrize("reader", ["there", "gone"])
def test_what_takes_too_long_ends_the_process_whoever_reads(reader):
    code = ("import time; from engine import presence\n"
            "print('unsaid', end='')\n"
            "with presence.within(60, 'never'): pass\n"
            "with presence.within(0.2, 'too late'): time.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    if reader == "gone":
        process.stdout.close()
        error = process.stderr.read()
    else:
        _, error = process.communicate()
    assert process.wait(30) == 1 and error.startswith("flaxmill: too late")
