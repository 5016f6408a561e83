"""A number as a person reads it."""

import math
from typing import Any


def number(value: Any) -> str:
    """A table's cell: four digits of a float, a dash for None, anything else as it is."""
    if value is None:
        return "–"
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"
