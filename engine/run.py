"""A run from request to report: the host's side of the pure function in loop.py."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from engine import checkpoint, folder, loop, memory, mesh, profile
from engine.config import Config, Hyper
from engine.errors import RequestError
from engine.evaluation import evaluated
from engine.job import processes as job
from engine.loggers.progress import Progress
from engine.program import Program
from engine.report import run as report
from engine.setup import Setup, begin, setup
from engine.signals import Interruption
from engine.state import State, create
from engine.training import Clock, Programs, Training, watched

PROFILED = 20


def compile_segment(ready: Setup, config: Config, state: State) -> Program:
    """The training program of `config`; a `state` of shapes alone will do to compile it."""
    return Program(
        partial(loop.segment, ready.model, config, spread=ready.spread), donate=("state",),
        **ready.inputs, state=state, count=np.int32(1),
    )


def compile_programs(ready: Setup, state: State) -> Programs:
    """Both programs ahead of time, so that no epoch's time holds a compilation.

    Raises RequestError where training would not fit the device's memory.
    """
    segment = compile_segment(ready, ready.config, state)
    need, room = memory.extra(memory.plan(segment.compiled)), memory.free(ready.device)
    if room is not None and need > room:
        raise memory.too_large(
            ready.config.batch_size, need, room, partial(_plan_of, ready), ready.shares
        )
    evaluate = Program(
        partial(loop.evaluate, ready.model, num_classes=len(ready.dataset.classes),
                spread=ready.spread),
        variables=state.variables, subset=ready.data.validation,
    )
    return Programs(segment, evaluate)


def _plan_of(ready: Setup, batch_size: int) -> memory.Plan:
    """The memory that training with another batch size would need, by compiling it."""
    config = dataclasses.replace(ready.config, batch_size=batch_size, microbatch=0)
    state = ready.state_shapes
    size, _ = loop.microbatch_for(
        config, ready.device.platform, ready.shares, state.kept
    )
    config = dataclasses.replace(config, microbatch=size)
    return memory.plan(compile_segment(ready, config, state).compiled)


@contextlib.contextmanager
def _naming_a_batch_that_fits(ready: Setup) -> Iterator[None]:
    """Turn jax's lack of memory into a RequestError. Never a retry: the state was donated."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not memory.exhausted(error):
            raise
        room = memory.free(ready.device) or 0
        raise memory.too_large(
            ready.config.batch_size, None, room, partial(_plan_of, ready), ready.shares
        ) from None


def _write_profile(ready: Setup, programs: Programs, state: State, path: Path) -> str:
    """Trace PROFILED steps from a copy of `state` into `path`; the dearest operations in words."""
    steps = min(PROFILED, ready.lengths.epoch)

    def work() -> State:
        return programs.segment(
            **ready.inputs, state=jax.tree.map(jnp.copy, state), count=np.int32(steps),
        )

    jax.block_until_ready(work())  # warm-up
    hlo = programs.segment.compiled.as_text() or ""
    found = profile.operations(profile.trace(path, work), hlo)
    return (f"profile of {steps} steps in {path}, for xprof, TensorBoard and ui.perfetto.dev:\n"
            + profile.table(found, steps))


def fit(
    config: Config, hyper: Hyper, resume: str = "", show_memory: bool = False,
    profiled: bool = False,
) -> Path:
    """Train, evaluate and report; the run's folder. `resume` names one to go on with.

    `show_memory` prints the training program's memory plan before it runs; `profiled` traces some
    steps into the run's folder first.
    """
    device, console = begin(config)
    with job.naming_the_lost(), job.agreeing():
        ready = setup(config, hyper, device, console)
    with (job.naming_the_lost(), _naming_a_batch_that_fits(ready), Interruption() as interruption,
          contextlib.ExitStack() as held):
        path = Path(job.first_tells(lambda: _folder(config, hyper, ready, resume, held)))
        console.print(f"run: {path}")
        checkpoints = held.enter_context(checkpoint.Checkpoints(path / "checkpoints"))
        state, clock = _start(ready, checkpoints, bool(resume))
        with job.agreeing():
            checkpoints.check_room(state)
            programs = compile_programs(ready, state)
        # Only now, so that a folder whose run was refused for its memory is free for another.
        with job.agreeing():
            saved = _record(config, hyper, ready, path, int(state.step))
        console.print(f"compiled in {programs.seconds:.1f} s, apart from the times below")
        if show_memory:
            console.print(f"memory: {memory.plan(programs.segment.compiled)}")
        if profiled:
            console.print(_write_profile(ready, programs, state, path / "profile"))
        with Progress(config.epochs, ready.lengths.epoch, console) as progress:
            training = Training(
                ready, programs, path, progress, clock, checkpoints, interruption
            )
            state = training.run(state)
        with watched(training.stuck_after):
            _conclude(ready, state, path, saved, _timing(ready, programs, clock), console)
            job.all_agree(True)  # nobody leaves while the first one draws
    return path


def _folder(
    config: Config, hyper: Hyper, ready: Setup, resume: str, held: contextlib.ExitStack
) -> str:
    """A new run's folder, or the one to go on in; its lock is `held`."""
    path = Path(resume) if resume else folder.create(config)
    held.enter_context(folder.alone(path))
    if resume:
        folder.open_to_resume(
            path, config, hyper, ready.dataset.fingerprint, may_differ=("epochs",)
        )
    return str(path)


def _record(
    config: Config, hyper: Hyper, ready: Setup, path: Path, step: int
) -> dict[str, Any]:
    """config.json's content, written; epochs after `step`, which will come again, are forgotten."""
    saved = folder.described(config, hyper, devices=ready.devices, **ready.facts)
    if job.first_process():
        folder.write_config(path, saved)
        kept, done = len(folder.history(path, up_to_step=step)), step // ready.lengths.epoch
        if kept < done:
            raise RequestError(f"{path}/history.jsonl has {kept} of the {done} epochs that were "
                           "trained: put it back, or start a new run in another --run_dir.")
    return saved


def _timing(ready: Setup, programs: Programs, clock: Clock) -> dict[str, Any]:
    seen = clock.steps / ready.lengths.epoch * len(ready.data.train.rows)
    return {
        "seconds_compile": programs.seconds,
        "examples_per_second": seen / clock.total if clock.total else None,
        "peak_device_bytes": memory.peak(ready.device),
    }


def _start(
    ready: Setup, checkpoints: checkpoint.Checkpoints, resume: bool
) -> tuple[State, Clock]:
    """The newest whole checkpoint's state where there is one to resume, else a fresh one."""
    shapes = ready.state_shapes
    where = ready.where(shapes)
    if resume and checkpoints.latest() >= 0:
        state, seconds = checkpoints.restore(shapes)
        done = int(state.step)
        if done > ready.lengths.total:
            raise RequestError(f"--epochs {ready.config.epochs}: the run has trained "
                               f"{done // ready.lengths.epoch} already; type more.", shared=True)
        return mesh.put(state, where), Clock(seconds)
    fresh = partial(create, ready.model, ready.tx, image_HxWxC=ready.data.train.image_shape)
    return jax.jit(fresh, out_shardings=where)(ready.root), Clock()


def _conclude(
    ready: Setup, state: State, path: Path, saved: dict[str, Any], timing: dict[str, Any],
    console: Console,
) -> None:
    """metrics.json, the plots and report.html."""
    scores, mistakes = evaluated(ready, state.variables)
    if not job.first_process():
        return
    history = folder.history(path)
    # Of equal ones the newest, as among the checkpoints.
    best = max(history, key=lambda row: (row["val_accuracy"], row["step"]))
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
