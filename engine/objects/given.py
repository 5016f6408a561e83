"""What of a user's own objects is an input, a target and a weight."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.sets import values
from engine.sets.bundle import Bundle

INPUTS = ("image", "images", "input", "inputs", "x", "pixel_values", "img", "features")
TARGETS = ("label", "labels", "target", "targets", "y")
WEIGHTS = ("sample_weight", "sample_weights")
GIVE = (f"give two arrays (x, y), or three with weights; a sequence of pairs (input, target), or "
         f"of mappings with one of {', '.join(INPUTS)} and one of {', '.join(TARGETS)}; or one of "
         'these a split: {"train": (x, y), "test": (x, y)}')
AGAIN = ("its data were objects in Python: go on there, giving them again: "
         "fit(config, data=..., resume=path), evaluate(path, data=...); or type "
         "--config FILE.py, a recipe that has them.")


class Given(NamedTuple):
    """A split's arrays [N, ...] as they came, weights None where there are none; the names of what
    else a mapping holds; what the inputs are, where they are several by their names."""

    inputs: Any
    targets: np.ndarray
    weights: np.ndarray | None
    others: tuple[str, ...]
    bundle: Bundle | None = None


def columns(keys: Any) -> tuple[Any, ...] | None:
    """Which of a mapping's `keys` are the input's, the target's, if there is one of each, and the
    weight's, if there is one."""
    inputs, targets, weights = ([name for name in names if name in keys]
                                for names in (INPUTS, TARGETS, WEIGHTS))
    return (inputs[0], targets[0], *weights[:1]) if len(inputs) == len(targets) == 1 else None


def fields(given: Any, most: int = 2) -> tuple[Any, ...]:
    """The input and the target, or the inputs and the targets, if it holds both, and the weights.
    Without names they are told by their place, up to so many."""
    if isinstance(given, Mapping):
        return tuple(given[key] for key in columns(given) or ())
    ordered = isinstance(given, tuple | list) and 2 <= len(given) <= most
    return tuple(given) if ordered else ()


def inputs_of(data: Any) -> list[Any]:
    """Those of each split of data as they came; None of a sequence of examples."""
    parts = data.values() if isinstance(data, Mapping) and not columns(data) else [data]
    return [next(iter(fields(part, most=3)), None) for part in parts]


def others(given: Any) -> tuple[str, ...]:
    """What a mapping holds besides these."""
    keys = columns(given) if isinstance(given, Mapping) else None
    return tuple(str(name) for name in given if name not in keys) if keys else ()


def bundle_of(split: str, inputs: Any, known: Bundle | None, alike: bool) -> Bundle | None:
    """What inputs by their names are, the `known` ones if some are; None of one array. Raises
    RequestError where it has to be `alike`, and only one of the two has names."""
    several = isinstance(inputs, Mapping)
    if alike and several != (known is not None):
        raise values.refuse(split, f"its inputs are {'several' if several else 'one array'}, and "
                            "another split's are not", "give all splits the same")
    return (known or Bundle.of(split, inputs)) if several else None
