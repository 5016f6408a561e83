"""A pure function compiled ahead of time, for arguments of one type."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import jax


class Program:
    """`function`, called with keywords, traced here for these arguments, and compiled when it is
    needed. Other shapes or dtypes are jax's TypeError, which names them. `options` are XLA's, by
    name."""

    def __init__(
        self, function: Callable[..., Any], donate: tuple[str, ...] = (),
        options: Any = None, **arguments: Any,
    ):
        self._lowered = jax.jit(function, donate_argnames=donate).lower(**arguments)
        self._options = options or None

    @cached_property
    def compiled(self) -> Any:
        """The jax.stages.Compiled."""
        return self._lowered.compile(self._options)

    def __call__(self, **arguments: Any) -> Any:
        return self.compiled(**arguments)


def compile_all(*programs: Program) -> None:
    """At once; of several processes one after another, so that all have one order."""
    with ThreadPoolExecutor(len(programs) if jax.process_count() == 1 else 1) as threads:
        for _ in threads.map(lambda program: program.compiled, programs):
            pass


class Plain:
    """A function of the host's, called as it is, in the place of a Program."""

    compiled: Any = None

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, **arguments: Any) -> Any:
        return self._function(**arguments)
