"""How often one address may ask."""

import time
from collections import OrderedDict

from engine.serve.refused import Refused

_MOST_ADDRESSES = 10_000  # the least recent are forgotten


class Rate:
    """`most` requests a second of one address, as many at once after a second of silence."""

    def __init__(self, most: int):
        self._most = most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now: float | None = None) -> None:
        """Count one of them, at the time `now` in seconds. Raises Refused, 429, for one too many.
        """
        now = time.monotonic() if now is None else now
        left, before = self._left.pop(address, (float(self._most), now))
        left = min(self._most, left + (now - before) * self._most)
        self._left[address] = max(left - 1, 0.0) if left >= 1 else left, now
        if len(self._left) > _MOST_ADDRESSES:
            self._left.popitem(last=False)
        if left < 1:
            raise Refused(429, f"more than {self._most:,} requests a second: send it again later.")
