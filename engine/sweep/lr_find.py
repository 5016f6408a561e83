"""A learning-rate range test: many rates at once for a few steps, drawn, and one suggested."""

import dataclasses
import json
import math
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import Progress

from engine.config import DURATIONS, Config, Hyper
from engine.console.bar import waiting
from engine.disk import files
from engine.drawn.pictures import TONES, figure, png
from engine.errors import RequestError, RunError
from engine.job.host import begin_alone
from engine.job.signals import Interruption, Stopped
from engine.optim.schedules import VALUES
from engine.parts.reading import load
from engine.report import page
from engine.request import Request
from engine.segments import Pace, rest_of_epoch
from engine.store import folder
from engine.sweep import space
from engine.sweep.group import Group, assemble, create, feed
from engine.sweep.population import Population
from engine.sweep.programs import GroupPrograms, compile_programs
from engine.sweep.search import Search
from engine.sweep.space import Trial

AXIS = "learning_rate=log:1e-5:1:32"
STEPS = 200
CLOSE = 0.05  # rates whose loss is within this share of the lowest are as good
LEAST = 0.5  # of the best rate's improvement; a rate with less is called too high
WEIGHTS = np.array([1, 2, 3, 2, 1])  # of a rate and its neighbours: one that learns by luck is none


class Finding(NamedTuple):
    """The suggested rate, the range as good as it, and the first one too high."""

    rate: float
    low: float
    high: float
    too_high: float | None


def smoothed(losses: list[float], start: float) -> np.ndarray:
    """Each loss with its neighbours' on the logarithmic scale; one that diverged has learned
    nothing, and counts as `start`, so that a rate next to the cliff is no good one."""
    level = np.fmin(np.where(np.isfinite(losses), losses, start), start)
    total, weight = (np.convolve(x, WEIGHTS)[2:-2] for x in (level, np.ones(len(level))))
    return total / weight


def suggest(rates: list[float], losses: list[float], start: float) -> Finding:
    """The rate at the bottom of the smoothed curve. `losses` after training, rising rates; `start`
    before it; not finite: diverged. Raises RunError where no rate learns."""
    if not any(math.isfinite(loss) and loss < start for loss in losses):
        raise RunError(f"no learning rate from {rates[0]:.3g} to {rates[-1]:.3g} lowered the loss "
                       f"from {start:.3f}: try others, --sweep learning_rate=log:1e-8:1e-4:32.")
    curve = smoothed(losses, start)
    at = int(curve.argmin())
    good = [r for loss, r in zip(curve, rates, strict=True) if loss <= curve[at] * (1 + CLOSE)]
    enough = start - LEAST * (start - curve[at])
    above = [r for loss, r in zip(losses, rates, strict=True) if r > good[-1] and not loss < enough]
    return Finding(rates[at], good[0], good[-1], min(above, default=None))


def picture(
    rates: list[float], losses: list[float], start: float, finding: Finding, steps: int
) -> bytes:
    """Validation loss by learning rate after `steps` updates, as PNG."""
    drawn = figure(8, 4.2)
    panel = drawn.subplots()
    shown = [min(loss, 1.5 * start) if math.isfinite(loss) else np.nan for loss in losses]
    panel.axvspan(finding.low, finding.high, color=TONES["c1"], alpha=0.12, lw=0,
                  label=f"within {CLOSE:.0%} of the lowest")
    panel.plot(rates, shown, "o", ms=4, c=TONES["accent"], label=f"after {steps} steps")
    panel.plot(rates, smoothed(losses, start), c=TONES["accent"], lw=1.5, label="smoothed")
    panel.axhline(start, c="gray", lw=1, ls=":", label="before training")
    panel.axvline(finding.rate, c=TONES["c1"], label=f"suggested: {finding.rate:.3g}")
    panel.set(xscale="log", xlim=(rates[0], rates[-1]), xlabel="learning rate",
              ylabel="validation loss", title="Learning-rate range test")
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
    return png(drawn)


def _rates(search: Search) -> list[float]:
    """The rates to try, rising. Raises RequestError for what can't be compared on a log scale."""
    text, *others = search.axes or (AXIS,)
    if others or not text.startswith("learning_rate=") or search._replace(axes=()) != Search():
        raise RequestError("lr-find sweeps the learning rate alone: "
                           "--sweep learning_rate=log:1e-6:1:48, or nothing.")
    values = sorted(space.axis(text).values or space.axis(f"{text}:32").values)
    if len(values) < 2 or not all(0 < v < math.inf for v in values):
        raise RequestError(f"--sweep {text}: type two learning rates or more, all above 0.")
    return values


def run(request: Request, search: Search) -> Finding:
    """Print and draw the suggested rate; lr-find.png and lr-find.json lie in the run's folder.

    After a signal they are of the steps so far; then raises Stopped with its status."""
    rates = _rates(search)
    if "learning_rate" not in request.hyper._fields:
        raise RequestError("lr-find needs an optimizer with a learning_rate.")
    host = begin_alone(request.place)
    request, dataset = load(_uniform(request), host)
    config, hyper, *_ = request
    trials = [Trial(i, config, hyper._replace(learning_rate=rate), {"learning_rate": rate})
              for i, rate in enumerate(rates)]
    with Interruption() as interruption:
        group = assemble(0, trials, request, dataset, host)
        path = folder.create(request, "lr-find")
        with waiting(f"preparing the parameters of {len(rates)} runs", host.console):
            runs = create(group)
        with feed(group, 0) as fed:
            with waiting(f"compiling for {len(rates)} rates at once", host.console):
                programs = compile_programs(group, runs, fed)
            start = float(np.mean(_losses(group, programs, runs)))
            runs = _trained(group, programs, runs, interruption)
    losses, steps = _losses(group, programs, runs), int(runs.step)
    finding = _tell(path, rates, losses, start, steps, host.console)
    if request.place.report:
        with page.spared("the picture"):
            files.replace(path / "lr-find.png", picture(rates, losses, start, finding, steps))
            host.console.print(f"picture: {path / 'lr-find.png'}")
    if interruption.status:
        raise Stopped(f"stopped after {steps} steps; what they tell is kept.", interruption.status)
    return finding


def _uniform(request: Request) -> Request:
    """At one rate from first to last, without what is for a whole run."""
    plain = {name: getattr(Config, name) for name in
             (*DURATIONS, "schedule", "milestones", "min_delta", "monitor")}
    hyper = request.hyper
    if isinstance(hyper, Hyper):
        hyper = Hyper(**hyper._asdict() | dict.fromkeys((*VALUES, "ema_decay")))
    return request._replace(config=dataclasses.replace(request.config, **plain), hyper=hyper)


def _losses(group: Group, programs: GroupPrograms, runs: Population) -> list[float]:
    (tally,) = jax.device_get(programs.evaluate(runs))
    return (np.asarray(tally.loss_sum, np.float64) / tally.count)[: len(group.trials)].tolist()


def _trained(
    group: Group, programs: GroupPrograms, runs: Population, interruption: Interruption
) -> Population:
    """After STEPS updates, or as many as a signal lets it make; told as they are made."""
    pace, epoch, total = Pace(), group.ready.lengths.epoch, group.ready.lengths.total
    steps, console = min(STEPS, total), group.ready.host.console
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("trying the rates", total=steps)
        while (done := int(runs.step)) < steps and not interruption.status:
            at = done % epoch
            for part in rest_of_epoch(programs.advance, runs, at, min(epoch, at + steps - done),
                                      lambda: pace.steps, group.ready.request.place):
                runs = part.state
                pace.learn(part.steps, part.seconds)
                progress.advance(bar, part.steps)
                lost = (np.asarray(runs.members.state.diverged_at)[: len(group.trials)] >= 0).sum()
                if not console.is_terminal or int(runs.step) == steps:
                    console.print(f"step {int(runs.step)}/{steps}, {lost} rates diverged")
                if interruption.status:
                    break
    return runs


def _tell(
    path: Path, rates: list[float], losses: list[float], start: float, steps: int, console: Console
) -> Finding:
    """Print the losses and the suggestion, and write them."""
    for rate, loss in zip(rates, losses, strict=True):
        console.print(f"learning_rate {rate:<10.3g} val_loss {loss:.4f}")
    finding = suggest(rates, losses, start)
    told = {"steps": steps, "before": start, "rates": rates, "val_losses": losses}
    files.replace(path / "lr-find.json", json.dumps(told | finding._asdict(), indent=2) + "\n")
    rate, low, high, too_high = finding
    beyond = f"; from {too_high:.3g} on it learns less than half as much" if too_high else ""
    console.print(f"suggested: --learning_rate {rate:.3g}, the lowest of the smoothed validation "
                  f"losses after {steps} steps; {low:.3g} to {high:.3g} are within {CLOSE:.0%} of "
                  f"it{beyond}")
    return finding
