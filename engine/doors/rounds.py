"""What a request of trees means, which learn by rounds; what can't be meant, or has no effect."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from engine.config import Config
from engine.optim.trees import FOREST, WHOLE_NUMBERS, RandomForest, check_library, values_of

# Of the fields that a network's program is compiled for, those that say what trees learn.
_FOLLOWED = ("model", "task", "loss", "threshold", "epochs", "patience", "min_delta", "monitor",
             "rank_by", "class_weights")
_OF_NETWORKS = "order_seed", "init_from", "init_map"


def in_rounds(asked: Config) -> Config:
    """As asked, but for a forest's epochs: it is one round of all its trees."""
    return dataclasses.replace(asked, epochs=1) if asked.model == FOREST else asked


def wrong(config: Config, hyper: Any) -> Iterator[str]:
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
