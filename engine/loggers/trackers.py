"""The words of --log: where a run's rows, values and scores go besides its folder. A word is the
name of its package, and of the file here that writes for it. Imports nothing heavy."""

import importlib.util

from engine.errors import RequestError, unknown

TRACKERS = "csv", "mlflow", "tensorboard", "wandb"


def named(log: str) -> list[str]:
    """The trackers of --log, each once."""
    return list(dict.fromkeys(filter(None, map(str.strip, log.split(",")))))


def check(log: str) -> None:
    """Raises RequestError for an unknown tracker, and for one whose package isn't installed."""
    for name in named(log):
        if name not in TRACKERS:
            raise unknown("tracker for --log", name, TRACKERS)
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # a folder of that name, such as ./wandb
            raise RequestError(f"--log {name} needs a package that is not installed: "
                               f"pip install 'flaxmill[{name}]', or leave it out.")
