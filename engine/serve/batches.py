"""Requests that wait together are computed together, in the order in which they came."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engine.serve.refused import Refused

MOST_WAITING = 4096  # examples


class Batches:
    """`compute`, of inputs [N, ...], is called in a thread of its own, of `most` examples at a time
    or of one request that has more; meanwhile others wait."""

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray], most: int):
        self._compute, self._most = compute, most
        self._waiting: deque[tuple[np.ndarray, asyncio.Future]] = deque()
        self._some = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "predict")

    async def predict(self, inputs: np.ndarray) -> np.ndarray:
        """`compute(inputs)`. Raises Refused, 429, where too many wait already."""
        if sum(len(x) for x, _ in self._waiting) + len(inputs) > MOST_WAITING:
            raise Refused(429, f"{MOST_WAITING:,} examples are waiting: send it again later.")
        found: asyncio.Future = asyncio.get_running_loop().create_future()
        self._waiting.append((inputs, found))
        self._some.set()
        return await found

    async def work(self) -> None:
        """For ever; to be cancelled."""
        while True:
            await self._some.wait()
            await self._batch(self._taken())

    def _taken(self) -> list[tuple[np.ndarray, asyncio.Future]]:
        taken: list[tuple[np.ndarray, asyncio.Future]] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0][0]) <= self._most):
            taken.append(self._waiting.popleft())
            count += len(taken[-1][0])
        if not self._waiting:
            self._some.clear()
        return [(x, found) for x, found in taken if not found.cancelled()]  # who has left

    async def _batch(self, taken: list[tuple[np.ndarray, asyncio.Future]]) -> None:
        if not taken:
            return
        loop = asyncio.get_running_loop()
        try:
            inputs = np.concatenate([x for x, _ in taken])
            told = await loop.run_in_executor(self._thread, self._compute, inputs)
            ends = np.cumsum([len(x) for x, _ in taken])[:-1]
            for part, (_, found) in zip(np.split(told, ends), taken, strict=True):
                if not found.done():
                    found.set_result(part)
        except Exception as error:  # each of them is told, and the next batch is computed
            for _, found in taken:
                if not found.done():
                    found.set_exception(error)
