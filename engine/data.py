"""The parts of a set that a run learns from and is validated on. N: examples."""

import numpy as np
from jax.sharding import Sharding

from engine.config import AUTO, Config, Parts
from engine.devices.mesh import put
from engine.errors import RequestError
from engine.examples import UNLABELLED, Split, Subset
from engine.feed import Data
from engine.optim.trees import values_of
from engine.sets import splits
from engine.sets.dataset import Dataset
from engine.sets.stored import joined


def whole(split: Split) -> Subset:
    return Subset(split, np.arange(len(split.targets), dtype=np.int32))


def _parts(dataset: Dataset, text: str) -> list[tuple[str, np.ndarray]]:
    """The splits and their rows int32 that the words of --train_split stand for."""
    sizes = {name: len(split.targets) for name, split in dataset.splits.items()}
    return splits.chosen(text, sizes, dataset.name)


def named(dataset: Dataset, text: str) -> Subset:
    """A split, or parts of some in tensorflow-datasets' words: train[:10000], train[-20%:]+test."""
    found = _parts(dataset, text)
    names = {name for name, _ in found}
    if not any(len(rows) for _, rows in found):
        raise RequestError(f"{text} names no examples of {dataset.name}: type more of a split.")
    if len(names) == 1:
        return Subset(dataset.splits[names.pop()], np.concatenate([rows for _, rows in found]))
    return whole(joined([(dataset.splits[name], rows) for name, rows in found]))


def unlabelled(targets: np.ndarray) -> np.ndarray:
    """Which of targets [N, ...] are none, bool [N]: classes of no position, a number of any."""
    flat = targets.reshape(len(targets), -1)
    if np.issubdtype(targets.dtype, np.integer):
        return (flat == UNLABELLED).all(axis=1)
    return np.isnan(flat).any(axis=1)


def labelled(dataset: Dataset, what: str, drop: bool) -> Subset:
    """What is `named` without its unlabelled examples. Raises RequestError unless they may be
    dropped, and where nothing is left."""
    missing = unlabelled((subset := named(dataset, what)).targets)
    count, found = int(missing.sum()), len(missing)
    if not count:
        return subset
    if count == found:
        raise RequestError(f"{what}: none of its {found:,} examples has a label, so that nothing "
                           "can be learnt from it or scored on it: name another split.")
    if not drop:
        raise RequestError(f"{what}: {count:,} of its {found:,} examples have no label"
                           f"{dataset.labels}: type --drop_unlabelled to leave them out, or label "
                           "them.")
    return subset._replace(rows=subset.rows[~missing])


def has_labels(dataset: Dataset, name: str) -> bool:
    """Whether there is a split of that name with an example to score."""
    return name in dataset.splits and not unlabelled(
        np.asarray(dataset.splits[name].targets)).all()


def validation_of(dataset: Dataset, parts: Parts) -> str:
    """--validation_split in words: where it is auto the split named validation, or such as val,
    else a tenth."""
    if parts.validation != AUTO:
        return parts.validation
    named = [name for name in dataset.splits if splits.split_of(str(name)) == "validation"]
    return next((name for name in named if has_labels(dataset, name)), "0.1")


def named_validation(dataset: Dataset, parts: Parts) -> str:
    """What validates, as scores name it."""
    text = validation_of(dataset, parts)
    return text if splits.held_out(text) is None else f"validation ({text} of {parts.train})"


def _groups(dataset: Dataset, text: str) -> np.ndarray | None:
    """The group of every row of the split in `named`'s subset, if the set has groups."""
    if not dataset.groups:
        return None
    found = _parts(dataset, text)
    if len({name for name, _ in found}) == 1:
        return np.asarray(dataset.groups[found[0][0]])
    return np.concatenate([dataset.groups[name][rows] for name, rows in found])


def _refuse_one_class(dataset: Dataset, text: str, train: Subset, positions: bool) -> None:
    targets = train.targets
    targets = targets[targets != UNLABELLED] if positions else targets
    if targets.ndim == 1 and (seen := targets.min()) == targets.max():
        raise RequestError(
            f"--train_split {text} of {dataset.name}: all {len(train.rows):,} training "
            f"examples are of one class, {dataset.classes[seen]!r}, so that there is nothing to "
            "tell apart: look where the labels come from, or take another split."
        )


def partition(dataset: Dataset, config: Config) -> Data:
    """The run's two subsets, on the host.

    Raises RequestError for unknown splits, empty ones, unlabelled examples unless the config drops
    them, a single class, and, but for trees, a batch larger than the set.
    """
    asked = config.parts
    text, drop = validation_of(dataset, asked), asked.drop_unlabelled
    train, share = labelled(dataset, asked.train, drop), splits.held_out(text)
    found = len(train.rows)
    if share is None:
        try:
            validation = labelled(dataset, text, drop)
        except RequestError as error:
            raise RequestError(f"{error} Or hold out a part of the training split: type "
                               "--validation_split 0.1.") from None
    else:
        if isinstance(share, splits.Fold) and share.count > found:
            raise RequestError(f"{share.count:,} folds of the {found:,} examples of {asked.train}: "
                               f"type {found} or less, --folds 5 or --validation_split 1/5.")
        groups = _groups(dataset, asked.train)
        out = splits.parted(train.targets, share,
                            None if groups is None else groups[train.rows])
        train, validation = (train._replace(rows=train.rows[~out]),
                             train._replace(rows=train.rows[out]))
    for name, subset in (("train", train), ("validation", validation)):
        if not len(subset.rows):
            raise RequestError(f"--train_split {asked.train} --validation_split {text} leaves no "
                               f"{name} examples of {found}.")
    _refuse_one_class(dataset, asked.train, train, config.task == "positions")
    if config.batch_size > len(train.rows) and not values_of(config.model):
        raise RequestError(f"--batch_size {config.batch_size} is larger than the {len(train.rows)} "
                           f"training examples of {dataset.name}: type {len(train.rows)} or less.")
    return Data(train, validation, len(dataset.classes))


def judging(dataset: Dataset, parts: Parts) -> tuple[str, Subset | None]:
    """What judges the trained model, in words, and its examples, None for those of the validation:
    a split that the user named for it; else a labelled split named test that training left alone.
    """
    text = validation_of(dataset, parts)
    share = splits.held_out(text) is not None
    trained = {name for name, _ in _parts(dataset, parts.train)}
    if (share or parts.validation == AUTO) and has_labels(dataset, "test") \
            and "test" not in trained:
        return "test", labelled(dataset, "test", parts.drop_unlabelled)
    return named_validation(dataset, parts), None


def on_device(data: Data, where: Sharding) -> Data:
    """On the device or devices, a split that both subsets share only once."""
    train, shared = put(data.train, where), data.validation.split is data.train.split
    validation = (Subset(train.split, put(data.validation.rows, where)) if shared else
                  put(data.validation, where))
    return Data(train, validation, data.num_outputs)
