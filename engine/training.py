"""The host's loop over epochs: train in segments, evaluate, record, save, stop when asked to."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from engine.console.progress import Progress
from engine.disk import whereabouts
from engine.doors.course import rate_at
from engine.errors import RunError
from engine.job import imports, processes
from engine.job.signals import Interruption, Stopped
from engine.learners.learner import jitted
from engine.loggers import answer
from engine.optim import patience
from engine.programs.compile import Programs
from engine.pure import history_row
from engine.report import settings
from engine.segments import Pace, due, rest_of_epoch, watched
from engine.setup import Setup
from engine.state import State
from engine.store import folder
from engine.store.checkpoint import Checkpoints
from engine.stream.restated import restated
from engine.stream.streamed import Feed, Unfed

MUCH = 0.1  # of an epoch's time, from which on waiting for the examples is told
MOVES = 20  # of a terminal's line, an epoch
Logger = Callable[[dict[str, Any]], Any]  # of an epoch's row; a true answer is a reason to stop


def finite(state: State) -> jax.Array | bool:
    """Whether everything that the next step builds on is."""
    floats = [x for x in jax.tree.leaves((state.variables, state.opt_state))
              if jnp.issubdtype(x.dtype, jnp.floating)]
    return not floats or _finite(floats)


@jax.jit
def _finite(floats: list[jax.Array]) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in floats]))


class Training:
    """The epochs of one run, of all its processes together; the first one writes the history.

    `epoch_seconds` are those of training segments, this epoch's so far; `seconds` are this
    process's in all. `waited` seconds of them the device waited for examples.
    """

    def __init__(
        self, ready: Setup, feed: Feed, programs: Programs, path: Path, progress: Progress,
        epoch_seconds: float, checkpoints: Checkpoints, interruption: Interruption,
        loggers: Sequence[Logger] = (),
    ):
        self.ready, self.feed, self.programs, self.path = ready, feed, programs, path
        self.progress, self.checkpoints = progress, checkpoints
        self.interruption, self.loggers = interruption, loggers
        self.epoch_seconds, self.seconds = epoch_seconds, 0.0
        self.epoch_waited = self.waited = 0.0
        self._pace, self._next = Pace(), 1  # this process's own, and what all have agreed on
        self._most = math.ceil(ready.lengths.epoch / (MOVES if progress.interactive else 1))
        self._saved_at = time.monotonic()
        self._restate = jitted(ready.learner, "restated")

    def run(self, state: State) -> State:
        """Every epoch left, all of them on the disk, or as many as a logger lets go by. Raises
        Stopped, all saved, where a signal asks to; RunError of status 3 where the run diverges, of
        which nothing is saved."""
        ready, lengths = self.ready, self.ready.lengths
        draws = ready.request.place.report and processes.first_process()
        imports.ahead(imports.SAVING, *imports.DRAWING * draws)
        reason = self._over(int(state.step))
        if int(state.step) < lengths.total and not reason:
            with self._naming_the_folder():
                self.feed.train(int(state.step))  # the first chunk is in no epoch's time
        while int(state.step) < lengths.total and not reason:
            with self._naming_the_folder():
                state, status, save = self._epoch(state)
                state = self._restated(state)
                step, row = int(state.step), self._row(state)
            self._stop_if_diverged(state, row)
            if step % lengths.epoch == 0:
                state = patience.lowered(ready.learner, ready.hyper, ready.lengths, state, row)
                told = self._record(row)
                with watched(ready.request.place):  # the others may be long in theirs
                    reason = processes.any_tells(told) or self._over(step)
            self._save(state, row.get(ready.score), save)
            if status:
                self.checkpoints.wait()
                raise Stopped(
                    f"stopped at step {step} of {lengths.total} and saved. {self._going_on}",
                    status, shared=True)
        self.checkpoints.wait()
        if reason:
            ready.host.console.print(f"stopped after step {int(state.step)}: {reason}")
        return state

    def _over(self, step: int) -> str:
        """Why the run stops here by its patience, the same in every process; "" if it goes on."""
        ready = self.ready
        return processes.first_tells(lambda: ready.learner.over(
            ready.hyper, ready.lengths, folder.history(self.path))
        ) if ready.lengths.patience and step % ready.lengths.epoch == 0 else ""

    def _restated(self, state: State) -> State:
        """The state with batch statistics of its averaged weights: at an epoch's end by one more
        pass over the examples; within one, where nobody ranks it, the trained weights'."""
        ready = self.ready
        if "batch_stats" not in state.average:
            return state
        if int(state.step) % ready.lengths.epoch:
            return state._replace(average=state.average | {"batch_stats": state.batch_stats})
        return restated(ready, state) if ready.stream else self._restate(
            ready.root, ready.order, ready.data.train, state)

    @contextmanager
    def _naming_the_folder(self) -> Iterator[None]:
        """Of a feed that fails, where the run can go on from."""
        try:
            yield
        except Unfed as error:
            raise RunError(f"{error} What was saved is kept. {self._going_on}",
                           shared=True) from error

    @property
    def _going_on(self) -> str:
        path = whereabouts.told(self.path)
        return f"Go on with: {settings.going_on('fit', self.ready.config, path)}"

    def _epoch(self, state: State) -> tuple[State, int, bool]:
        """The rest of an epoch, as far as a signal lets it go; its status; is it time to save?"""
        ready, status, save = self.ready, 0, False
        epoch = ready.lengths.epoch
        number, position = divmod(int(state.step), epoch)

        def advance(state: State, count: int) -> State:
            before = self.feed.waited
            inputs = ready.inputs | {"train": self.feed.train(int(state.step))}
            self.epoch_waited += self.feed.waited - before
            return self.programs.segment(**inputs, state=state, count=np.int32(count))

        def most() -> int:
            return min(self._next, self.feed.most(int(state.step)))

        try:
            for state, steps, seconds, position in rest_of_epoch(  # noqa: B020  # it goes on there
                advance, state, position, epoch, most, ready.request.place
            ):
                self._pace.learn(steps, seconds)
                self.epoch_seconds += seconds
                self.seconds += seconds
                with watched(ready.request.place):
                    self._next, status, save = self._agree(position == epoch)
                values = {k: float(v) for k, v in ready.task.row(state.tally).items()}
                self.progress.update(number + 1, position, self.epoch_seconds, values)
                if status or int(state.diverged_at) >= 0:
                    break
                if save and position < epoch and bool(finite(state)):
                    self._save(self._restated(state), None)
        except Unfed:
            if position and int(state.step) > self.checkpoints.latest() and finite(state):
                self._save(self._restated(state), None)
                self.checkpoints.wait()
            raise
        return state, status, save

    def _agree(self, whole: bool) -> tuple[int, int, bool]:
        """The next segment's steps, the status a signal asks for, and whether to save, here or, of
        a `whole` epoch, after it: the same in every process, wherever the signal came."""
        save = due(self._saved_at, whole, self.ready.request.place)
        # Only the first process may have a terminal, and segments have to be of one length.
        own = [-min(self._pace.steps, self._most), self.interruption.status, save]
        steps, status, save = processes.agreed(np.array(own, np.int32), np.max).tolist()
        return -steps, status, bool(save)

    def _row(self, state: State) -> dict[str, Any]:
        """The epoch as history.jsonl has it; without losses where it isn't whole."""
        ready, step = self.ready, int(state.step)
        hyper = patience.dropped(ready.hyper, state.plateau)
        row: dict[str, Any] = {
            "epoch": -(-step // ready.lengths.epoch), "step": step,
            "learning_rate": rate_at(ready.config, ready.lengths, hyper, step - 1),
            "seconds": self.epoch_seconds, "val_loss": 0.0,
        }
        if step % ready.lengths.epoch == 0 and int(state.diverged_at) < 0:
            with watched(ready.request.place):
                validation = self.feed.evaluate(
                    self.programs.evaluate, state.models, row["epoch"] - 1
                )
                row |= {name: float(value) for name, value in
                        history_row(ready.task, state.tally, validation).items()}
        return row

    def _stop_if_diverged(self, state: State, row: dict[str, Any]) -> None:
        bad, rate = int(state.diverged_at), row["learning_rate"]
        if bad < 0 and math.isfinite(row["val_loss"]) and bool(finite(state)):
            return
        step = row["step"] if bad < 0 else bad
        self.checkpoints.wait()
        kept = f"{whereabouts.told(self.path)}/checkpoints keeps the last good state" \
            if self.checkpoints.latest() >= 0 else "nothing was saved before it"
        instead = "Lower your optimizer's rate, or clip its gradient" if rate is None else \
            f"Lower --learning_rate ({rate:.3g} there), or clip the gradient with --clip_norm 1"
        if bad == 0 or bad < 0 and bool(finite(state)):
            instead = "Look at the examples, such as codes that the network doesn't embed; else " \
                + instead[0].lower() + instead[1:]
        what = "loss" if bad >= 0 else "validation loss, or a parameter,"
        epoch = row["epoch"] if bad < 0 else step // self.ready.lengths.epoch + 1
        raise RunError(f"the {what} was not finite at step {step} (epoch {epoch}): the run stops. "
                       f"{kept}. {instead}.", status=3, shared=True)

    def _record(self, row: dict[str, Any]) -> str:
        """Write and tell a whole epoch; why a logger wants to stop, or ''."""
        if processes.first_process():
            folder.append_history(self.path, row)
        told = ("epoch", "step", "learning_rate", "seconds")
        shown = {k: v for k, v in row.items() if k not in told}
        trained = {k: v for k, v in shown.items() if not k.startswith("val_")}
        share = self.epoch_waited / max(self.epoch_seconds, 1e-9)
        idle = {"waited": share} if share > MUCH else {}
        self.progress.finish(row["epoch"], self.epoch_seconds, trained | shown | idle)
        self.waited += self.epoch_waited
        self.epoch_seconds = self.epoch_waited = 0.0
        reasons = [answer.reason(logger, logger(dict(row))) for logger in self.loggers]
        return next(filter(None, reasons), "")

    def _save(self, state: State, score: float | None, now: bool = True) -> None:
        with watched(self.ready.request.place):
            self.checkpoints.save(state, score, self.epoch_seconds, now)
        self._saved_at = time.monotonic() if now else self._saved_at
