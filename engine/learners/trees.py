"""Trees by XGBoost, as words of --model: the values that each follows, and what has no effect
beside them. Imports nothing heavy, as --help and a mistyped flag are answered first."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.errors import RequestError
from engine.job import extras

if TYPE_CHECKING:
    from engine.config import Config


class XGBoost(NamedTuple):
    """Gradient-boosted trees (Chen & Guestrin 2016), a round an epoch: XGBoost's own parameters and
    defaults; `reg_lambda` and `reg_alpha` are its lambda and alpha."""

    learning_rate: float = 0.3
    max_depth: float = 6.0
    min_child_weight: float = 1.0
    gamma: float = 0.0
    subsample: float = 1.0
    colsample_bytree: float = 1.0
    colsample_bylevel: float = 1.0
    colsample_bynode: float = 1.0
    reg_lambda: float = 1.0
    reg_alpha: float = 0.0
    max_leaves: float = 0.0
    max_bin: float = 256.0
    num_parallel_tree: float = 1.0


class RandomForest(NamedTuple):
    """XGBoost's own random forest: `num_parallel_tree` trees in one round, without shrinkage, each
    of a share of the rows, each split among a share of the features (its XGBRFClassifier's)."""

    num_parallel_tree: float = 100.0
    max_depth: float = 6.0
    min_child_weight: float = 1.0
    gamma: float = 0.0
    subsample: float = 0.8
    colsample_bytree: float = 1.0
    colsample_bylevel: float = 1.0
    colsample_bynode: float = 0.8
    reg_lambda: float = 1e-5
    reg_alpha: float = 0.0
    max_leaves: float = 0.0
    max_bin: float = 256.0


FOREST = "random_forest"
TREES: dict[str, type] = {"xgboost": XGBoost, FOREST: RandomForest}
WHOLE_NUMBERS = "max_depth", "max_leaves", "max_bin", "num_parallel_tree"
# Of the fields that a network's program is compiled for, those that say what trees learn.
_FOLLOWED = ("model", "task", "loss", "threshold", "epochs", "patience", "min_delta", "monitor",
             "rank_by", "class_weights")
_OF_NETWORKS = "order_seed", "init_from", "init_map"


def in_rounds(asked: "Config") -> "Config":
    """As asked, but for a forest's epochs: it is one round of all its trees."""
    return dataclasses.replace(asked, epochs=1) if asked.model == FOREST else asked


def values_of(model: Any) -> Any:
    """The NamedTuple class of what trees follow; None for a network."""
    return TREES.get(model) if isinstance(model, str) else None


def check_library(model: str) -> None:
    """Raise RequestError where XGBoost isn't installed."""
    extras.need(f"--model {model}", "trees", "xgboost", imports=False)


def wrong(config: "Config", hyper: Any) -> Iterator[str]:
    """What can't be meant of trees, or has no effect beside them, in words. Raises RequestError
    where XGBoost isn't installed."""
    word, kind = config.model, values_of(config.model)
    if kind is None:
        return
    check_library(word)
    if type(hyper) is not kind:
        yield (f"--model {word} follows the values {', '.join(kind._fields)}, and was given "
               f"{type(hyper).__name__}'s: leave them out, or give engine.learners.trees."
               f"{kind.__name__}(...).")
    idle = [f.name for f in dataclasses.fields(config)
            if getattr(config, f.name) != f.default and f.name not in _FOLLOWED
            and (f.compare or f.name in _OF_NETWORKS)]
    if idle:
        shown = " and ".join(f"--{name}" for name in idle)
        yield (f"{shown} {'have' if idle[1:] else 'has'} no effect with --model {word}, which "
               f"learns by rounds of trees: leave {'them' if idle[1:] else 'it'} out; its values "
               f"are {', '.join(kind._fields)}.")
    for name in WHOLE_NUMBERS:
        value = getattr(hyper, name, 0)
        if value % 1:
            yield f"--{name} {value}: type a whole number."
    if kind is RandomForest and config.epochs not in (1, type(config).epochs):
        yield (f"--epochs {config.epochs}: a random forest is one round of all its trees, and more "
               "rounds would boost it: leave it out, and type --num_parallel_tree for more trees.")


def refuse(model: Any, what: str) -> None:
    """Raise RequestError for `what` compiles a network's program, where the model is trees."""
    if values_of(model):
        raise RequestError(f"{what} is of a network's compiled program, and --model {model} has "
                           "none: leave it out, or train and compare runs one by one.")
