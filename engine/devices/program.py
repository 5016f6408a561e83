"""A pure function compiled ahead of time, for arguments of one type."""

import time
from collections.abc import Callable
from typing import Any

import jax


def hasty(platform: str) -> dict[str, int]:
    """XLA's options for what is no training: less work for LLVM, whose code may round otherwise, so
    that a run and a sweep compile the same of their functions by them."""
    return {"xla_backend_optimization_level": 1} if platform == "cpu" else {}


class Program:
    """`function`, called with keywords, compiled for the arguments given here. Other shapes or
    dtypes are jax's TypeError, which names them. `options` are XLA's, by name."""

    def __init__(
        self, function: Callable[..., Any], donate: tuple[str, ...] = (),
        options: Any = None, **arguments: Any,
    ):
        began = time.perf_counter()
        lowered = jax.jit(function, donate_argnames=donate).lower(**arguments)
        self.compiled = lowered.compile(options or None)
        self.seconds = time.perf_counter() - began

    def __call__(self, **arguments: Any) -> Any:
        return self.compiled(**arguments)
