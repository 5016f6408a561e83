"""flaxmill: a training run as one pure function of (config, hyper, key, data).

The public names, each imported when it is first asked for: `launch.py --help` needs no jax.
"""

import importlib
from typing import Any

_FROM = {
    "Config": "config", "Hyper": "config", "Place": "place", "Data": "feed",
    "partition": "data", "Dataset": "sets.dataset", "RequestError": "errors",
    "RunError": "errors", "evaluate": "evaluation", "train": "pure", "data_for": "pure",
    "fit": "run", "Run": "trained", "load": "loaded", "sweep": "sweep.asked",
    "Sweep": "sweep.found", "Task": "task", "Classification": "tasks.classification",
    "Positions": "tasks.positions", "Regression": "tasks.regression",
    "Multilabel": "tasks.multilabel",
}
__all__ = [*_FROM]


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(importlib.import_module(f"engine.{_FROM[name]}"), name)
