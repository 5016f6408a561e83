"""The host's loop over epochs: train in segments, evaluate, record, save, stop when asked to."""

import faulthandler
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from engine import folder, loop
from engine.checkpoint import Checkpoints
from engine.config import Durations
from engine.errors import RunError
from engine.job import processes as job
from engine.loggers.progress import Progress
from engine.optim import schedule
from engine.pace import Pace
from engine.program import Program
from engine.setup import Setup
from engine.signals import Interruption
from engine.state import State

# A terminal's line moves this many times an epoch.
MOVES = 20
STUCK_SECONDS = 600


class Programs(NamedTuple):
    """segment(hyper, root, order, train, state, count), evaluate(variables, subset): compiled."""

    segment: Program
    evaluate: Program

    @property
    def seconds(self) -> float:
        return self.segment.seconds + self.evaluate.seconds


class Clock:
    """Seconds spent in training segments, this epoch's and this process's, and its examples."""

    def __init__(self, epoch: float = 0.0):
        self.epoch, self.total, self.steps = epoch, 0.0, 0

    def add(self, seconds: float, steps: int) -> None:
        self.epoch += seconds
        self.total += seconds
        self.steps += steps


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Where the block takes longer, print every thread's stack and leave at once, status 1.

    For a process that is alive and stuck, whose heartbeats go on. 0 waits for ever.
    """
    if seconds:
        faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@jax.jit
def _finite(state: State) -> jax.Array:
    """Whether everything that the next step builds on is."""
    floats = [x for x in jax.tree.leaves((state.variables, state.opt_state))
              if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in floats]))


def _stop_if_diverged(path: Path, state: State, lengths: Durations, row: dict[str, Any]) -> None:
    bad = int(state.diverged_at)
    if bad < 0 and math.isfinite(row["val_loss"]) and bool(_finite(state)):
        return
    step = row["step"] if bad < 0 else bad
    raise RunError(
        f"the loss was not finite at step {step} (epoch {step // lengths.epoch + 1}): the run "
        f"stops. {path}/checkpoints keeps the last good state. Lower --learning_rate "
        f"({row['learning_rate']:.3g} there), or clip the gradient with --clip_norm 1.",
        status=3, shared=True,
    )


class Training:
    """The epochs of one run, of all its processes together; the first one writes the history."""

    def __init__(
        self, ready: Setup, programs: Programs, path: Path, progress: Progress, clock: Clock,
        checkpoints: Checkpoints, interruption: Interruption,
    ):
        self.ready, self.programs, self.path = ready, programs, path
        self.progress, self.clock, self.checkpoints = progress, clock, checkpoints
        self.interruption = interruption
        self._pace, self._steps = Pace(), 1  # this process's own, and what all have agreed on
        moves = math.ceil(ready.lengths.epoch / MOVES)
        self._most = moves if progress.interactive else ready.lengths.epoch
        self._saved_at = time.monotonic()
        config = ready.config
        several = jax.process_count() > 1
        self.stuck_after = config.stuck_seconds or (STUCK_SECONDS if several else 0)

    def run(self, state: State) -> State:
        """Every epoch left, all of them on the disk. Raises RunError, all saved, where a signal
        asks to stop; with status 3 where the run diverges, of which nothing is saved."""
        lengths = self.ready.lengths
        while int(state.step) < lengths.total:
            state, status = self._epoch(state)
            step = int(state.step)
            row = self._row(state)
            _stop_if_diverged(self.path, state, lengths, row)
            if step % lengths.epoch == 0:
                self.checkpoints.wait()  # of what is recorded, only the newest may yet be lost
                self._record(row)
            self._save(state, row.get("val_accuracy"))
            if status:
                self.checkpoints.wait()
                raise RunError(
                    f"stopped at step {step} of {lengths.total} and saved. Go on with: "
                    f"python launch.py --resume {self.path}", status, shared=True,
                )
        self.checkpoints.wait()
        return state

    def _epoch(self, state: State) -> tuple[State, int]:
        """The rest of the current epoch, or as far as a signal lets it go; the signal's status."""
        ready, steps = self.ready, self.ready.lengths.epoch
        (epoch, position), status = divmod(int(state.step), steps), 0
        while position < steps and not status and int(state.diverged_at) < 0:
            count = min(self._steps, steps - position)
            with watched(self.stuck_after):
                began = time.perf_counter()
                state = self.programs.segment(
                    **ready.inputs, state=state, count=np.int32(count)
                )
                jax.block_until_ready(state)
                took = time.perf_counter() - began
                self._pace.learn(count, took)
                self.clock.add(took, count)
                position += count
                self._steps, status, due = self._agree()
            seen = int(state.tally.count)
            values = {"loss": float(state.tally.loss_sum) / seen,
                      "accuracy": int(state.tally.correct) / seen}
            self.progress.update(epoch + 1, position, self.clock.epoch, values)
            if due and position < steps and not status and bool(_finite(state)):
                self._save(state, None)
        return state, status

    def _agree(self) -> tuple[int, int, bool]:
        """The next segment's steps, the status a signal asks for, and whether to save: the same in
        every process, wherever the signal came."""
        due = time.monotonic() - self._saved_at > self.ready.config.save_seconds
        # Only the first process may have a terminal, and segments have to be of one length.
        own = [-min(self._pace.steps, self._most), self.interruption.status, due]
        steps, status, due = job.agreed(np.array(own, np.int32), np.max).tolist()
        return -steps, status, bool(due)

    def _row(self, state: State) -> dict[str, Any]:
        """The epoch as history.jsonl has it; without losses where it isn't whole."""
        ready, step = self.ready, int(state.step)
        rate = schedule(ready.config, ready.lengths)(step - 1)
        row: dict[str, Any] = {
            "epoch": -(-step // ready.lengths.epoch), "step": step,
            "learning_rate": float(ready.hyper.learning_rate) * float(rate),
            "seconds": self.clock.epoch, "val_loss": 0.0,
        }
        if step % ready.lengths.epoch == 0 and int(state.diverged_at) < 0:
            with watched(self.stuck_after):
                validation = self.programs.evaluate(
                    variables=state.variables, subset=ready.data.validation
                )
                row |= {name: float(value) for name, value in
                        loop.history_row(state.tally, validation.tally).items()}
        return row

    def _record(self, row: dict[str, Any]) -> None:
        if job.first_process():
            folder.append_history(self.path, row)
        shown = {k: row[k] for k in ("loss", "accuracy", "val_loss", "val_accuracy")}
        self.progress.finish(row["epoch"], self.clock.epoch, shown)
        self.clock.epoch = 0.0

    def _save(self, state: State, val_accuracy: float | None) -> None:
        with watched(self.stuck_after):
            self.checkpoints.save(state, val_accuracy, self.clock.epoch)
        self._saved_at = time.monotonic()
