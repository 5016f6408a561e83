"""The words of --log: where a run's rows, values and scores go besides its folder. A word is the
name of its package, and of the file here that writes for it. Imports nothing heavy."""

from engine.errors import unknown
from engine.job import extras

TRACKERS = "csv", "mlflow", "tensorboard", "wandb"


def named(log: str) -> list[str]:
    """The trackers of --log, each once."""
    return list(dict.fromkeys(filter(None, map(str.strip, log.split(",")))))


def check(log: str) -> None:
    """Raises RequestError for an unknown tracker, and for one whose package isn't installed."""
    for name in named(log):
        if name not in TRACKERS:
            raise unknown("tracker for --log", name, TRACKERS)
        extras.need(f"--log {name}", name, name, imports=False, instead=", or leave it out")
