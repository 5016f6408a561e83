"""How the runs of a population did in an epoch, and who goes on."""

import math
from collections import defaultdict
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from engine.doors.course import rate_at
from engine.hyper import AT_MOST, BELOW_ONE
from engine.optim import patience
from engine.pure import history_row
from engine.sweep.group import Group, alive, placed
from engine.sweep.population import NOTHING, Population, select
from engine.sweep.programs import GroupPrograms
from engine.sweep.search import Search


class Outcome(NamedTuple):
    """A member's position and number, its epoch's row of history.jsonl; are its losses finite?"""

    at: int
    number: int
    row: dict[str, Any]
    whole: bool


def outcomes(
    group: Group, programs: GroupPrograms, runs: Population, seconds: float
) -> list[Outcome]:
    """The members best first, those that aren't whole last; repeats that fill a mesh are none."""
    ready, step, count = group.ready, int(runs.step), alive(runs)
    row = jax.vmap(partial(history_row, ready.task))
    values = jax.device_get(row(runs.members.state.tally, programs.evaluate(runs)))
    hyper, numbers = jax.device_get((runs.members.hyper, runs.members.number))
    plateau = jax.device_get(runs.members.state.plateau)
    whole = (np.asarray(runs.members.state.diverged_at) < 0) & np.isfinite(values["loss"]) \
        & np.isfinite(values["val_loss"])
    found = [Outcome(at, int(numbers[at]), {
        "epoch": step // ready.lengths.epoch, "step": step,
        "learning_rate": rate_at(ready.config, ready.lengths,
                                 patience.dropped(*select((hyper, plateau), at)), step - 1),
        "seconds": seconds / count,
        **{name: float(column[at]) for name, column in values.items()},
    }, bool(whole[at])) for at in range(count)]
    score, sign = ready.score, 1 if ready.task.higher else -1
    return sorted(found, key=lambda one: -sign * one.row[score] if one.whole else math.inf)


def heard(group: Group, runs: Population, ranking: list[Outcome]) -> Population:
    """The runs with the rates that a plateau's last score leaves."""
    ready, members = group.ready, runs.members
    last = np.argsort([one.at for one in ranking])
    rows = [ranking[at].row for at in last]
    rows += rows[-1:] * (len(members.seed) - len(rows))  # repeats that fill a mesh
    values = {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}
    state = members.state._replace(step=runs.step)
    state = patience.lowered(ready.learner, members.hyper, ready.lengths, state, values)
    return runs._replace(members=members._replace(state=state._replace(step=NOTHING)))


def rungs(search: Search, count: int, epochs: int) -> dict[int, int]:
    """Successive halving (Jamieson & Talwalkar 2016): after which epoch how many of `count`
    settings go on. Each rung keeps one in `halving`, and is as much longer: of 27, 3 and 9 epochs
    keep 9 after epoch 1, 3 after epoch 3, and 3 to the end."""
    found: dict[int, int] = {}
    last = math.ceil(math.log(count, search.halving) - 1e-9) if search.halving else 0
    for rung in range(last, 0, -1):
        epoch = epochs // search.halving**rung
        if epoch >= 1 and count > 1:
            found[epoch] = count = math.ceil(count / search.halving)
    return found


def halved(
    group: Group, ranking: list[Outcome], search: Search
) -> tuple[list[Outcome], list[Outcome]]:
    """The members that go on, and those that a rung after this epoch drops: all of a setting, by
    the mean of its whole ones. A setting that has none of them is the worst."""
    of = {trial.number: tuple(trial.values.values()) for trial in group.trials}
    ready, scores = group.ready, defaultdict[Any, list[float]](list)
    cuts = rungs(search, len({*of.values()}), ready.config.epochs)
    if not (keep := cuts.get(ranking[0].row["epoch"])):
        return ranking, []
    for one in ranking:
        scores[of[one.number]] += [one.row[ready.score]] * one.whole
    sign = -1 if ready.task.higher else 1
    best = sorted(scores, key=lambda s: sign * np.mean(scores[s]) if scores[s] else math.inf)[:keep]
    return ([one for one in ranking if of[one.number] in best],
            [one for one in ranking if of[one.number] not in best])


def perturbed(name: str, value: float, up: bool) -> float:
    """Population-based training's step away from a copied value."""
    moved = value * (1.2 if up else 0.8)
    if name == "period_factor":
        return max(moved, 1.0)
    if name == "cutout":  # whole pixels, and a step at least
        return float(math.ceil(moved) if up else math.floor(moved))
    return min(moved, 0.999 if name in BELOW_ONE else AT_MOST.get(name, moved))


def exploited(
    group: Group, runs: Population, ranking: list[Outcome], names: list[str], seed: int
) -> tuple[Population, list[tuple[Outcome, Outcome]]]:
    """Population-based training (Jaderberg et al. 2017): the worst fifth go on as copies of the
    best fifth, the values of `names` moved; number, seed and fold stay. (to, from) of each copy."""
    draw, share = np.random.default_rng((seed, int(runs.step))), max(1, len(ranking) // 5)
    sources = [one for one in ranking[:share] if one.whole]
    if not sources or len(ranking) < 2:
        return runs, []
    which = np.arange(len(ranking))
    copies = [(to, sources[draw.choice(len(sources))]) for to in ranking[-share:]]
    for to, source in copies:
        which[to.at] = source.at
    own = select(jax.device_get(runs.members), slice(len(ranking)))
    members = select(own, which)
    hyper = members.hyper._asdict()
    for name in names:
        for to, _ in copies:
            was = float(hyper[name][to.at])
            hyper[name][to.at] = perturbed(name, was, bool(draw.random() < 0.5))
    members = members._replace(
        hyper=type(own.hyper)(**hyper), seed=own.seed, fold=own.fold, number=own.number
    )
    return placed(group, Population(runs.step, members)), copies
