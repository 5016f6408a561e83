"""from flaxmill.sklearn import Classifier, Regressor."""

from engine.sklearn import Classifier, Regressor

__all__ = ["Classifier", "Regressor"]
