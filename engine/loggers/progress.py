"""One line an epoch, as Keras users know it: moving in a terminal, printed once elsewhere."""

from typing import Any

from rich.console import Console

from engine.errors import visible

BAR = 20


class _Plain(Console):
    """Names that come from files can't move the cursor: what it prints is text."""

    def print(self, *texts: Any, **how: Any) -> None:
        super().print(*(visible(x) if isinstance(x, str) else x for x in texts), **how)


def plain_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is: no mark-up, no colours for numbers, no wrapping."""
    return _Plain(stderr=stderr, markup=False, highlight=False, soft_wrap=True, quiet=quiet)


class Progress:
    """Prints to `console`. Seconds are training time, never compilation.

    A context manager: leaving it ends a line left half-way, so that nothing is written behind it.
    """

    def __init__(self, epochs: int, steps: int, console: Console):
        self._epochs, self._steps, self._console = epochs, steps, console
        self.interactive = console.is_terminal
        self._unfinished = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._unfinished:
            self._console.file.write("\n")

    def _line(self, epoch: int, step: int, seconds: float, values: dict[str, float]) -> str:
        head = f"Epoch {epoch}/{self._epochs} {step:{len(str(self._steps))}}/{self._steps} "
        tail = f" {seconds:.0f}s {1000 * seconds / step:.1f}ms/step"
        tail += "".join(f" - {name} {value:.4f}" for name, value in values.items())
        width = BAR
        if self.interactive:
            width = max(0, min(BAR, self._console.width - 1 - len(head) - len(tail)))
        done = width * step // self._steps
        return head + "━" * done + "·" * (width - done) + tail

    def _show(self, line: str, end: str) -> None:
        """Through the console's own file, since rich would strip the carriage return."""
        if self._console.quiet:
            return
        start = "\r\x1b[K" if self.interactive else ""
        self._console.file.write(start + line + end)
        self._console.file.flush()
        self._unfinished = not end

    def update(self, epoch: int, step: int, seconds: float, values: dict[str, float]) -> None:
        """Move this epoch's line, where there is a terminal."""
        if self.interactive:
            self._show(self._line(epoch, step, seconds, values), end="")

    def finish(self, epoch: int, seconds: float, values: dict[str, float]) -> None:
        """The epoch's last word, a whole line."""
        self._show(self._line(epoch, self._steps, seconds, values), end="\n")
