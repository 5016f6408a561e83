"""A request as made in Python: completed, and checked as the command line checks its own."""

from typing import Any

from engine import sources
from engine.checks import check, check_fields
from engine.doors import bring, hypers
from engine.doors.fields import plain
from engine.errors import RequestError
from engine.loggers import trackers
from engine.place import Place
from engine.request import Request
from engine.sources import values


def completed(request: Request) -> Request:
    """The same with the user's files named from the root, plain numbers, and where its hyper is
    None, the values that its optimizer or its trees begin with. Raises RequestError for what can't
    be meant."""
    config, place = bring.absolute(request.config), request.place
    hyper = hypers.kind_of(config)() if request.hyper is None else request.hyper
    _check_kinds(hyper, place)
    found = request._replace(config=config, hyper=type(hyper)(*map(plain, hyper)))
    check(found.config, found.hyper)
    check_fields(place)
    trackers.check(place.log)
    if found.data is not None:
        sources.check_heeded(values.NAME, config.reading)
    return found


def _check_kinds(hyper: Any, place: Any) -> None:
    """Raise RequestError for what is no set of values, and no place."""
    if not hasattr(hyper, "_asdict"):
        raise RequestError(f"hyper is a {type(hyper).__name__}: give Hyper(learning_rate=...), and "
                           "data by its name, data=...")
    if not isinstance(place, Place):
        raise RequestError(f"place is a {type(place).__name__}: give Place(run_dir=...), and data "
                           "by its name, data=...")
