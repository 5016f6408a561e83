"""Percentile intervals by the bootstrap (Efron 1979), over examples. N examples, R resamples."""

from collections.abc import Callable
from typing import Any

import numpy as np

RESAMPLES, LEVEL, SEED = 1000, 0.95, 0
UNITS = 1 << 15  # of more examples, random groups are resampled: as exact, in bounded time
_DRAWN = 1 << 20  # units drawn at once: their counts stay in the cache


def _grouped(numbers_KxN: Any, rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    """The numbers' sums over UNITS groups of examples at most, drawn, and how many are in each."""
    from scipy import sparse

    count = numbers_KxN.shape[1]
    if count <= UNITS:
        return numbers_KxN, np.ones(count)
    group_N = rng.permutation(count) % UNITS
    member_NxG = sparse.csr_array((np.ones(count), (np.arange(count), group_N)), (count, UNITS))
    sums = numbers_KxN @ member_NxG
    return sums.toarray() if sparse.issparse(sums) else sums, member_NxG.sum(axis=0)


def _means(numbers_KxN: Any) -> np.ndarray:
    """The numbers' means in each resample of the examples, float64 [R, K]."""
    rng = np.random.default_rng(SEED)
    sums_KxG, size_G = _grouped(numbers_KxN, rng)
    units, found = len(size_G), []
    most = max(1, _DRAWN // units)
    for first in range(0, RESAMPLES, most):
        rows = min(most, RESAMPLES - first)
        drawn = rng.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
        times_GxR = times.T.astype(np.float64)
        found.append((sums_KxG @ times_GxR / (size_G @ times_GxR)).T)
    return np.concatenate(found)


def intervals(
    numbers_KxN: Any, scores: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> dict[str, list[float]]:
    """Of each score the interval [low, high] that LEVEL of RESAMPLES resamples lie in.

    `numbers_KxN` are K float64 numbers of each example, an array or a sparse one, and `scores` are
    what follows from their means [R, K], each [R]. A resample in which a score is no number counts
    for nothing; a score of which a third or more are none has no interval.
    """
    tails = 50 * (1 - LEVEL), 50 * (1 + LEVEL)
    found = scores(_means(numbers_KxN))
    return {name: np.nanpercentile(values_R, tails).tolist()
            for name, values_R in found.items() if np.isfinite(values_R).mean() > 2 / 3}
