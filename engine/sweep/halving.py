"""Successive halving: after which epoch how many runs go on (Jamieson & Talwalkar 2016)."""

import math

from engine.sweep.space import Search, Trial


def rungs(count: int, factor: int, epochs: int) -> dict[int, int]:
    """After which epoch how many of `count` runs go on, one in `factor` each time.

    Each rung keeps one run in `factor` and is as much longer: 27 runs, factor 3 and 9 epochs keep 9
    after epoch 1, 3 after epoch 3, and 3 to the end.
    """
    rungs, runs = math.ceil(math.log(count, factor) - 1e-9), count
    found: dict[int, int] = {}
    for rung in range(rungs, 0, -1):
        epoch = epochs // factor**rung
        if epoch >= 1 and runs > 1:
            runs = math.ceil(runs / factor)
            found[epoch] = runs
    return found


def cuts(search: Search, trials: list[Trial]) -> dict[int, int]:
    """`rungs` of a group, where its runs are halved."""
    if not search.halving:
        return {}
    return rungs(len(trials), search.halving, trials[0].config.epochs)


def run_epochs(count: int, cuts: dict[int, int], epochs: int) -> int:
    """How many epochs of a run `count` runs train together in their first `epochs`."""
    alive, total = count, 0
    for epoch in range(epochs):
        alive = cuts.get(epoch, alive)
        total += alive
    return total
