"""What a signal does where a loop listens, in a process of its own."""

import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from engine.job.signals import HEARD, ONCE_MORE

CHILD = """
import time
from engine.job.signals import Ending, Interruption

with Ending(), Interruption() as interruption:
    print("ready", flush=True)
    while not interruption.status:
        time.sleep(0.01)
    print("noted", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("first, status", [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_the_first_is_noted_and_a_second_ctrl_c_leaves_at_once(first, status):
    with subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE) as child:
        try:
            for number, said in ((first, "ready\n"), (signal.SIGINT, "noted\n")):
                assert child.stdout.readline() == said
                child.send_signal(number)
            assert child.wait(30) == status
        finally:
            child.kill()


BLOCKED = """
import hashlib, os, threading
from engine.job.signals import Ending, Interruption

threading.Timer(100, os._exit, [9]).start()
with Ending(), Interruption():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # as a device computes: no handler is called
"""


def test_a_signal_is_said_to_be_heard_while_the_device_computes():
    with subprocess.Popen([sys.executable, "-c", BLOCKED], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGTERM)
            assert child.stderr.readline() == "\n"
            assert child.stderr.readline() == f"SIGTERM heard: {HEARD}{ONCE_MORE}\n"
            child.send_signal(signal.SIGINT)
            assert child.wait(30) == 75
        finally:
            child.kill()


SWALLOWED = """
import time
from engine.job import signals

signals.GRACE = 600
with signals.Ending():
    try:
        print("ready", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print("swallowed", flush=True)
    time.sleep(600)
"""


def test_where_no_loop_listens_a_second_one_ends_at_once():
    with subprocess.Popen([sys.executable, "-c", SWALLOWED], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE) as child:
        try:
            for number, said in ((signal.SIGTERM, "ready\n"), (signal.SIGINT, "swallowed\n")):
                assert child.stdout.readline() == said
                child.send_signal(number)
            assert child.wait(30) == 75
        finally:
            child.kill()


EMBEDDED = """
import os, signal, time
from engine import Config, Place, fit
import numpy as np

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's `&` takes away
x, y = np.zeros((64, 4), np.float32), np.arange(64) % 2

def stop(row):
    if row["epoch"] == 1:
        os.kill(os.getpid(), signal.SIGINT)

def twice(row):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)  # to where both are handled

for logger in (stop, twice):
    try:
        fit(Config(model="linear", epochs=3), place=Place(run_dir=RUN), data=(x, y),
            loggers=[logger])
    except Exception as error:
        print("swallowed", error)
    except KeyboardInterrupt as error:
        print(type(error).__name__, getattr(error, "status", ""), str(error)[:20], flush=True)
"""


def test_in_a_process_that_is_not_ours_ctrl_c_is_pythons_own(tmp_path):
    """Whoever goes on after a run that failed doesn't go on after one that was stopped; and a
    second one raises where it is, as it did before, and leaves the process alive."""
    script = EMBEDDED.replace("RUN", f"{str(tmp_path)!r} + '/' + logger.__name__")
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, text=True,
                           capture_output=True, timeout=200)
    told = [line for line in ended.stdout.splitlines()
            if line.startswith(("Keyboard", "Stopped", "swallowed"))]
    assert told == ["Stopped 130 stopped at step 4 of", "KeyboardInterrupt  "], ended.stderr
    assert ended.returncode == 0
    assert "SIGINT heard: stopping after this segment and saving.\n" in ended.stderr
