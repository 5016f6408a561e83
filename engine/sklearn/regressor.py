"""A regressor of scikit-learn's."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from engine.sklearn.estimator import Estimator


class Regressor(RegressorMixin, Estimator):
    """Of a number an example, or of several. They are learned standardised, by their training mean
    and deviation, and told in their own units. See Estimator."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Regressor":
        """X [N, ...], y [N] or [N, K], sample_weight [N] multiplies each one's loss. Raises
        ValueError for what can't be learned."""
        X, y = self._checked(X, y=y, multi_output=True, y_numeric=True)
        numbers = np.asarray(y, np.float64).reshape(len(y), -1)
        self._mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
        self._scale = np.where(deviation > 0, deviation, 1.0)
        self._one = y.ndim == 1
        self._learn(X, ((numbers - self._mean) / self._scale).astype(np.float32), sample_weight,
                    "regression")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """float64, of y's shape."""
        check_is_fitted(self)
        told = self._told(X, len(self._mean)) * self._scale + self._mean
        return told[:, 0] if self._one else told

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
