"""How far a piece of work of known or unknown length is, on standard error: never in the result."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich import progress
from rich.console import Console

from engine.errors import tell, visible
from engine.width import shortened

EVERY_S = 10.0  # between two lines where there is no terminal
LEAST = 45  # of a terminal's cells for the bar, the counts and the time, whatever is done


@contextlib.contextmanager
def bar(
    what: str, total: int | None, silent: bool = False, of_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Gives a function of how many more are done. On a terminal a bar moves; elsewhere `what` is
    told at once, `of_bytes` with how many, unless `silent`, and the number done every ten seconds.
    """
    if sys.stderr.isatty():
        counts = (progress.DownloadColumn(), progress.TransferSpeedColumn()) if of_bytes \
            else (progress.MofNCompleteColumn(),)
        columns = (progress.TextColumn("{task.description}", markup=False),
                   progress.BarColumn(bar_width=16), *counts, progress.TimeRemainingColumn())
        console = Console(stderr=True)
        with progress.Progress(*columns, console=console) as shown:
            task = shown.add_task(shortened(visible(what, ""), console.width - LEAST), total=total)
            yield lambda more: shown.advance(task, more)
        return
    if not silent:
        tell(f"{what}: {total:,} bytes" if of_bytes else what)
    yield _lines(what, total)


@contextlib.contextmanager
def waiting(what: str, console: Console) -> Iterator[None]:
    """Work that doesn't tell how far it is: on a terminal `what` and its seconds, gone afterwards;
    elsewhere not a word."""
    columns = (progress.SpinnerColumn(), progress.TextColumn("{task.description}", markup=False),
               progress.TimeElapsedColumn())
    hidden = console.quiet or not console.is_terminal
    with progress.Progress(*columns, console=console, transient=True, disable=hidden) as shown:
        shown.add_task(visible(what, ""), total=None)
        yield


def _lines(what: str, total: int | None) -> Callable[[int], None]:
    done, told = 0, time.monotonic()

    def moved(more: int) -> None:
        nonlocal done, told
        done += more
        if time.monotonic() >= told + EVERY_S:
            told = time.monotonic()
            tell(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

    return moved
