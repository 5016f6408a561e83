"""Estimators of scikit-learn's, of any network of ours, trees, or a module of the user's."""

from engine.sklearn.classifier import Classifier
from engine.sklearn.regressor import Regressor

__all__ = ["Classifier", "Regressor"]
