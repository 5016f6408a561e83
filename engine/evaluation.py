"""Scores of a trained model: after its training, again from a checkpoint, and image by image."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from engine import checkpoint, loop, mesh, metrics
from engine.config import Config, Durations, Hyper, held_out, read
from engine.data import Subset, named, whole
from engine.devices import choose as devices
from engine.errors import RequestError
from engine.job import processes as job
from engine.report import run as report
from engine.setup import Setup, begin, load, settle
from engine.sources import image
from engine.sources.dataset import Dataset
from engine.state import State, shapes

MISTAKES = 25
BATCH = 128  # images that predict holds at a time


def has_own_test(config: Config, dataset: Dataset) -> bool:
    """Whether there is a split named test that training leaves alone."""
    splits = dataset.splits
    return "test" in splits and named(dataset, config.train_split).split is not splits["test"]


def held_for_evaluation(ready: Setup) -> tuple[str, Subset]:
    """What judges the model: the validation split named by the user; for a part of the training
    split, a split named test where training left it alone, else that part.
    """
    name, splits = ready.config.validation_split, ready.dataset.splits
    if held_out(ready.config) is None:
        return name, ready.data.validation
    if has_own_test(ready.config, ready.dataset):
        return "test", mesh.put(whole(splits["test"]), ready.everywhere)
    return f"validation ({name} of {ready.config.train_split})", ready.data.validation


def evaluated(ready: Setup, variables: Any) -> tuple[dict[str, Any], report.Mistakes]:
    """metrics.json's scores, and the most confident mistakes."""
    name, subset = held_for_evaluation(ready)
    classes = ready.dataset.classes
    evaluate = partial(loop.evaluate, ready.model, num_classes=len(classes), spread=ready.spread)
    sums = jax.jit(evaluate)(variables, subset)
    scores = metrics.summarise(jax.device_get(sums), classes) | {"split": name}
    images_NxHxWxC = subset.split.inputs[subset.rows]
    predicted_N, probability_N = jax.device_get(
        jax.jit(partial(loop.predict, ready.model, spread=ready.spread))(variables, images_NxHxWxC)
    )
    labels_N = np.asarray(subset.split.targets)[np.asarray(subset.rows)]
    wrong = np.flatnonzero(predicted_N != labels_N)
    worst = wrong[np.argsort(-probability_N[wrong], kind="stable")][:MISTAKES]
    return scores, report.Mistakes(
        np.asarray(images_NxHxWxC[worst]), labels_N[worst], predicted_N[worst],
        probability_N[worst],
    )


def evaluate(config: Config, hyper: Hyper, which: str) -> dict[str, Any]:
    """Scores of a run's `last` or `best` checkpoint, printed as JSON."""
    device, console = begin(config, stderr=True)
    with job.naming_the_lost(), job.agreeing():
        spread = mesh.spread(jax.devices(device.platform), config)
        ready = settle(config, hyper, device, load(config), console, spread)
    with job.naming_the_lost():
        state = _restored(ready.model, ready.tx, ready.data.train.image_shape, config, which)
        scores, _ = evaluated(ready, mesh.put(state.variables, ready.where(state.variables)))
    if job.first_process():
        print(json.dumps(scores | {"checkpoint": which, "step": int(state.step)}, indent=2))
    return scores


def _restored(model, tx, image_HxWxC, config: Config, which: str) -> State:
    with checkpoint.Checkpoints(Path(config.run_dir) / "checkpoints", read_only=True) as saved:
        return saved.restore(shapes(model, tx, image_HxWxC), which)[0]


def _inputs(file: Path, saved: dict[str, Any]) -> tuple[list[str], tuple[int, ...]]:
    """The class names and the image shape [H, W, C] of a config.json."""
    classes, shape = saved.get("classes"), saved.get("image_shape")
    if not (isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes)):
        raise RequestError(f"{file} is not a run's configuration: its classes are {classes!r}.")
    if not (isinstance(shape, list) and len(shape) == 3
            and all(type(side) is int and 0 < side < 1 << 16 for side in shape)
            and shape[2] in image.MODES):
        raise RequestError(f"{file} is not a run's configuration: its image_shape is {shape!r}.")
    return classes, tuple(shape)


def _classified(
    model: nn.Module, variables: Any, image_HxWxC: tuple[int, ...], paths: list[str]
) -> Iterator[tuple[str, int, float]]:
    """Each file's path, class number and probability, with BATCH images in memory at most.

    Raises RequestError at a file that can't be decoded.
    """
    classify = jax.jit(partial(loop.predict, model))
    size = min(BATCH, len(paths))
    for start in range(0, len(paths), size):
        some = paths[start : start + size]
        images_BxHxWxC = np.zeros((size, *image_HxWxC), np.uint8)  # full, so as to compile once
        for row, path in enumerate(some):
            images_BxHxWxC[row] = image.read(path, image_HxWxC)
        predicted_B, probability_B = jax.device_get(classify(variables, images_BxHxWxC))
        yield from zip(some, predicted_B.tolist(), probability_B.tolist(), strict=False)


def predict(config: Config, hyper: Hyper, which: str, paths: list[str]) -> None:
    """Print class and probability of each image file, tab-separated, however many there are.

    Every header is checked before the first is decoded, so that a mistyped name is told at once.
    """
    if not paths:
        raise RequestError("predict needs image files: predict --run_dir R image.png ...")
    file = Path(config.run_dir) / "config.json"
    _, _, saved = read(file)
    classes, image_HxWxC = _inputs(file, saved)
    for path in paths:
        image.check(path)
    choice = devices.choose(config.device)
    lengths = Durations(1, 0, config.epochs)
    model, tx = loop.prepare(config, len(classes), hyper, lengths)
    with jax.default_device(choice.device):
        variables = jax.device_put(_restored(model, tx, image_HxWxC, config, which).variables)
        for path, label, share in _classified(model, variables, image_HxWxC, paths):
            print(f"{path}\t{classes[label]}\t{share:.4f}")
