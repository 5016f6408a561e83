"""How long a segment is, so that a signal need not wait for long, and how many runs go at once."""

import math

SECONDS = 10.0
TRIALS_SHARE = 0.005  # of the time, at most
TRIAL_AFTER = 8  # waves, at least
LEAST_SECONDS = 0.2
WORTHWHILE = 1.1


class Pace:
    """`steps` of a segment that takes about SECONDS, from one step at the start."""

    def __init__(self) -> None:
        self.steps = 1

    def learn(self, steps: int, seconds: float) -> None:
        """A segment of `steps` took so long."""
        self.steps = max(1, round(steps * SECONDS / max(seconds, 1e-6)))


class Width:
    """How many runs to compute at once, of the powers of two up to `most`: the fewest that lately
    went as fast as any, but for a tenth, which chance can make.

    It depends on the network, on the cores and how far apart they are, and on what else the machine
    does. So each is tried at the start, and the others now and then: the more they would cost, the
    more rarely.
    """

    def __init__(self, most: int):
        widths = [2**n for n in range(most.bit_length())]
        self.rates = dict.fromkeys(widths, math.inf)  # steps a second; untried ones come first
        self._trials, self._since = 0, 0  # how many, and waves since the last

    def _best(self, widths: list[int]) -> int:
        fastest = max(self.rates[width] for width in widths)
        return next(width for width in widths if self.rates[width] * WORTHWHILE >= fastest)

    def choose(self, left: int) -> int:
        """The width of the next wave, where so many runs are left."""
        widths = [width for width in self.rates if width <= left]
        best = self._best(widths)
        self._since += 1
        others = [width for width in widths if width != best]
        if not others or self._since < TRIAL_AFTER:
            return best
        other = others[self._trials % len(others)]
        slower = self.rates[best] / self.rates[other] - 1  # infinite before the best was tried
        if not slower * other / best <= TRIALS_SHARE * self._since:
            return best
        self._trials, self._since = self._trials + 1, 0
        return other

    def learn(self, width: int, steps: int, seconds: float) -> None:
        """A wave of `width` runs, `steps` in all, took so long. Short ones tell nothing."""
        if seconds > LEAST_SECONDS:
            self.rates[width] = steps / seconds

    def __str__(self) -> str:
        """Those tried, the fastest first."""
        tried = sorted((-rate, width) for width, rate in self.rates.items() if rate < math.inf)
        return ", ".join(f"{width} at once {-rate:,.1f} steps/s" for rate, width in tried)
