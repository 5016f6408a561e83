"""Examples of which a model's answer is no number."""

from typing import Any

import numpy as np

from engine.errors import RunError


def rows(predicted: np.ndarray) -> np.ndarray:
    """Their numbers, int [L], by what was predicted of each [N, ...]."""
    return np.flatnonzero(~np.isfinite(predicted).all(axis=(*range(1, predicted.ndim),)))


def refuse(sums: Any, predicted: np.ndarray) -> None:
    """Raise RunError where there are any, or where the loss of the `sums` is NaN: any score of them
    would be wrong."""
    found = rows(predicted)
    told = "the loss is no number"
    if len(found):
        told = (f"{len(found):,} of {len(predicted):,} predictions, the first of example "
                f"{found[0]:,}, are no numbers")
    if len(found) or np.isnan(sums.loss_sum):
        raise RunError(f"{told}, so that these examples can't be scored; what was trained is kept. "
                       "Are there codes that the network doesn't embed, or examples without "
                       "anything to average? Leave such out.", status=3)
