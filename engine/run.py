"""A run from request to report: the host's side of the pure function in loop.py."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from engine import checkpoint, devices, folder, loop, memory, profile, report
from engine.config import Config, Durations, Hyper
from engine.errors import RunError
from engine.evaluation import evaluated
from engine.optim import schedule
from engine.program import Program
from engine.progress import Progress
from engine.setup import Setup, plain_console, setup
from engine.signals import Interruption
from engine.state import State, create, shapes

# A terminal's line moves this many times an epoch; elsewhere an epoch is one segment.
MOVES = 20
PROFILED = 20


def _compile_segment(ready: Setup, config: Config, state: State) -> Program:
    """The training program of `config`; a `state` of shapes alone will do to compile it."""
    return Program(
        partial(loop.segment, ready.model, config), donate=("state",), hyper=ready.hyper,
        root=ready.root, order=ready.order, train=ready.data.train, state=state, count=np.int32(1),
    )


class Programs(NamedTuple):
    """segment(hyper, root, order, train, state, count), evaluate(params, subset): compiled."""

    segment: Program
    evaluate: Program

    @property
    def seconds(self) -> float:
        return self.segment.seconds + self.evaluate.seconds


def compile_programs(ready: Setup, state: State) -> Programs:
    """Both programs ahead of time, so that no epoch's time holds a compilation.

    Raises RequestError where training would not fit the device's memory.
    """
    segment = _compile_segment(ready, ready.config, state)
    need, room = memory.extra(memory.plan(segment.compiled)), memory.free(ready.device)
    if room is not None and need > room:
        raise memory.too_large(ready.config.batch_size, need, room, partial(_plan_of, ready))
    evaluate = Program(
        partial(loop.evaluate, ready.model, num_classes=len(ready.dataset.classes)),
        params=state.params, subset=ready.data.validation,
    )
    return Programs(segment, evaluate)


def _plan_of(ready: Setup, batch_size: int) -> memory.Plan:
    """The memory that training with another batch size would need, by compiling it."""
    config = dataclasses.replace(ready.config, batch_size=batch_size, microbatch=0)
    config = dataclasses.replace(
        config, microbatch=loop.microbatch_for(config, ready.device.platform)[0]
    )
    state = shapes(ready.model, ready.tx, ready.data.train.image_shape)
    return memory.plan(_compile_segment(ready, config, state).compiled)


@contextlib.contextmanager
def _naming_a_batch_that_fits(ready: Setup) -> Iterator[None]:
    """Turn jax's lack of memory into a RequestError. Never a retry: the state was donated."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not memory.exhausted(error):
            raise
        room = memory.free(ready.device) or 0
        batch = ready.config.batch_size
        raise memory.too_large(batch, None, room, partial(_plan_of, ready)) from None


def _write_profile(ready: Setup, programs: Programs, state: State, path: Path) -> str:
    """Trace PROFILED steps from a copy of `state` into `path`; the dearest operations in words."""
    steps = min(PROFILED, ready.lengths.epoch)

    def work() -> State:
        return programs.segment(
            hyper=ready.hyper, root=ready.root, order=ready.order, train=ready.data.train,
            state=jax.tree.map(jnp.copy, state), count=np.int32(steps),
        )

    jax.block_until_ready(work())  # warm-up
    hlo = programs.segment.compiled.as_text() or ""
    found = profile.operations(profile.trace(path, work), hlo)
    return (f"profile of {steps} steps in {path}, for xprof, TensorBoard and ui.perfetto.dev:\n"
            + profile.table(found, steps))


class Clock:
    """Seconds spent in training segments, this epoch's and this process's, and its examples."""

    def __init__(self, epoch: float = 0.0):
        self.epoch, self.total, self.steps = epoch, 0.0, 0

    def add(self, seconds: float, steps: int) -> None:
        self.epoch += seconds
        self.total += seconds
        self.steps += steps


def _segments(position: int, epoch: int, interactive: bool) -> list[int]:
    """Lengths of the segments left in an epoch of `epoch` steps, from step `position` on."""
    most = math.ceil(epoch / MOVES) if interactive else epoch
    return [min(most, epoch - start) for start in range(position, epoch, most)]


def _train_epoch(
    ready: Setup, programs: Programs, state: State, progress: Progress, clock: Clock,
    interruption: Interruption,
) -> State:
    """The rest of the current epoch, or as far as a signal lets it go."""
    epoch, position = divmod(int(state.step), ready.lengths.epoch)
    for count in _segments(position, ready.lengths.epoch, progress.interactive):
        began = time.perf_counter()
        state = programs.segment(
            hyper=ready.hyper, root=ready.root, order=ready.order, train=ready.data.train,
            state=state, count=np.int32(count),
        )
        jax.block_until_ready(state)
        clock.add(time.perf_counter() - began, count)
        position += count
        seen = int(state.tally.count)
        values = {"loss": float(state.tally.loss_sum) / seen,
                  "accuracy": int(state.tally.correct) / seen}
        progress.update(epoch + 1, position, clock.epoch, values)
        if interruption.status or int(state.diverged_at) >= 0:
            break
    return state


def _stop_if_diverged(path: Path, step: int, lengths: Durations, row: dict[str, Any]) -> None:
    if step < 0 and math.isfinite(row["val_loss"]):
        return
    step = row["step"] if step < 0 else step
    raise RunError(
        f"the loss was not finite at step {step} (epoch {step // lengths.epoch + 1}): the run "
        f"stops. {path}/checkpoints keeps the last good state. Lower --learning_rate "
        f"({row['learning_rate']:.3g} there), or clip the gradient with --clip_norm 1.",
        status=3,
    )


def _epochs(
    ready: Setup, programs: Programs, state: State, path: Path, progress: Progress, clock: Clock,
    checkpoints: checkpoint.Checkpoints, interruption: Interruption,
) -> State:
    """Every epoch left: train, evaluate, record, save."""
    rate = schedule(ready.config, ready.lengths)
    while (step := int(state.step)) < ready.lengths.total:
        state = _train_epoch(ready, programs, state, progress, clock, interruption)
        step, bad = int(state.step), int(state.diverged_at)
        whole = step % ready.lengths.epoch == 0
        row: dict[str, Any] = {
            "epoch": -(-step // ready.lengths.epoch), "step": step,
            "learning_rate": float(ready.hyper.learning_rate) * float(rate(step - 1)),
            "seconds": clock.epoch, "val_loss": 0.0,
        }
        if whole and bad < 0:
            validation = programs.evaluate(params=state.params, subset=ready.data.validation)
            row |= {k: float(v) for k, v in loop.history_row(state.tally, validation.tally).items()}
        _stop_if_diverged(path, bad, ready.lengths, row)
        if whole:
            folder.append_history(path, row)
            shown = {k: row[k] for k in ("loss", "accuracy", "val_loss", "val_accuracy")}
            progress.finish(row["epoch"], clock.epoch, shown)
            clock.epoch = 0.0
        checkpoints.save(state, row.get("val_accuracy"), clock.epoch)
        if interruption.status:
            checkpoints.wait()
            raise RunError(
                f"stopped at step {step} of {ready.lengths.total} and saved. Go on with: "
                f"python launch.py --resume {path}", interruption.status,
            )
    return state


def fit(
    config: Config, hyper: Hyper, resume: str = "", show_memory: bool = False,
    profiled: bool = False,
) -> Path:
    """Train, evaluate and report; the run's folder. `resume` names one to go on with.

    `show_memory` prints the training program's memory plan before it runs; `profiled` traces some
    steps into the run's folder first.
    """
    console = plain_console()
    ready = setup(config, hyper, console)
    if resume:
        path = Path(resume)
        folder.open_to_resume(path, config, hyper, ready.dataset.fingerprint)
    else:
        path = folder.create(config)
    console.print(f"run: {path}")
    with (checkpoint.Checkpoints(path / "checkpoints") as checkpoints,
          _naming_a_batch_that_fits(ready)):
        state, clock = _start(ready, checkpoints, bool(resume))
        programs = compile_programs(ready, state)
        # Only now, so that a folder whose run was refused for its memory is free for another.
        saved = folder.write_config(
            path, config, hyper, device=devices.describe(ready.device),
            classes=ready.dataset.classes, image_shape=ready.data.train.image_shape,
            fingerprint=ready.dataset.fingerprint,
        )
        console.print(f"compiled in {programs.seconds:.1f} s, apart from the times below")
        if show_memory:
            console.print(f"memory: {memory.plan(programs.segment.compiled)}")
        if profiled:
            console.print(_write_profile(ready, programs, state, path / "profile"))
        folder.history(path, up_to_step=int(state.step))
        progress = Progress(config.epochs, ready.lengths.epoch, console)
        with progress, Interruption() as interruption:
            state = _epochs(
                ready, programs, state, path, progress, clock, checkpoints, interruption
            )
    seen = clock.steps / ready.lengths.epoch * len(ready.data.train.rows)
    timing = {
        "seconds_compile": programs.seconds,
        "examples_per_second": seen / clock.total if clock.total else None,
        "peak_device_bytes": memory.peak(ready.device),
    }
    _conclude(ready, state, path, saved, timing, console)
    return path


def _start(
    ready: Setup, checkpoints: checkpoint.Checkpoints, resume: bool
) -> tuple[State, Clock]:
    """The newest checkpoint's state where there is one to resume, else a fresh one."""
    image = ready.data.train.image_shape
    if resume and checkpoints.any():
        state, seconds = checkpoints.restore(shapes(ready.model, ready.tx, image))
        return jax.device_put(state, ready.device), Clock(seconds)
    return jax.jit(lambda root: create(ready.model, ready.tx, root, image))(ready.root), Clock()


def _conclude(
    ready: Setup, state: State, path: Path, saved: dict[str, Any], timing: dict[str, Any],
    console: Console,
) -> None:
    """metrics.json, the plots and report.html."""
    scores, mistakes = evaluated(ready, state.params)
    history = folder.history(path)
    best = max(history, key=lambda row: row["val_accuracy"])
    scores |= timing | {
        "seconds_train": sum(row["seconds"] for row in history),
        "device": saved["device"],
        "best": {"epoch": best["epoch"], "val_accuracy": best["val_accuracy"]},
    }
    folder.replace(path / "metrics.json", json.dumps(scores, indent=2) + "\n")
    report.write(path, saved, history, scores, mistakes)
    speed = scores["examples_per_second"]
    console.print(
        f"{scores['split']}: accuracy {scores['accuracy']:.4f}, loss {scores['loss']:.4f}, "
        f"precision {scores['precision_macro']:.4f}, recall {scores['recall_macro']:.4f}, "
        f"F1 {scores['f1_macro']:.4f} (macro)"
        + (f"; {speed:,.0f} images/s" if speed else "") + f"\nreport: {path / 'report.html'}",
    )
