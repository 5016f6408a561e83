"""flaxmill's public names: from flaxmill import Config, Hyper, fit, load, train."""

from importlib.metadata import version
from typing import Any

import engine

__all__ = [*engine.__all__, "__version__"]
__version__ = version("flaxmill")


def __getattr__(name: str) -> Any:
    return engine.__getattr__(name)  # not getattr, for which engine.sweep is a package
