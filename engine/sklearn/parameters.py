"""An estimator's parameters: the fields of a Config that shape what is learned, the traced values
of networks and of trees, by their names, and five of its own."""

import dataclasses
import inspect
import numbers
from typing import Any

from sklearn.utils import check_random_state

from engine.config import AUTO, Config, Hyper
from engine.doors import hypers
from engine.errors import RequestError
from engine.optim import trees
from engine.place import Place
from engine.request import Request

EPOCHS = 100
_NOT = "task", "threshold"  # an estimator says the one, scikit-learn the other
_CONFIG = {f.name: f.default for f in dataclasses.fields(Config)
           if f.compare and f.name not in _NOT} | {"validation_split": AUTO, "init_from": ""}
VALUES = dict.fromkeys((*Hyper._fields, *trees.XGBoost._fields, *trees.RandomForest._fields))
DEFAULTS: dict[str, Any] = _CONFIG | {"model": "mlp", "epochs": EPOCHS} | VALUES | {
    "hyper": None, "task": AUTO, "device": AUTO, "run_dir": "", "random_state": None}


def signature() -> inspect.Signature:
    """Of an estimator's __init__, where scikit-learn looks for parameters; None is the model's own
    default."""
    kinds = inspect.Parameter
    made = [kinds(name, kinds.KEYWORD_ONLY, default=value) for name, value in DEFAULTS.items()
            if name != "model"]
    return inspect.Signature([
        kinds("self", kinds.POSITIONAL_OR_KEYWORD),
        kinds("model", kinds.POSITIONAL_OR_KEYWORD, default=DEFAULTS["model"]), *made])


def request(params: dict[str, Any], task: str, examples: int, data: Any) -> Request:
    """What `params` ask for, of a task by its word, on so many examples. All of them are trained
    on, unless something watches a validation. Raises RequestError for a value without effect."""
    asked = {name: params[name] for name in _CONFIG}
    made = Config(**asked, task=task if params["task"] == AUTO else params["task"])
    config = dataclasses.replace(made, seed=_seed(params["random_state"]))
    if config.validation_split == AUTO:
        config = dataclasses.replace(
            config, validation_split="0.1" if config.watches else config.train_split)
    if config.model == trees.FOREST and config.epochs == EPOCHS:
        config = dataclasses.replace(config, epochs=1)
    elif not trees.values_of(config.model):
        config = dataclasses.replace(config, batch_size=min(config.batch_size, examples))
    kind = hypers.kind_of(config)
    given = {name: params[name] for name in VALUES if params[name] is not None}
    for name in given.keys() - {*kind._fields}:
        raise RequestError(f"{name} has no effect with {config.model}, whose values are "
                           f"{', '.join(kind._fields)}: leave it out.")
    hyper = (kind() if params["hyper"] is None else params["hyper"])._replace(**given)
    return Request(config, hyper, Place(device=params["device"], run_dir=params["run_dir"]), data)


def _seed(random_state: Any) -> int:
    """Of a whole number, NumPy's too, itself; else drawn from it, as scikit-learn's estimators do.
    Raises RequestError for one that seeds nothing."""
    if isinstance(random_state, numbers.Integral):
        if not 0 <= int(random_state) < 2**32:  # as --seed
            raise RequestError(f"random_state {random_state}: give one from 0 to {2**32 - 1}.")
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
