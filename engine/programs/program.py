"""A pure function compiled ahead of time, which notices when it has to be compiled again."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import jax


class RetraceWarning(UserWarning):
    """A program was called with other shapes or dtypes than it was compiled for."""


def _signature(arguments: dict[str, Any]) -> dict[str, str]:
    """Every array of the arguments: where it is → its dtype and shape."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(arguments)
    return {jax.tree_util.keystr(path): jax.typeof(x).str_short() for path, x in leaves}


class Program:
    """`function`, called with keywords, compiled for the arguments given here.

    Other shapes or dtypes compile it again, with a RetraceWarning that names what changed: a loop
    that does so at every step spends its time compiling.
    """

    def __init__(self, function: Callable[..., Any], donate: tuple[str, ...] = (), **arguments):
        self._jitted = jax.jit(function, donate_argnames=donate)
        self.seconds = 0.0
        self._compile(arguments)

    def _compile(self, arguments: dict[str, Any]) -> None:
        began = time.perf_counter()
        self._signature = _signature(arguments)
        self.compiled = self._jitted.lower(**arguments).compile()
        self.seconds += time.perf_counter() - began

    def __call__(self, **arguments: Any) -> Any:
        try:
            return self.compiled(**arguments)
        except TypeError:  # jax's word for arguments of another type; nothing was donated yet
            was, now = self._signature, _signature(arguments)
            changed = [
                f"{path.strip('[]')} was {was.get(path, 'absent')}, now {now.get(path, 'absent')}"
                for path in was | now if was.get(path) != now.get(path)
            ]
            if not changed:
                raise
        warnings.warn(f"compiled again: {'; '.join(changed)}", RetraceWarning, stacklevel=2)
        self._compile(arguments)
        return self.compiled(**arguments)
