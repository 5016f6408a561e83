"""How long a segment is, so that a signal need not wait for long, and how many runs go at once."""

import math

SECONDS = 10.0
AGAIN = 8
LEAST_SECONDS = 0.2


class Pace:
    """`steps` of a segment that takes about SECONDS, from one step at the start."""

    def __init__(self) -> None:
        self.steps = 1

    def learn(self, steps: int, seconds: float) -> None:
        """A segment of `steps` took so long."""
        self.steps = max(1, round(steps * SECONDS / max(seconds, 1e-6)))


class Width:
    """How many runs to compute at once, powers of two up to `most`: what has gone fastest lately.

    It depends on the cores, on the network and on what else the machine does, so each is tried at
    the start, and every AGAIN waves one of those that were slower.
    """

    def __init__(self, most: int):
        widths = [2**n for n in range(most.bit_length())]
        self.rates = dict.fromkeys(widths, math.inf)  # steps a second; untried ones come first
        self._waves = 0

    def _ranked(self) -> list[int]:
        return sorted(self.rates, key=lambda width: -self.rates[width])

    def choose(self, left: int) -> int:
        """The width of the next wave, where so many runs are left."""
        ranked = [width for width in self._ranked() if width <= left]
        self._waves += 1
        turn, again = divmod(self._waves, AGAIN)
        return ranked[0 if again else turn % len(ranked)]

    def learn(self, width: int, steps: int, seconds: float) -> None:
        """A wave of `width` runs, `steps` in all, took so long. Short ones tell nothing."""
        if seconds > LEAST_SECONDS:
            self.rates[width] = steps / seconds

    def __str__(self) -> str:
        """Those tried, the fastest first."""
        tried = [width for width in self._ranked() if self.rates[width] < math.inf]
        return ", ".join(f"{width} at once {self.rates[width]:,.1f} steps/s" for width in tried)
