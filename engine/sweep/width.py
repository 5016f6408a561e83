"""How many runs go at once on a CPU."""

import math

LEAST_SECONDS = 0.2  # of a wave that tells how fast it went
WORTHWHILE = 1.1


class Width:
    """How many runs to compute at once: each power of two up to `most` is timed once, and the
    fastest kept. Several have to be WORTHWHILE times as fast as one, or one goes after another."""

    def __init__(self, most: int):
        self._rates = {2**n: math.inf for n in range(most.bit_length())}  # untried ones come first

    @property
    def most(self) -> int:
        return max(self._rates)

    def choose(self, left: int) -> int:
        """The width of the next wave, where so many runs are left."""
        return max((width for width in self._rates if width <= left),
                   key=lambda width: self._rates[width] * (WORTHWHILE if width == 1 else 1))

    def learn(self, width: int, steps: int, seconds: float) -> None:
        """A wave of `width` runs, `steps` in all, took so long: steps a second, once."""
        if math.isinf(self._rates[width]) and seconds > LEAST_SECONDS:
            self._rates[width] = steps / seconds
