"""What a signal does where a loop listens, in a process of its own."""

import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from engine.job.signals import HEARD

CHILD = """
import time
from engine.job.signals import Interruption

with Interruption() as interruption:
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
from engine.job.signals import Interruption

threading.Timer(100, os._exit, [9]).start()
with Interruption():
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
            assert child.stderr.readline() == f"SIGTERM heard: {HEARD}\n"
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
