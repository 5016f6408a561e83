"""What a signal does where a loop listens, in a process of its own."""

import signal
import subprocess
import sys

import pytest
from conftest import ROOT

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
