"""A run's configuration, from its config.json: what differs from the defaults, and the command that
asks for it again."""

import dataclasses
import os
import shlex
from typing import Any

from engine.config import BROUGHT, Config, Hyper
from engine.optim import trees
from engine.parts.targets import CLASSIFICATION
from engine.sets.names import ARRAYS
from engine.store import record

Saved = dict[str, Any]


def of_config() -> dict[str, Any]:
    """A Config's defaults; its task as it has settled, since auto would settle so again."""
    return {f.name: f.default for f in dataclasses.fields(Config)} | {"task": CLASSIFICATION}


def defaults(saved: Saved) -> dict[str, Any]:
    """Those of Config and of the run's values, by name."""
    kind = trees.values_of(saved["config"].get("model")) or Hyper
    return of_config() | kind()._asdict()


def asked(saved: Saved) -> dict[str, Any]:
    """What shapes the run, by name: its Config and its values, without what is the host's."""
    fields = {f.name for f in dataclasses.fields(Config)}
    config = {name: value for name, value in saved["config"].items() if name in fields}
    return config | saved.get("hyper", {})


def differing(saved: Saved) -> list[tuple[str, Any, Any]]:
    """Of what differs from its default: name, value, default."""
    plain = defaults(saved)
    return [(name, value, plain.get(name)) for name, value in asked(saved).items()
            if value != plain.get(name)]


def is_typed(saved: Saved) -> bool:
    """Whether flags say all of it: nothing of it was an object in Python."""
    texts = (str(saved["config"].get(name)) for name in BROUGHT)
    return saved["config"]["dataset"] != "arrays" and not any(t.startswith("<") for t in texts)


def command(saved: Saved) -> str:
    """The run as it would be typed."""
    words = [record.flag(name, value) for name, value, _ in differing(saved) if value is not None]
    return " ".join(["python launch.py", *words])


def unsaid(asked: Config) -> dict[str, str]:
    """What no file holds, since it was an object in Python, and what it was."""
    return record.objects(asked) | ({"data": "as for fit"} if asked.dataset == ARRAYS else {})


def called(name: str, asked: Config, path: str | os.PathLike[str]) -> str:
    """The call of `fit`, or of `sweep`, that goes on with what is in `path`."""
    data = ", data=..." * ("data" in unsaid(asked))
    return f"{name}(config, hyper=hyper{data}, resume={os.fspath(path)!r})"


def going_on(name: str, asked: Config, path: str | os.PathLike[str]) -> str:
    """What goes on with the run, or by its `name` the sweep, in `path`."""
    sweep, where = "sweep " * (name == "sweep"), shlex.quote(os.fspath(path))
    typed = f"python launch.py {sweep}--resume {where}"
    return f"{called(name, asked, path)}, or of a recipe {typed} --config RECIPE.py" \
        if unsaid(asked) else typed
