"""What Classifier and Regressor share: parameters, training in memory, outputs of batches."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from engine.doors import computed, handed
from engine.errors import RequestError, RunError
from engine.job.host import undisturbed
from engine.learners.chosen import learner_of
from engine.learners.learner import jitted
from engine.objects import arrays
from engine.sklearn import parameters
from engine.sklearn.learned import learned
from engine.trained import BATCH, in_batches

_LEARNERS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # of fitted ones, not of their copies


@contextlib.contextmanager
def as_values() -> Iterator[None]:
    """What can't be learned is a ValueError, as scikit-learn's callers expect."""
    try:
        yield
    except (RequestError, RunError) as error:
        raise ValueError(str(error)) from None


class Estimator(BaseEstimator):
    """Parameters are a Config's and the traced values, by their names, and: `hyper`, the values of
    an optimizer of one's own; `task`, an object in the place of the estimator's; `device`; a
    `run_dir` to leave the run in, which is trained in memory otherwise; `random_state`. A
    `validation_split` is held out where `patience` or a plateau looks at it, a tenth by default;
    else all examples are trained on. `batch_size` is as many as there are where there are fewer.

    X [N, ...] of 2 to 5 dimensions: uint8 of pictures [N, H, W, C] is scaled to 0..1, all else
    becomes float32 as it is. Fitted: `history_`, a row an epoch; `variables_`, the network's.
    """

    def __init__(self, model: Any = "mlp", **values: Any):
        if strange := values.keys() - parameters.DEFAULTS.keys():
            raise TypeError(f"unknown parameters {', '.join(sorted(strange))}")
        for name, value in (parameters.DEFAULTS | values | {"model": model}).items():
            setattr(self, name, value)

    __init__.__signature__ = parameters.signature()  # type: ignore[attr-defined]

    def _checked(self, X: Any, **how: Any) -> Any:
        return validate_data(self, X, allow_nd=True, **how)

    def _learn(
        self, X: np.ndarray, targets: np.ndarray, weights: Any, task: str,
        names: tuple[str, ...] | None = None,
    ) -> None:
        inputs, params = _inputs(X), self.get_params(deep=False)
        data: Any = (inputs, targets) if weights is None else (inputs, targets, weights)
        with as_values():
            data = arrays.of(data, names=names) if names else data
            found = learned(parameters.request(params, task, len(X), data))
        self._config, self.variables_, self.history_ = found
        _LEARNERS.pop(self, None)
        self._shape, self._dtype = inputs.shape[1:], inputs.dtype

    @undisturbed()
    def _told(self, X: Any, outputs: int) -> np.ndarray:
        """What the task tells of each of X, float64 [N, `outputs`], in batches of one size, which
        is compiled once."""
        inputs = _inputs(self._checked(X, reset=False))
        if (inputs.shape[1:], inputs.dtype) != (self._shape, self._dtype):
            raise ValueError(f"X is {inputs.dtype} [N, {inputs.shape[1:]}], and the model was "
                             f"fitted on {self._dtype} [N, {self._shape}].")
        with as_values():
            if self not in _LEARNERS:
                _LEARNERS[self] = computed.apart(learner_of(self._config, outputs), self._shape)
            handed.check(learner := _LEARNERS[self], inputs)
        told = partial(jitted(learner, "predict"), self.variables_)
        found = in_batches(learner, told, inputs, BATCH)
        return found.reshape(len(inputs), -1).astype(np.float64)


def _inputs(X: np.ndarray) -> np.ndarray:
    return X if X.ndim == 4 and X.dtype == np.uint8 else X.astype(np.float32)
