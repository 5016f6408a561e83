"""A sweep's standing: a live table in a terminal, a line an epoch elsewhere."""

from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from engine.sweep.space import Trial

SHOWN = 8


class Board:
    """Prints to `console`. A context manager: leaving it leaves the last table standing.

    `total` is the run-epochs that the whole sweep trains; `score` ranks the runs.
    """

    def __init__(
        self, trials: list[Trial], total: int, console: Console, score: str = "accuracy",
        higher: bool = True,
    ):
        self._score, self._sign = score, 1 if higher else -1
        self._trials = {t.number: t for t in trials}
        self._total, self._console = total, console
        self._latest: dict[int, dict[str, Any]] = {}
        self._values: dict[int, dict[str, Any]] = {}
        self._gone: set[int] = set()
        self._before, self._done, self._seconds, self._epoch = 0.0, 0.0, 0.0, ""
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()

    def worked(self, run_epochs: float, seconds: float) -> None:
        """So much more was trained, in so much time."""
        self._done += run_epochs
        self._seconds += seconds
        self._show()

    def resumed(self, run_epochs: float) -> None:
        """So much was trained before this process."""
        self._before += run_epochs

    def measured(self, run: int, row: dict[str, Any], values: dict[str, Any]) -> None:
        """The run's newest epoch, and its swept values in it; whoever is measured is alive."""
        self._latest[run], self._values[run] = row, values
        self._gone.discard(run)

    def left(self, run: int) -> None:
        """The run diverged, was dropped or was refused."""
        self._gone.add(run)

    def judged(self, epoch: int, epochs: int) -> None:
        """An epoch of a group is over."""
        self._epoch = f"Epoch {epoch}/{epochs}"
        if self._live:
            self._show()
        else:
            self._console.print(self._line())
            self._console.file.flush()

    def _line(self) -> str:
        alive = len(self._trials) - len(self._gone)
        line = f"{self._epoch} - {alive} of {len(self._trials)} runs alive"
        if ranking := self._ranking():
            best = ranking[0]
            value = self._latest[best][f"val_{self._score}"]
            line += f" - best val_{self._score} {value:.4f} (run {best}"
            line += "".join(f", {n} {v}" for n, v in self._values[best].items()) + ")"
        if self._seconds:
            epochs_a_run = self._total / len(self._trials)
            speed = 3600 * self._done / epochs_a_run / self._seconds
            share = (self._before + self._done) / self._total
            line += f" - {speed:,.0f} runs an hour, {share:.0%} done"
        return line

    def _ranking(self) -> list[int]:
        alive = [run for run in self._latest if run not in self._gone]
        score = f"val_{self._score}"
        return sorted(alive, key=lambda run: -self._sign * self._latest[run][score])

    def _show(self) -> None:
        if not self._live:
            return
        table = Table(title=self._line(), title_justify="left", title_style="")
        names = list(next(iter(self._trials.values())).values)
        scores = dict.fromkeys(("loss", self._score, "val_loss", f"val_{self._score}"))
        for name in ("run", *names, "seed", *scores):
            table.add_column(name, justify="right")
        for run in self._ranking()[:SHOWN]:
            trial, row = self._trials[run], self._latest[run]
            table.add_row(
                str(run), *map(str, self._values[run].values()), str(trial.config.seed),
                *(f"{row[name]:.4f}" for name in scores),
            )
        self._live.update(table, refresh=True)
