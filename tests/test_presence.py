"""Who stays away is missed, in words; jobs of real processes are in tests/faults."""

import os
import subprocess
import sys
import threading
import time

import jax
import pytest
from conftest import ROOT
from orbax.checkpoint import multihost

from engine.errors import RunError
from engine.job import presence, processes


@pytest.fixture
def said(monkeypatch):
    """What a process would have ended with; a new meeting each time."""
    words, leaving = [], threading.Event()
    monkeypatch.setattr(presence.os, "_exit", lambda status: words.append(status))
    monkeypatch.setattr(presence, "tell", words.append)
    monkeypatch.setattr(presence, "_leaving", leaving)
    monkeypatch.setattr(presence, "RETRY_SECONDS", 0.02)
    yield words
    leaving.set()
    for thread in threading.enumerate():
        if thread.name == "presence":
            thread.join(5)


def meeting(monkeypatch, barrier) -> None:
    monkeypatch.setattr(multihost, "get_barrier_sync_fn", lambda: barrier)


def away(key, timeout_ms):
    time.sleep(timeout_ms / 1000)
    raise RuntimeError("DEADLINE_EXCEEDED")


def test_those_who_come_are_not_missed(said, monkeypatch):
    names = []
    meeting(monkeypatch, lambda key, timeout_ms: names.append((key, timeout_ms)))
    presence.keep_meeting(0.2)
    began = time.monotonic()
    while len(names) <= 5 and time.monotonic() - began < 10:
        time.sleep(0.01)
    assert not said and len(names) > 5
    assert set(names) == {("flaxmill presence", 200)}  # or the coordinator's memory grows


@pytest.mark.parametrize("barrier", [away, lambda key, timeout_ms: time.sleep(1)],
                         ids=["another is away", "the coordinator is stopped"])
def test_one_who_is_silent_is_missed_after_the_seconds(said, monkeypatch, barrier):
    meeting(monkeypatch, barrier)
    began = time.monotonic()
    presence.keep_meeting(0.3)
    while 1 not in said and time.monotonic() - began < 10:
        time.sleep(0.005)
    assert 0.29 < time.monotonic() - began < 0.9
    assert said[0].startswith("flaxmill: another process of the job has been silent for 0.3 s")


def test_a_meeting_that_fails_once_ends_nothing(said, monkeypatch):
    tries = []

    def once(key, timeout_ms):
        tries.append(key)
        if len(tries) == 2:
            raise RuntimeError("UNAVAILABLE")

    meeting(monkeypatch, once)
    presence.keep_meeting(0.5)
    time.sleep(0.8)
    assert not said and len(tries) > 4


def test_nobody_is_missed_on_the_way_out(said, monkeypatch):
    meeting(monkeypatch, away)
    presence.keep_meeting(0.2)
    time.sleep(0.1)
    presence.stop()
    time.sleep(0.3)
    assert not said


@pytest.mark.slow
def test_what_takes_too_long_ends_the_process_even_where_nobody_reads():
    """In a child: its status, its words, and what it printed before."""
    code = ("import time; from engine.job import presence\n"
            "print('unsaid', end='')\n"
            "with presence.within(60, 'never'): pass\n"
            "with presence.within(0.1, 'too late'): time.sleep(60)")

    def child() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=os.environ | {"PYTHONUNBUFFERED": ""})

    read, unread = child(), child()
    unread.stdout.close()
    assert read.communicate(timeout=60) == ("unsaid", "flaxmill: too late\n")
    assert (read.wait(30), unread.wait(60)) == (1, 1)
    assert unread.stderr.read().startswith("flaxmill: too late")


GLOO = "UNKNOWN: Gloo AllGather failed: Read error [127.0.0.1]:19333: Connection reset by peer"


@pytest.mark.parametrize("failure", [jax.errors.JaxRuntimeError, ValueError])
def test_jaxs_words_for_a_lost_process_become_ours(monkeypatch, failure):
    """It raises a ValueError where a computation is called; one of the user's own stays it."""
    monkeypatch.setattr(presence, "stop", lambda: None)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(RunError, match="another process of the job is gone .UNKNOWN: Gloo"), \
            processes.naming_the_lost():
        raise failure(GLOO)
    with pytest.raises(failure, match="of a socket"), processes.naming_the_lost():
        raise failure("no type of a socket")
    monkeypatch.setattr(jax, "process_count", lambda: 1)
    with pytest.raises(failure, match="Gloo"), processes.naming_the_lost():
        raise failure(GLOO)
