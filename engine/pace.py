"""How long a segment is, so that a signal need not wait for long, and how many runs go at once."""

import math
from collections import deque

SECONDS = 10.0
TRIAL_AFTER = 8  # waves, at least
WIDER_SHARE = 0.005  # of the time, at most, which trials of more at once cost
NARROWER_SHARE = 0.02  # and of fewer, so that a sweep doesn't stay behind one run after another
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
        # Steps a second of the last two waves. Chance only makes slow, so the faster one counts.
        self._last: dict[int, deque[float]] = {width: deque(maxlen=2) for width in widths}
        self._trials, self._since = 0, 0  # how many, and waves since the last

    @property
    def most(self) -> int:
        return max(self._last)

    def _rate(self, width: int) -> float:
        return max(self._last[width], default=math.inf)  # an untried one comes first

    def _best(self, widths: list[int]) -> int:
        fastest = max(map(self._rate, widths))
        return next(width for width in widths if self._rate(width) * WORTHWHILE >= fastest)

    def choose(self, left: int) -> int:
        """The width of the next wave, where so many runs are left."""
        widths = [width for width in self._last if width <= left]
        best = self._best(widths)
        self._since += 1
        others = [width for width in widths if width != best]
        if not others or self._since < TRIAL_AFTER:
            return best
        other = others[self._trials % len(others)]
        slower = self._rate(best) / self._rate(other) - 1  # infinite before the best was tried
        share = WIDER_SHARE if other > best else NARROWER_SHARE
        if not slower * other / best <= share * self._since:
            return best
        self._trials, self._since = self._trials + 1, 0
        return other

    def learn(self, width: int, steps: int, seconds: float) -> None:
        """A wave of `width` runs, `steps` in all, took so long. Short ones tell nothing."""
        if seconds > LEAST_SECONDS:
            self._last[width].append(steps / seconds)

    def __str__(self) -> str:
        """Those tried, the fastest first."""
        tried = sorted((-self._rate(width), width) for width, last in self._last.items() if last)
        return ", ".join(f"{width} at once {-rate:,.1f} steps/s" for rate, width in tried)
