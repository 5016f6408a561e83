"""The words of --log: where a run's rows, values and scores go besides its folder. A word is the
name of the file of loggers/ that writes for it, which says in PACKAGE what it needs, or ""; an
extra that brings a package is called as the word. Found by their text: nothing heavy is imported.
"""

import re
from pathlib import Path

from engine.errors import unknown
from engine.job import extras

_LOGGERS = Path(__file__).parents[1] / "loggers"
TRACKERS = {file.stem: found[1] for file in sorted(_LOGGERS.glob("[!_]*.py"))
            if (found := re.search(r'^PACKAGE = "(.*?)"', file.read_text("utf-8"), re.MULTILINE))}


def named(log: str) -> list[str]:
    """The trackers of --log, each once."""
    return list(dict.fromkeys(filter(None, map(str.strip, log.split(",")))))


def check(log: str) -> None:
    """Raises RequestError for an unknown tracker, and for one whose package isn't installed."""
    for name in named(log):
        if name not in TRACKERS:
            raise unknown("tracker for --log", name, TRACKERS)
        if package := TRACKERS[name]:
            extras.need(f"--log {name}", name, package, imports=False, instead=", or leave it out")
