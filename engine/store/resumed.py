"""The folder that a run, or a sweep, is to go on in."""

from pathlib import Path
from typing import Any

from engine.disk import whereabouts
from engine.errors import RequestError
from engine.objects.given import AGAIN
from engine.request import Request
from engine.sets.names import ARRAYS
from engine.store import folder, record


def resumed(request: Request, run: Any, kind: str = "run") -> str:
    """The folder of a run, or of a sweep by its `kind`, to go on with, as it was given; "" for
    none. Raises RequestError for what is no folder, where the place names another one, and where
    data that were objects aren't given again."""
    path = str(whereabouts.given(run, "resume")) if run else ""
    own = request.place.run_dir
    if path and own and Path(own).resolve() != Path(path).resolve():
        raise RequestError(f"resume names the {kind}'s folder already, {path}, and Place(run_dir="
                           f"{own!r}) another: leave run_dir out.")
    if path and request.data is None:
        saved = record.read(Path(path) / folder.HOLDS[kind], request.config)
        if saved.request.config.dataset == ARRAYS:
            raise RequestError(AGAIN)
    return path
