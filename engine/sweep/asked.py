"""A sweep as asked for in Python."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.config import Config
from engine.doors.requested import completed
from engine.errors import RequestError, unknown
from engine.fields import plain
from engine.job.host import undisturbed
from engine.place import Place
from engine.request import Request
from engine.store import record
from engine.store.resumed import resumed
from engine.sweep import search as searches
from engine.sweep import space
from engine.sweep import sweep as runs
from engine.sweep.found import Sweep
from engine.sweep.search import Search

ASKED = {*Search._fields} - {"axes", "study", "sampler", "median"}  # which are of many processes


@undisturbed()
def sweep(
    config: Config, axes: Mapping[str, Any] | None = None, hyper: Any = None,
    place: Place | None = None, data: Any = None, resume: str | os.PathLike[str] | None = "",
    quiet: bool = False, **search: Any,
) -> Sweep:
    """Train a population, as the command line does: each run's folder is an ordinary run's.

    `axes` has the values of each swept field of `config` or `hyper`: a list or an array, or a range
    in words, "log:1e-4:1e-1:16". `search` are the rest of a sweep's flags: seeds, samples, folds,
    halving, pbt, same_data_order. `hyper`, `place` and `data` as `fit` takes them. `resume` is the
    folder of a sweep to go on with, which searches as it was begun. Raises RequestError for what
    can't be meant, RunError for what failed on the way, or where all runs diverged, and
    after a signal, all saved, a KeyboardInterrupt of that signal's `status`.
    """
    for name in search.keys() - ASKED:
        raise unknown("option of sweep", name, ASKED)
    request = completed(Request(config, hyper, place or Place(), data))
    asked = Search(_words(axes or {}), **{name: plain(value) for name, value in search.items()})
    path = resumed(request, resume, "sweep")
    if path:
        saved = searches.saved(record.read(Path(path) / "sweep.json", request.config))
        if asked not in (saved, Search()):
            raise RequestError(f"the sweep in {path} searches as it was begun: leave axes "
                               "and other options of the search out.")
        asked = saved
    try:
        record.typed(Search, asked._asdict())
    except TypeError as error:
        raise RequestError(f"sweep: {error}; seeds, samples, folds and halving are counts, pbt and "
                           "same_data_order True or False.") from None
    space.refuse_threshold(request.config.choose_threshold)
    return runs.run(request, asked, path, quiet)


def _words(axes: Mapping[str, Any]) -> tuple[str, ...]:
    """The axes as they would be typed. Raises RequestError for values that no words tell."""
    if not isinstance(axes, Mapping):
        raise RequestError(f"axes is a {type(axes).__name__}: give values by name, "
                           'axes={"learning_rate": [1e-3, 1e-2]}.')
    return tuple(f"{name}={values if isinstance(values, str) else _listed(name, values)}"
                 for name, values in axes.items())


def _listed(name: str, values: Any) -> str:
    try:
        each = [plain(value) for value in values]
    except TypeError:
        raise RequestError(f"axes: {name} is {values!r:.60}: give a list of values, or a range as "
                           '"log:1e-4:1e-1:16".') from None
    for value in each:
        if type(value) not in (str, int, float, bool) or "," in str(value):
            raise RequestError(f"axes: {name} has the value {value!r:.60}: a sweep takes numbers, "
                               "and names without a comma; of an object FILE.py:NAME.")
    return ",".join(map(str, each))
