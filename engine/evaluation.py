"""Scores of a trained model: after its training, again from a checkpoint, and image by image."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image, UnidentifiedImageError

from engine import checkpoint, devices, loop, mesh, metrics, report
from engine.config import Config, Durations, Hyper, held_out, read
from engine.data import Subset, named, whole
from engine.errors import RequestError
from engine.setup import Setup, begin, setup
from engine.sources.dataset import Dataset
from engine.state import State, shapes

MISTAKES = 25


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


def evaluated(ready: Setup, params: Any) -> tuple[dict[str, Any], report.Mistakes]:
    """metrics.json's scores, and the most confident mistakes."""
    name, subset = held_for_evaluation(ready)
    classes = ready.dataset.classes
    evaluate = partial(loop.evaluate, ready.model, num_classes=len(classes), mesh=ready.mesh)
    sums = jax.jit(evaluate)(params, subset)
    scores = metrics.summarise(jax.device_get(sums), classes) | {"split": name}
    images_NxHxWxC = subset.split.images[subset.rows]
    predicted_N, probability_N = jax.device_get(
        jax.jit(partial(loop.predict, ready.model))(params, images_NxHxWxC)
    )
    labels_N = np.asarray(subset.split.labels)[np.asarray(subset.rows)]
    wrong = np.flatnonzero(predicted_N != labels_N)
    worst = wrong[np.argsort(-probability_N[wrong], kind="stable")][:MISTAKES]
    return scores, report.Mistakes(
        np.asarray(images_NxHxWxC[worst]), labels_N[worst], predicted_N[worst],
        probability_N[worst],
    )


def evaluate(config: Config, hyper: Hyper, which: str) -> dict[str, Any]:
    """Scores of a run's `last` or `best` checkpoint, printed as JSON."""
    ready = setup(config, hyper, *begin(config, stderr=True))
    state = _restored(ready.model, ready.tx, ready.data.train.image_shape, config, which)
    scores, _ = evaluated(ready, mesh.put(state.params, ready.everywhere))
    print(json.dumps(scores | {"checkpoint": which, "step": int(state.step)}, indent=2))
    return scores


def _restored(model, tx, image_HxWxC, config: Config, which: str) -> State:
    with checkpoint.Checkpoints(Path(config.run_dir) / "checkpoints", read_only=True) as saved:
        return saved.restore(shapes(model, tx, image_HxWxC), which)[0]


def _read_image(path: str, image_HxWxC: tuple[int, ...]) -> np.ndarray:
    """An image file as uint8 [H, W, C] of the size and channels that the model takes."""
    height, width, channels = image_HxWxC
    try:
        with Image.open(path) as image:
            fitted = image.convert("L" if channels == 1 else "RGB").resize(
                (width, height), Image.Resampling.BILINEAR
            )
    except FileNotFoundError:
        raise RequestError(f"{path}: no such file.") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise RequestError(f"{path} is not an image that can be read: {error}.") from None
    return np.asarray(fitted, np.uint8).reshape(image_HxWxC)


def predict(config: Config, hyper: Hyper, which: str, paths: list[str]) -> None:
    """Print class and probability of each image file, tab-separated."""
    if not paths:
        raise RequestError("predict needs image files: predict --run_dir R image.png ...")
    _, _, saved = read(Path(config.run_dir) / "config.json")
    classes, image = saved["classes"], tuple(saved["image_shape"])
    images = np.stack([_read_image(path, image) for path in paths])
    choice = devices.choose(config.device)
    lengths = Durations(1, 0, config.epochs)
    model, tx = loop.prepare(config, len(classes), hyper, lengths)
    with jax.default_device(choice.device):
        params = jax.device_put(_restored(model, tx, image, config, which).params)
        predicted, probability = jax.jit(partial(loop.predict, model))(params, images)
    for path, label, share in zip(paths, np.asarray(predicted), np.asarray(probability),
                                  strict=True):
        print(f"{path}\t{classes[label]}\t{share:.4f}")


