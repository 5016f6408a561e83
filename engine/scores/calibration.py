"""Whether probabilities mean what they say: Guo et al. 2017, "On Calibration of Modern Neural
Networks". N examples, C classes, B bins."""

from typing import NamedTuple

import numpy as np

BINS = 15


class Calibration(NamedTuple):
    """Of each bin of equal width [B]: its examples, and the sums over them of the likeliest class's
    probability and of whether it was right."""

    examples: np.ndarray
    confidence: np.ndarray
    hits: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: |accuracy - confidence|, weighted by examples."""
        return float(np.abs(self.hits - self.confidence).sum() / self.examples.sum())

    @property
    def curve(self) -> list[dict[str, float]]:
        """A row for each bin that has examples: its mean confidence, its accuracy, its count."""
        return [{"confidence": float(confidence / count), "accuracy": float(hits / count),
                 "count": int(count)}
                for count, confidence, hits in zip(*self, strict=True) if count]


def calibration(
    probability_NxC: np.ndarray, targets_N: np.ndarray, bins: int = BINS
) -> Calibration:
    """Of probabilities that sum to 1. A bin holds its upper edge, as scikit-learn's do."""
    confidence_N = probability_NxC.max(axis=1)
    hit_N = (probability_NxC.argmax(axis=1) == targets_N).astype(np.float64)
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(int) - 1, 0, bins - 1)
    return Calibration(np.bincount(bin_N, minlength=bins),
                       np.bincount(bin_N, confidence_N, minlength=bins),
                       np.bincount(bin_N, hit_N, minlength=bins))
