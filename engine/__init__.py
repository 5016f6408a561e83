"""flaxmill: a training run as one pure function of (config, hyper, key, data).

The public names, each imported when it is first asked for: `launch.py --help` needs no jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.command.predictions import predict
    from engine.config import Config, Hyper
    from engine.data import Data, partition
    from engine.errors import RequestError, RunError
    from engine.evaluation import evaluate
    from engine.place import Place
    from engine.pure import data_for, train
    from engine.run import fit
    from engine.sources.dataset import Dataset
    from engine.sweep.found import Sweep
    from engine.task import Task
    from engine.tasks.classification import Classification
    from engine.tasks.multilabel import Multilabel
    from engine.tasks.positions import Positions
    from engine.tasks.regression import Regression
    from engine.trained import Run, load

_FROM = {
    "Config": "config", "Hyper": "config", "Place": "place", "Data": "data",
    "partition": "data", "Dataset": "sources.dataset", "RequestError": "errors",
    "RunError": "errors", "evaluate": "evaluation", "predict": "command.predictions",
    "train": "pure", "data_for": "pure", "fit": "run", "Run": "trained", "load": "trained",
    "sweep": "sweep.asked", "Sweep": "sweep.found",
    "Task": "task", "Classification": "tasks.classification", "Positions": "tasks.positions",
    "Regression": "tasks.regression", "Multilabel": "tasks.multilabel",
}
__all__ = [*_FROM]


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(importlib.import_module(f"engine.{_FROM[name]}"), name)
