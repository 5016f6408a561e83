"""A recipe, as --config names it: a Python file that sets `config`, `hyper`, `place` or `data`, or
a run's own config.json."""

import dataclasses
from pathlib import Path
from typing import Any

from engine.config import BROUGHT, Config, Hyper
from engine.doors import bring, hypers
from engine.errors import RequestError
from engine.place import Place
from engine.request import Request
from engine.store import record

_NAMES = {"config": Config, "hyper": Hyper, "place": Place, "data": None}


def read(path: str) -> Request:
    """What it asks for, defaults where it says nothing. Raises RequestError for what is none."""
    file = Path(path)
    if not file.is_file():
        raise RequestError(f"--config {path}: no such recipe; try --config configs/article.py.")
    if file.suffix == ".json":
        saved = record.read(file).request
        return saved._replace(place=dataclasses.replace(saved.place, run_dir=""))
    if file.suffix != ".py":
        raise RequestError(f"--config {path}: type a recipe in Python, FILE.py, or a run's "
                           "config.json.")
    found = bring.names("--config", file)
    _check_names(path, found)
    _check_filled(path, found)
    config, place = found.get("config", Config()), found.get("place", Place())
    hyper = found.get("hyper", Hyper())
    if not (isinstance(config, Config) and isinstance(place, Place) and hasattr(hyper, "_asdict")):
        raise RequestError(f"--config {path}: give config = Config(...), hyper = Hyper(...) and "
                           "place = Place(...), or leave them out.")
    return Request(config, found.get("hyper") or hypers.kind_of(config)(), place,
                   found.get("data"))


def _check_names(path: str, found: dict[str, Any]) -> None:
    """Raise RequestError for a file that sets none of a recipe's names."""
    if found.keys() & _NAMES.keys():
        return
    meant = "".join(f" {other} is a {kind.__name__}: call it {name}."
                    for name, kind in _NAMES.items()
                    for other, value in found.items() if kind and isinstance(value, kind))
    raise RequestError(f"--config {path}: it has none of {', '.join(_NAMES)}, which a recipe sets, "
                       f"as in config = Config(...).{meant}")


def _check_filled(path: str, found: dict[str, Any]) -> None:
    """Raise RequestError where a sweep's best.py has ... for an object still; not for the data
    alone, which not every command reads."""
    unfilled = [name for name in (*BROUGHT, "data") if found.get(name) is ...]
    if unfilled and unfilled != ["data"]:
        raise RequestError(f"--config {path}: put in its {' and '.join(unfilled)}, where ... "
                           "stands.")
