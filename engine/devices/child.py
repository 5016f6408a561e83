"""A module in a process of its own, which may crash or hang: what it found is kept.

It prints one JSON object a line, as it is found: {"row": …} a finding, {"now": …} what is about to
be tried.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

from engine.devices.diagnosis import Row
from engine.errors import one_line

NOISE = re.compile(r"\s*$|[IW]\d{4} |WARNING: All log messages|\s*@\s+0x|\*\*\* ")


def emit(**finding: object) -> None:
    """One finding of this child, flushed so that a crash right after can't take it along."""
    print(json.dumps(finding), flush=True)


def command(module: str, *words: str) -> list[str]:
    """The child's command line; -P keeps the working folder's files from posing as modules."""
    return [sys.executable, "-P", "-m", module, *words]


def listen(module: str, *words: str, seconds: float) -> tuple[list[Row], str]:
    """The rows of `module`, run with these words for so many seconds at most; and how it failed to
    end well, in words, or ''."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
           # Preallocate no GPU memory, and use no compiled program from a cache.
           "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command(module, *words), stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=err, env=env)
        try:
            status: int | None = child.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)  # one that is stuck in a driver can't be waited for
        out.seek(0)
        err.seek(0)
        return read(out.read().decode(errors="replace"), err.read().decode(errors="replace"),
                    status, seconds)


def read(out: str, err: str, status: int | None, seconds: float) -> tuple[list[Row], str]:
    """What `listen` returns, of what a child printed (status None: it had to be killed)."""
    rows, now = [], "starting"
    for line in out.splitlines():
        if line.startswith("{"):  # else it is a library's
            with contextlib.suppress(json.JSONDecodeError):  # the crash cut it off
                finding = json.loads(line)
                now = finding.get("now", now)
                rows += [Row(*finding["row"])] if "row" in finding else []
    if status == 0:
        return rows, ""
    ended = f"no answer in {seconds:g} s" if status is None else \
        f"exit status {status}" if status > 0 else f"{signal.strsignal(-status)}"
    return rows, ": ".join(filter(None, (f"{ended} while {now}", last_words(err))))


def last_words(err: str) -> str:
    """The last line of stderr that says something."""
    lines = [line for line in err.splitlines() if not NOISE.match(line)]
    return one_line(lines[-1]) if lines else ""
