"""A request as made in Python: completed, and checked as the command line checks its own."""

import contextlib
import inspect
from typing import Any

import jax

from engine.doors import bring, hypers, trackers
from engine.doors.checks import check_fields
from engine.errors import RequestError
from engine.optim.trees import values_of
from engine.place import Place
from engine.request import Request
from engine.sets import names


def completed(request: Request, loggers: Any = ()) -> Request:
    """The same with the user's files named from the root, plain numbers, and where its hyper is
    None, the values that its optimizer or its trees begin with. Raises RequestError for what can't
    be meant, for `loggers` that are no functions, and while a file of the user's is imported."""
    if file := bring.importing.get():  # which would train besides what is asked for, or for ever
        raise RequestError(f"{file} trains as it is imported: put that under "
                           "if __name__ == '__main__':")
    config, hyper, place, data = request
    hyper = hypers.settled(config, hyper)
    if not isinstance(place, Place):
        raise RequestError(f"place is a {type(place).__name__}: give Place(run_dir=...), and data "
                           "by its name, data=...")
    if not (isinstance(loggers, list | tuple) and all(map(callable, loggers))):
        raise RequestError(f"loggers are {loggers!r}: give a list of functions of a row; trackers "
                           "have names, Place(log='tensorboard').")
    for logger in loggers:
        with contextlib.suppress(ValueError):  # of what has no signature, as some builtins
            try:
                inspect.signature(logger).bind({})
            except TypeError as error:
                raise RequestError(f"logger {bring.short(logger)} can't be called with an epoch's "
                                   f"row alone ({error}): give a function of one, lambda row: ..."
                                   ) from None
    if jax.config.jax_disable_jit and not values_of(config.model):  # type: ignore[attr-defined]
        raise RequestError("jax_disable_jit: what fit and sweep train is compiled ahead of its "
                           "calls: leave it out and print by jax.debug.print, or debug with train.")
    check_fields(place)
    trackers.check(place.log)
    if data is not None:
        names.check_heeded(names.ARRAYS, config.reading)
    return Request(bring.absolute(config), hyper, place, data)
