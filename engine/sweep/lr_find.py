"""A learning-rate range test: many rates at once for a few steps, drawn, and one suggested."""

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from engine import folder
from engine.config import Config, Hyper
from engine.errors import RequestError, RunError
from engine.report import pictures
from engine.setup import begin_alone, load
from engine.sweep import population, space
from engine.sweep.group import assemble, compile_programs, create
from engine.sweep.space import Search, Trial

AXIS = "learning_rate=log:1e-5:1:32"
STEPS = 200
CLOSE = 0.05  # rates whose loss is within this share of the lowest are as good
LEAST = 0.5  # of the best rate's improvement; a rate with less is called too high


class Finding(NamedTuple):
    """The suggested rate, the range as good as it, and the first one too high."""

    rate: float
    low: float
    high: float
    too_high: float | None


def suggest(rates: list[float], losses: list[float], before: list[float]) -> Finding:
    """The rate of the lowest loss. `losses` after training, `before` it; not finite: diverged.

    Raises RunError where no rate learns.
    """
    found = [(loss, rate) for loss, rate in zip(losses, rates, strict=True) if math.isfinite(loss)]
    start = float(np.mean(before))
    if not found or min(found)[0] >= start:
        raise RunError(f"no learning rate from {rates[0]:.3g} to {rates[-1]:.3g} lowered the loss "
                       f"from {start:.3f}: try others, --sweep learning_rate=log:1e-8:1e-4:32.")
    lowest, rate = min(found)
    as_good = [r for loss, r in found if loss <= lowest * (1 + CLOSE)]
    enough = start - LEAST * (start - lowest)
    above = [r for loss, r in zip(losses, rates, strict=True)
             if r > max(as_good) and not (math.isfinite(loss) and loss < enough)]
    return Finding(rate, min(as_good), max(as_good), min(above, default=None))


def picture(
    rates: list[float], losses: list[float], before: list[float], finding: Finding, steps: int
) -> bytes:
    """Validation loss by learning rate after `steps` updates, as PNG."""
    figure = pictures.figure(8, 4.2)
    axes = figure.subplots()
    start = float(np.mean(before))
    shown = [min(loss, 1.5 * start) if math.isfinite(loss) else np.nan for loss in losses]
    axes.axvspan(finding.low, finding.high, color=pictures.VALIDATION, alpha=0.12, lw=0,
                 label=f"within {CLOSE:.0%} of the lowest")
    axes.plot(rates, shown, "o-", ms=4, c=pictures.TRAINING, label=f"after {steps} steps")
    axes.axhline(start, c="gray", lw=1, ls=":", label="before training")
    axes.axvline(finding.rate, c=pictures.VALIDATION, label=f"suggested: {finding.rate:.3g}")
    pictures.dress(axes, xscale="log", xlim=(rates[0], rates[-1]), xlabel="learning rate",
                   ylabel="validation loss", title="Learning-rate range test")
    axes.legend(frameon=False)
    return pictures.png(figure)


def _rates(search: Search) -> list[float]:
    """The rates to try, rising. Raises RequestError for what can't be compared on a log scale."""
    axis = space.axis(search.axes[0] if search.axes else AXIS)
    values = sorted(axis.values or space.axis(f"{search.axes[0]}:32").values)
    if len(values) < 2 or not all(0 < v < math.inf for v in values):
        raise RequestError(f"--sweep {search.axes[0]}: type two learning rates or more, all above "
                           "0.")
    return values


def run(config: Config, hyper: Hyper, search: Search) -> Finding:
    """Print and draw the suggested rate; lr-find.png lies in the run's folder."""
    asked = [text for text in search.axes if not text.startswith("learning_rate=")]
    if asked or len(search.axes) > 1 or search._replace(axes=()) != Search():
        raise RequestError("lr-find sweeps the learning rate alone: "
                           "--sweep learning_rate=log:1e-6:1:48, or nothing.")
    config = dataclasses.replace(config, schedule="constant")
    rates = _rates(search)
    trials = [Trial(i, config, hyper._replace(learning_rate=rate), {"learning_rate": rate})
              for i, rate in enumerate(rates)]
    device, console = begin_alone(config)
    dataset = load(config)
    path = folder.create(config, "lr-find")
    group = assemble(0, trials, device, dataset, console)
    runs = create(group)
    programs = compile_programs(group, runs, console)
    evaluate = partial(programs.evaluate, validation=group.validation)
    before = _losses(evaluate(members=runs.members))
    epoch, steps = group.ready.lengths.epoch, min(STEPS, group.ready.lengths.total)
    done = 0
    while done < steps:
        count = min(steps - done, epoch - done % epoch)
        runs = programs.segment(
            population=runs, order=group.order, train_FxN=group.train, count=np.int32(count)
        )
        done += count
    losses = _losses(evaluate(members=runs.members))[: len(rates)]
    finding = suggest(rates, losses, before)
    folder.replace(path / "lr-find.png", picture(rates, losses, before, finding, steps))
    for rate, loss in zip(rates, losses, strict=True):
        console.print(f"learning_rate {rate:<10.3g} val_loss {loss:.4f}")
    beyond = f"; from {finding.too_high:.3g} on it learns less than half as much" \
        if finding.too_high else ""
    console.print(
        f"suggested: --learning_rate {finding.rate:.3g}, the lowest validation loss after {steps} "
        f"steps; {finding.low:.3g} to {finding.high:.3g} are within {CLOSE:.0%} of it{beyond}\n"
        f"picture: {path / 'lr-find.png'}"
    )
    return finding


def _losses(result: population.metrics.Evaluation) -> list[float]:
    tally = jax.device_get(result.tally)
    return [float(loss) / int(count) for loss, count in zip(*tally[::2], strict=True)]
