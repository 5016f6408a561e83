"""Optax, imported when it is first used: names and parameters of this wing make flags."""

import importlib
from typing import Any


class _Late:
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("optax"), name)


optax = _Late()
