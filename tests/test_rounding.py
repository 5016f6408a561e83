"""Numbers to predict that float32 can't hold: refused, as their scores were of the rounded ones."""

import re

import numpy as np
import pandas as pd
import pytest

from engine import sources
from engine.errors import RequestError
from engine.objects import arrays
from engine.sets.rounding import unheld

RNG = np.random.default_rng(0)
Z = RNG.normal(size=400)
SECONDS, MASSES, DISTANCES = 1.7e9 + 20 * Z, 1e-27 * Z, 1e24 * Z
HELD = [Z, 1e-9 * Z, 1e9 * Z, 1.7e9 + 1e7 * Z, np.full(9, 1.7e9), np.array([1.0]), np.zeros(5),
        np.array([np.nan, *range(20)]), SECONDS[:9], 273.15 + 0.1 * Z, RNG.integers(0, 2, 40) * 1.0]


@pytest.mark.parametrize("numbers", HELD)
def test_what_rounding_costs_less_than_a_ten_thousandth_of_r2_is_held(numbers):
    """And of a few nobody asks."""
    assert unheld(numbers) == ("", "")
    known = numbers[~np.isnan(numbers)]
    lost = np.square(known - np.float32(known)).sum()
    spread = np.square(known - known.mean()).sum()
    assert lost <= 1e-4 * spread or spread == 0 or len(known) < 10


@pytest.mark.parametrize("numbers, said", [
    (SECONDS, "differ by 20 around 1.7e+09, where float32 has steps of 1.3e+02; subtract"),
    (MASSES, "e-27, and float32 holds no squares of such; give them in another unit"),
    (DISTANCES, "e+24, and float32 holds no squares of such; give them in another unit"),
])
def test_what_it_cannot_hold_is_refused_with_what_to_do(numbers, said, tmp_path):
    x = Z[:, None].astype(np.float32)
    for y in (numbers, np.stack([Z, numbers], 1)):
        with pytest.raises(RequestError, match=re.escape(said)):
            arrays.of({"train": (x, y)}, kind="numbers")
    pd.DataFrame({"x": Z, "when": numbers}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(RequestError, match=re.escape(said.partition(";")[0])):
        sources.load(f"table:{tmp_path}/t.csv")
