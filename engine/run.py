"""A run from request to report: the host's side of the pure function in pure.py."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from engine.config import Config
from engine.console.bar import waiting
from engine.console.progress import Progress
from engine.devices import memory, mesh
from engine.devices.program import hasty
from engine.disk import files, whereabouts
from engine.doors.course import durations, rate_at
from engine.doors.requested import completed
from engine.errors import RequestError
from engine.job import processes
from engine.job.host import begin, undisturbed
from engine.job.signals import Interruption
from engine.judging.verdict import found, held_for_evaluation, with_threshold
from engine.learners import threshold
from engine.loggers import tracking
from engine.optim import trees
from engine.place import Place
from engine.programs import formulation, profile
from engine.programs.compile import naming_a_batch_that_fits, programs
from engine.report import importance, page
from engine.report import run as report
from engine.request import Request
from engine.scores.judged import Judged
from engine.segments import watched
from engine.settling import setup
from engine.setup import Setup
from engine.state import State
from engine.store import folder, gaps, record
from engine.store.checkpoint import Checkpoints
from engine.store.resumed import resumed
from engine.stream.streamed import feed_of
from engine.task import Task, numbers
from engine.trained import Run
from engine.training import MUCH, Logger, Training
from engine.transfer.begun import prepared


@undisturbed()
def fit(
    config: Config, hyper: Any = None, place: Place | None = None, data: Any = None,
    resume: str | os.PathLike[str] | None = "", loggers: Sequence[Logger] = (),
    show_memory: bool = False, profiled: bool = False, quiet: bool = False,
    importances: bool = False,
) -> Run:
    """Train, evaluate and report, in a folder of the run's own, as the command line does.

    `data` is (inputs, targets), or with weights [N] of their losses a triple, a sequence of pairs,
    or a dictionary of any by split; without it the set that `config.dataset` names. inputs are
    uint8, scaled to 0..1, or floats as they are, [N, ...] of 2 to 5 dimensions. `resume` is the
    folder of a run to go on with. Each of `loggers` is called with each epoch's row; a true answer
    is a reason to stop. `show_memory` prints the training program's memory plan before it runs;
    `profiled` traces some steps into the run's folder first. `importances` shuffles a table's
    columns one by one after the training, to see what the score rests on.
    Raises RequestError for what can't be meant, RunError for what failed on the way, and after a
    signal, all saved, a KeyboardInterrupt of that signal's `status`.
    """
    request = completed(Request(config, hyper, Place() if place is None else place, data), loggers)
    resume = resumed(request, resume)
    if show_memory or profiled:
        trees.refuse(config.model, "--memory" if show_memory else "--profile")
    host = begin(request.place, quiet=quiet)
    with processes.naming_the_lost(), processes.agreeing():
        ready = prepared(formulation.chosen(setup(request, host)), resume)
        if importances:
            importance.check(ready)
    with (processes.naming_the_lost(), naming_a_batch_that_fits(ready),
          Interruption() as interruption, contextlib.ExitStack() as held):
        path = Path(processes.first_tells(lambda: _folder(ready, resume, held))).absolute()
        host.console.print(f"run: {whereabouts.told(path)}")
        checkpoints = held.enter_context(Checkpoints(path / "checkpoints", ready.task.higher))
        with waiting("preparing the parameters", host.console):
            state, seconds = _start(ready, checkpoints, bool(resume))
        feed = held.enter_context(feed_of(ready, int(state.step)))
        with processes.agreeing():
            checkpoints.check_room(state)
            compiled = programs(ready, state)
        # Only now, so that a folder whose run was refused for its memory is free for another.
        with processes.agreeing():
            saved = _record(ready, path, int(state.step))
        log = held.enter_context(tracking.Tracking(path, request.place.log))
        host.console.print(f"compiled in {compiled.seconds:.1f} s, apart from the times below")
        if show_memory:
            host.console.print(f"memory: {memory.needed(compiled.segment.compiled)}")
        if profiled:
            host.console.print(profile.told(
                ready, feed, compiled.segment, state, path / "profile"))
        with Progress(ready.config.epochs, ready.lengths.epoch, host.console) as progress:
            training = Training(
                ready, feed, compiled, path, progress, seconds, checkpoints, interruption,
                (*loggers, log),
            )
            state = training.run(state)
        best, metrics = _conclude(training, state, saved, importances)
        with watched(request.place):
            processes.all_agree(True)  # nobody leaves while the first one draws
    train, learner = ready.data.train, threshold.kept(ready.learner, path, metrics)
    return Run(path, folder.history(path), metrics, best, learner, ready.dataset.classes,
               train.input_shape, str(train.split.inputs.dtype), ready.columns)


def _folder(ready: Setup, resume: str, held: contextlib.ExitStack) -> str:
    """A new run's folder, or the one to go on in; its lock is `held`."""
    path = Path(resume) if resume else folder.create(ready.request)
    if resume:
        record.read(path / "config.json", ready.config)  # before a lock is left where no run is
    held.enter_context(folder.alone(path))
    if resume:
        saved = record.compare(path, ready.request, ready.facts,
                               may_differ=("epochs", "patience", "min_delta", "choose_threshold"))
        _tell_another_course(ready, saved.request.config, path)
    return str(path)


def _tell_another_course(ready: Setup, before: Config, path: Path) -> None:
    """Of a longer run under a schedule the rate jumps where it goes on: say so."""
    history, now = folder.history(path), ready.config
    step, count = history[-1]["step"] if history else 0, len(ready.data.train.rows)
    if before.epochs == now.epochs or not 0 < step < ready.lengths.total \
            or now.schedule in ("constant", "plateau"):
        return
    was, is_now = (f"{rate_at(config, durations(config, count), ready.hyper, step):.3g}"
                   for config in (before, now))
    if was != is_now:
        ready.host.console.print(
            f"--epochs was {before.epochs}, now {now.epochs}: at epoch "
            f"{step // ready.lengths.epoch + 1} --schedule {now.schedule} had come to {was}, and "
            f"goes on from {is_now}")


def _record(ready: Setup, path: Path, step: int) -> dict[str, Any]:
    """config.json's content, written; epochs after `step`, which will come again, are forgotten."""
    saved = folder.described(ready.request, devices=ready.learner.spread.shares, **ready.facts)
    if processes.first_process():
        rows = folder.history(path)
        gaps.check(path, rows, step, step // ready.lengths.epoch)
        folder.write_columns(path, ready.columns)
        folder.write_config(path, saved)
        folder.rewind_history(path, rows, step)
    return saved


def _start(ready: Setup, checkpoints: Checkpoints, resume: bool) -> tuple[State, float]:
    """The newest whole checkpoint's state where there is one to resume, else a fresh one; the
    seconds that its epoch has had."""
    where = ready.where(ready.state_shapes)
    if not resume or checkpoints.latest() < 0:
        create = jax.jit(ready.create, out_shardings=where, compiler_options=hasty(
            ready.device.platform)) if ready.learner.traced else ready.create
        return create(ready.hyper, ready.root), 0.0
    state, seconds = checkpoints.restore(ready.state_shapes)
    done = int(state.step)
    if done > ready.lengths.total:
        raise RequestError(f"--epochs {ready.config.epochs}: the run has trained "
                           f"{done // ready.lengths.epoch} already; type more.", shared=True)
    return mesh.put(state, where), seconds


def _scored(
    ready: Setup, checkpoints: Checkpoints, state: State
) -> tuple[State, Task, Judged, dict[str, Any]]:
    """The best state, the task that judges it, what that was told, and the scores; of those of the
    last state, `last`, what is one number each."""
    names, (name, subset) = ready.dataset.classes, held_for_evaluation(ready)
    best, examples = state, (final := found(ready, state.model, subset))
    if checkpoints.best() != int(state.step):
        kept, _ = checkpoints.restore(ready.state_shapes, "best")
        best = mesh.put(kept, ready.where(kept))
        examples = found(ready, best.model, subset)
    task, choice = with_threshold(ready, best.model)
    scores = task.summarise(examples, names)
    ended = scores if final is examples else task.summarise(final, names)
    last = {"epoch": int(state.step) // ready.lengths.epoch} | numbers(ended)
    scores |= {"split": name, "last": last} | choice
    if best.average:
        raw = task.summarise(found(ready, best.variables, subset), names)
        scores |= {"weights": "averaged", "raw": numbers(raw)}
    return best, task, examples, scores


def _conclude(
    training: Training, state: State, saved: dict[str, Any], importances: bool
) -> tuple[State, dict[str, Any]]:
    """The best state and metrics.json's content; it, importances.json, the plots and report.html
    written."""
    ready, compiled, path = training.ready, training.programs, training.path
    best, task, examples, scores = _scored(ready, training.checkpoints, state)
    rests_on = importance.found(ready, best.model, importances)
    if not processes.first_process():
        return best, scores
    train, say = ready.data.train, ready.host.console.print
    history, epoch = folder.history(path), int(best.step) // ready.lengths.epoch
    seconds = sum(row["seconds"] for row in history)  # of every process that went on with it
    speed = len(history) * len(train.rows) / seconds if seconds else None
    validated = {ready.score: history[epoch - 1][ready.score]}
    scores |= {
        "checkpoint": "best", "epoch": epoch, "step": int(best.step),
        "best": {"epoch": epoch} | validated | numbers(scores),
        "seconds_compile": compiled.seconds, "examples_per_second": speed,
        "peak_device_bytes": (ready.device.memory_stats() or {}).get("peak_bytes_in_use"),
        "seconds_train": seconds, "device": saved["device"],
    }
    if ready.learner.traced:
        scores["parameters"] = sum(x.size for x in jax.tree.leaves(best.params))
    files.replace(path / "metrics.json", json.dumps(scores, indent=2) + "\n")
    if rests_on:
        files.replace(path / importance.FILE, json.dumps(rests_on, indent=2) + "\n")
    kind = "images" if len(train.input_shape) == 3 else "examples"
    say(f"{scores['split']}: {task.line(scores)}; epoch {epoch} of {len(history)}, the best"
        + (f"; {speed:,.0f} {kind}/s" if speed else ""))
    if told := threshold.told(scores):
        say(told)
    if told := importance.told(rests_on, path):
        say(told)
    if best.average:
        say(f"the averaged weights are what is scored and kept; the raw ones: "
            f"{task.line(scores['raw'])}")
    if ready.stream and training.seconds:
        share = training.waited / training.seconds
        say(f"input: the device waited {share:.0%} of the training time for examples"
            + ("; more --workers, faster storage or smaller files would help" * (share > MUCH)))
    if not ready.request.place.report:
        return best, scores
    with page.spared("the report"), waiting("drawing the report", ready.host.console):
        report.write(path, saved, history, scores,
                     lambda: task.shown(scores, examples, ready.dataset.classes),
                     lambda: importance.drawn(rests_on))
        say(f"report: {whereabouts.told(path / 'report.html')}")
    return best, scores
