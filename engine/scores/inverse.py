"""Whether a task's `outputs` is the inverse of its `predict`."""

from typing import Any

import numpy as np


def inverts(back: Any, predicted: np.ndarray) -> bool:
    """Whether what is predicted of `outputs(predicted)` is `predicted`, to rounding."""
    return back.shape == predicted.shape and np.allclose(back, predicted, rtol=1e-3, atol=1e-4)
