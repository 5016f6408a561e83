"""Optax and jax, imported when they are first used: names and parameters of this wing make flags,
and --help waits for neither."""

import importlib
from typing import Any


class _Late:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


optax, jax, jnp = map(_Late, ("optax", "jax", "jax.numpy"))
