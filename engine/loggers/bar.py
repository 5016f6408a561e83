"""How far a piece of work of known or unknown length is, on standard error: never in the result."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich import progress
from rich.console import Console

from engine.errors import tell, visible

EVERY_S = 10.0  # between two lines where there is no terminal


@contextlib.contextmanager
def bar(what: str, total: int | None, silent: bool = False) -> Iterator[Callable[[int], None]]:
    """Gives a function of how many more are done. On a terminal a bar moves; elsewhere `what` is
    told at once, unless `silent`, and the number done every ten seconds."""
    if sys.stderr.isatty():
        columns = (progress.TextColumn("{task.description}", markup=False), progress.BarColumn(),
                   progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
        with progress.Progress(*columns, console=Console(stderr=True)) as shown:
            task = shown.add_task(visible(what, ""), total=total)
            yield lambda more: shown.advance(task, more)
        return
    if not silent:
        tell(what)
    yield _lines(what, total)


def _lines(what: str, total: int | None) -> Callable[[int], None]:
    done, told = 0, time.monotonic()

    def moved(more: int) -> None:
        nonlocal done, told
        done += more
        if time.monotonic() >= told + EVERY_S:
            told = time.monotonic()
            tell(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

    return moved
