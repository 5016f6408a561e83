"""How the runs of a population did in an epoch, and who goes on."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from engine.pure import history_row
from engine.sweep import space
from engine.sweep.group import Group, placed
from engine.sweep.population import Population, select
from engine.task import Task
from engine.training import rate_at


def rows(
    group: Group, runs: Population, sums: Any, seconds: float
) -> list[dict[str, Any]]:
    """This epoch of every member, as history.jsonl has it."""
    ready, step, members = group.ready, int(runs.step), runs.members
    row = partial(history_row, ready.task)
    values = jax.device_get(jax.vmap(row)(members.state.tally, sums))
    count = len(members.seed)
    rates = [rate_at(ready, step - 1, select(jax.device_get(members.hyper), at))
             for at in range(count)]
    return [
        {"epoch": step // ready.lengths.epoch, "step": step, "learning_rate": rates[at],
         "seconds": seconds / count}
        | {name: float(column[at]) for name, column in values.items()} for at in range(count)
    ]


def alive(runs: Population) -> int:
    """How many runs are in a population, without the repeats that fill a mesh."""
    return len(np.unique(runs.members.number))


class Verdict(NamedTuple):
    """An epoch's outcome: every member's row, which are whole, and their positions, best first.

    Repeats that fill a mesh are no positions of their own.
    """

    rows: list[dict[str, Any]]
    numbers: list[int]
    whole: list[bool]
    ranking: list[int]


def verdict(runs: Population, rows: list[dict[str, Any]], task: Task) -> Verdict:
    """A member is whole while its losses are finite; one that isn't ranks last."""
    numbers = np.asarray(runs.members.number).tolist()
    steady = np.asarray(runs.members.state.diverged_at) < 0
    whole = [bool(ok) and math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])
             for ok, row in zip(steady, rows, strict=True)]
    once = [at for at, number in enumerate(numbers) if number not in numbers[:at]]
    score, sign = f"val_{task.score}", 1 if task.higher else -1
    ranking = sorted(once, key=lambda at: -sign * rows[at][score] if whole[at] else math.inf)
    return Verdict(rows, numbers, whole, ranking)


def exploited(
    group: Group, runs: Population, verdict: Verdict, names: list[str], seed: int
) -> tuple[Population, list[tuple[int, int]]]:
    """Population-based training: the worst fifth go on as moved copies of the best fifth.

    Jaderberg et al. 2017. Returns (to, from) of every copy; number, seed and fold stay.
    """
    draw, ranking = np.random.default_rng((seed, int(runs.step))), verdict.ranking
    share = max(1, len(ranking) // 5)
    sources = [at for at in ranking[:share] if verdict.whole[at]]
    if not sources or len(ranking) < 2:
        return runs, []
    which = np.arange(len(verdict.numbers))
    copies = [(to, int(draw.choice(sources))) for to in ranking[-share:]]
    for to, source in copies:
        which[to] = source
    members = jax.device_get(select(runs.members, which))
    hyper = members.hyper._asdict()
    for name in names:
        column = np.array(hyper[name])
        for to, _ in copies:
            column[to] = space.perturbed(name, float(column[to]), bool(draw.random() < 0.5))
        hyper[name] = column
    own = runs.members
    members = members._replace(
        hyper=type(members.hyper)(**hyper), seed=own.seed, fold=own.fold, number=own.number
    )
    return placed(group, Population(runs.step, members)), copies
