"""A module in a process of its own, which may crash or hang: what it found is kept.

It prints one JSON object a line, as it is found; {"now": …} says what is about to be tried.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, NamedTuple

from engine.errors import one_line


class Told(NamedTuple):
    """What a child told, in order; `fault` is how it failed to end well, in words, or ''."""

    findings: list[dict[str, Any]]
    fault: str = ""


def emit(**finding: object) -> None:
    """One finding of this child, flushed so that a crash right after can't take it along."""
    print(json.dumps(finding), flush=True)


def command(module: str, *words: str) -> list[str]:
    """The child's command line; -P keeps the working folder's files from posing as modules."""
    return [sys.executable, "-P", "-m", module, *words]


def listen(module: str, *words: str, seconds: float) -> Told:
    """What `module` tells when it is run with these words, for so many seconds at most."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            command(module, *words), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            env=_environment(),
        )  # fmt: skip
        try:
            status: int | None = child.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(child)
        texts = [_text(file) for file in (out, err)]
    return read(texts[0], texts[1], status, seconds)


def _environment() -> dict[str, str]:
    """This environment, with this engine importable and no GPU memory reserved in advance."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, paths))
    return {**os.environ, "PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child that still runs; one stuck in a driver can't be waited for."""
    if child.poll() is None:
        child.kill()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            return


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def read(out: str, err: str, status: int | None, seconds: float) -> Told:
    """What a child told in what it printed, and its fault (status None: it had to be killed)."""
    findings, now = [], "starting"
    for line in out.splitlines():
        try:
            finding = json.loads(line)
        except json.JSONDecodeError:  # a library's print, or a line the crash cut off
            continue
        if isinstance(finding, dict):
            findings.append(finding)
            now = finding.get("now", now)
    return Told(findings, "" if status == 0 else _fault(now, err, status, seconds))


def _fault(now: str, err: str, status: int | None, seconds: float) -> str:
    if status is None:
        found = f"no answer in {seconds:g} s while {now}"
    elif status < 0:
        found = f"{_signal_name(-status)} while {now}"
    else:
        found = f"exit status {status} while {now}"
    last = last_words(err)
    return f"{found}: {last}" if last else found


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_words(err: str) -> str:
    """The last line of stderr that says something."""
    noise = re.compile(r"\s*$|[IW]\d{4} |WARNING: All log messages|\s*@\s+0x|\*\*\* ")
    lines = [line for line in err.splitlines() if not noise.match(line)]
    return one_line(lines[-1]) if lines else ""
