"""One line an epoch, as Keras users know it: moving in a terminal, printed once elsewhere."""

from typing import Any

from rich.console import Console

from engine.console.number import number
from engine.errors import visible
from engine.width import wrapped

BAR = 20
LEAST = 5  # of a terminal's bar: below that, a shorter line is taken


class _Escaping:
    """A stream that is written what its encoding has no character for as an escape."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


class _Plain(Console):
    """Names that come from files can't move the cursor: what it prints is text, in a terminal
    broken between its words, whatever its encoding."""

    @Console.file.getter  # type: ignore[attr-defined]
    def file(self) -> Any:
        return _Escaping(super().file)

    def print(self, *texts: Any, **how: Any) -> None:
        super().print(*(self._fitted(x) if isinstance(x, str) else x for x in texts), **how)

    def _fitted(self, text: str) -> str:
        shown = visible(text)
        if not self.is_terminal:
            return shown
        return "\n".join(wrapped(line, self.width) for line in shown.split("\n"))


def plain_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is: no mark-up, no colours for numbers, words whole."""
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
        """In a terminal the first of three that leaves room for a bar: all of it; without steps,
        and a validation's value beside its training's; that without a bar."""
        head, took = f"Epoch {epoch}/{self._epochs} ", f" {seconds:.0f}s"
        counted = f"{head}{step:{len(str(self._steps))}}/{self._steps} "
        paced = f"{took} {1000 * seconds / step:.1f}ms/step"
        full = paced + "".join(f" - {name} {number(value)}" for name, value in values.items())
        if not self.interactive:
            return counted + self._bar(step, BAR) + full
        short = took + _paired(values)
        for begin, end in ((counted, full), (head, short)):
            room = self._console.width - 1 - len(begin) - len(end)
            if room >= LEAST:
                return begin + self._bar(step, min(BAR, room)) + end
        return head.rstrip() + short

    def _bar(self, step: int, width: int) -> str:
        done = width * step // self._steps
        return "━" * done + "·" * (width - done)

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
            line = self._line(epoch, step, seconds, values)
            self._show(line[: self._console.width - 1], end="")

    def finish(self, epoch: int, seconds: float, values: dict[str, float]) -> None:
        """The epoch's last word, a whole line, in a narrow terminal its rest below."""
        line = self._line(epoch, self._steps, seconds, values)
        self._show(wrapped(line, self._console.width) if self.interactive else line, end="\n")


def _paired(values: dict[str, float]) -> str:
    """Each value, and that of the validation beside it."""
    told = ""
    for name, value in values.items():
        beside = values.get(f"val_{name}")
        if name.startswith("val_") and name.removeprefix("val_") in values:
            continue
        told += f" - {name} {number(value)}" + (
            f", val {number(beside)}" if beside is not None else "")
    return told
