"""Scores of numbers to predict. N examples, K numbers of each, R resamples."""

from typing import Any

import numpy as np

from engine.scores import bootstrap

ROUNDED = 1e-12  # of a mean square, what may be left of a variance of equal numbers


def scores(predicted_NxK: np.ndarray, targets_NxK: np.ndarray) -> dict[str, Any]:
    """Median absolute error and explained variance, their means over the K; the latter None where
    there are under 2 examples."""
    from sklearn.metrics import explained_variance_score, median_absolute_error

    several = len(targets_NxK) > 1
    return {
        "median_absolute_error": float(median_absolute_error(targets_NxK, predicted_NxK)),
        "explained_variance": float(explained_variance_score(targets_NxK, predicted_NxK))
        if several else None,
    }


def intervals(predicted_NxK: np.ndarray, targets_NxK: np.ndarray) -> dict[str, list[float]]:
    """Bootstrap intervals of the mean squared and absolute error, and of R² and the explained
    variance, of two examples or more: over the resamples whose targets aren't all equal."""
    true_NxK = np.asarray(targets_NxK, np.float64)
    true_NxK = true_NxK - true_NxK.mean(axis=0)  # so that its squares lose no digits
    off_NxK = np.asarray(predicted_NxK, np.float64) - targets_NxK
    columns_NxK = np.hstack([np.square(off_NxK), np.abs(off_NxK), off_NxK, true_NxK,
                             np.square(true_NxK)])

    def of_means(means_RxK: np.ndarray) -> dict[str, np.ndarray]:
        squared, absolute, off, true, true_squared = np.split(means_RxK, 5, axis=1)
        found = {"mse": squared.mean(axis=1), "mae": absolute.mean(axis=1)}
        if len(true_NxK) < 2:
            return found
        variance = true_squared - np.square(true)
        variance = np.where(variance > ROUNDED * true_squared, variance, np.nan)
        spread = np.maximum(squared - np.square(off), 0)
        found["r2"] = (1 - squared / variance).mean(axis=1)
        found["explained_variance"] = (1 - spread / variance).mean(axis=1)
        return found

    return bootstrap.intervals(columns_NxK.T, of_means)
