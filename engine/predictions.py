"""Class and probability of image files, however many there are."""

from pathlib import Path

import jax
import numpy as np

from engine import record
from engine.config import Config
from engine.devices import choose
from engine.errors import RequestError
from engine.place import Place
from engine.sources import image
from engine.trained import BATCH, Run, load


def predict(run: Run, inputs: np.ndarray) -> np.ndarray:
    """`run.predict(inputs)`."""
    return run.predict(inputs)


def tell(
    run_dir: str, checkpoint: str, config: Config, place: Place, files: list[str]
) -> None:
    """Print each file's class and probability, tab-separated, with BATCH images in memory at most;
    every label from the threshold on where several are learned, or the numbers.

    Every header is checked before the first is decoded, so that a mistyped name is told at once.
    Raises RequestError at a file that can't be decoded.
    """
    if not files:
        raise RequestError("predict needs image files: predict --run_dir R image.png ...")
    record.picture_of(Path(run_dir), config)
    for path in files:
        image.check(path)
    with jax.default_device(choose.choose(place.device).device):
        run = load(run_dir, config, checkpoint)
        for start in range(0, len(files), BATCH):
            some = files[start : start + BATCH]
            batch = np.stack([image.read(path, run.input_shape) for path in some])
            for path, row in zip(some, run.predictor(batch), strict=True):
                print(f"{path}\t{run.learner.task.told(row, run.classes)}")
