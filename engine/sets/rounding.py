"""Whether float32 holds the numbers to predict. N: examples."""

import numpy as np

_STEPS = 30  # of float32 in a standard deviation: rounding costs a ten-thousandth of R² then
_FEW = 10  # whose spread says little of where they come from
_LEAST = 1e-15  # whose square, and that of one by it, float32 holds with room


def unheld(given: np.ndarray) -> tuple[str, str]:
    """Why float32, in which they are learned and judged, holds numbers [N], or their squares, too
    coarsely, and what to do; "" where it does. NaN are none."""
    numbers = given.astype(np.float64)
    known = numbers[np.isfinite(numbers)]
    if known.size < _FEW or known.min() == known.max():
        return "", ""
    spread, largest = float(known.std()), float(np.abs(known).max())
    if not _LEAST < spread <= largest < 1 / _LEAST:
        return (f"are of the size of {largest:.1e}, and float32 holds no squares of such",
                "give them in another unit")
    step = float(np.spacing(np.float32(largest)))
    if spread < _STEPS * step:
        return (f"differ by {spread:.2g} around {known.mean():.4g}, where float32 has steps of "
                f"{step:.2g}", "subtract an offset")
    return "", ""
