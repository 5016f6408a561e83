"""How long a segment is, so that a signal need not wait for long, and how many runs go at once."""

import math

SECONDS = 10.0
TRIAL_AFTER = 8, 32  # waves: soonest, latest
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
    does. So each is tried at the start, and one of the others now and then: soon after a change,
    more and more rarely while trials change nothing.
    """

    def __init__(self, most: int):
        widths = [2**n for n in range(most.bit_length())]
        self.rates = dict.fromkeys(widths, math.inf)  # steps a second; untried ones come first
        self._rest, self._rested = TRIAL_AFTER[0], 0  # waves from trial to trial, and since one
        self._trials = 0

    def _best(self, most: int) -> int:
        rates = {width: rate for width, rate in self.rates.items() if width <= most}
        return next(n for n, rate in rates.items() if rate * WORTHWHILE >= max(rates.values()))

    def choose(self, left: int) -> int:
        """The width of the next wave, where so many runs are left."""
        best = self._best(left)
        others = [width for width in self.rates if width <= left and width != best]
        if others and self._rested >= self._rest:
            return others[self._trials % len(others)]
        return best

    def learn(self, width: int, steps: int, seconds: float) -> None:
        """A wave of `width` runs, `steps` in all, took so long. Short ones tell nothing."""
        if seconds <= LEAST_SECONDS:
            return
        widest = max(self.rates)
        best = self._best(widest)
        self.rates[width] = steps / seconds
        self._rested += 1
        soonest, latest = TRIAL_AFTER
        if self._best(widest) != best:
            self._rest, self._rested = soonest, 0
        elif width != best:
            self._rest, self._rested = min(2 * self._rest, latest), 0
            self._trials += 1

    def __str__(self) -> str:
        """Those tried, the fastest first."""
        tried = sorted((-rate, width) for width, rate in self.rates.items() if rate < math.inf)
        return ", ".join(f"{width} at once {-rate:,.1f} steps/s" for rate, width in tried)
