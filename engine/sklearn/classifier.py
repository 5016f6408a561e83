"""A classifier of scikit-learn's."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from engine.sklearn.estimator import Estimator


class Classifier(ClassifierMixin, Estimator):
    """Of classes by any names; `classes_` has them in their order. See Estimator."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Classifier":
        """X [N, ...], y [N], sample_weight [N] multiplies each one's loss. Raises ValueError for
        what can't be learned."""
        X, y = self._checked(X, y=y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y is of one class, so that there is nothing to tell apart: "
                             "a classifier needs examples of 2 classes or more.")
        self._learn(X, codes.astype(np.int32), sample_weight, "classification",
                    _names(self.classes_))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each of `classes_`, float64 [N, C]; of a hinge loss (svm), the softmax
        of its margins, which are none until they are calibrated."""
        check_is_fitted(self)
        told = self._told(X, len(self.classes_))
        return told / told.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest of `classes_`, [N]."""
        found = self.predict_proba(X).argmax(axis=1)
        return self.classes_[found]


def _names(classes: np.ndarray) -> tuple[str, ...] | None:
    """What class_weights and a run's report call them; None, for their numbers in their order,
    where one can't be printed."""
    names = tuple(map(str, classes.tolist()))
    return names if all(name.strip() and name.isprintable() for name in names) else None
