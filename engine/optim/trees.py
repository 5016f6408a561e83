"""Trees by XGBoost, as words of --model, and the values that each follows. Imports nothing heavy,
as --help and a mistyped flag are answered first."""

from typing import Any, NamedTuple

from engine.errors import RequestError
from engine.job import extras


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


def values_of(model: Any) -> Any:
    """The NamedTuple class of what trees follow; None for a network."""
    return TREES.get(model) if isinstance(model, str) else None


def check_library(model: str) -> None:
    """Raise RequestError where XGBoost isn't installed."""
    extras.need(f"--model {model}", "trees", "xgboost", imports=False)


def refuse(model: Any, what: str) -> None:
    """Raise RequestError for `what` compiles a network's program, where the model is trees."""
    if values_of(model):
        raise RequestError(f"{what} is of a network's compiled program, and --model {model} has "
                           "none: leave it out, or train and compare runs one by one.")
