"""flaxmill's public names: from flaxmill import Config, Hyper, fit, load, train."""

import os
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

_found = find_spec("engine")
_where = next(iter(_found.submodule_search_locations or [_found.origin or ""])) if _found else ""
_ours = os.path.join(os.path.dirname(os.path.dirname(__file__)), "engine")
if _where and os.path.realpath(_where) != os.path.realpath(_ours):
    raise ImportError(f"{_where} is found before flaxmill's own engine: rename it, or start from "
                      "another folder.")

import engine  # noqa: E402

__all__ = [*engine.__all__, "__version__"]
__version__ = version("flaxmill")


def __getattr__(name: str) -> Any:
    return engine.__getattr__(name)  # not getattr, for which engine.sweep is a package
