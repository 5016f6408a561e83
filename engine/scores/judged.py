"""Examples that a model was judged on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Judged(NamedTuple):
    """Examples that a model was judged on, on the host: their tally, what `Task.predict` made of
    each [N, ...], the targets [N, ...], and the inputs by row."""

    sums: Any
    predicted: np.ndarray
    targets: np.ndarray
    inputs: Callable[[np.ndarray], np.ndarray]
