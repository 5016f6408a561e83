"""Class and probability of image files, however many there are."""

from pathlib import Path

import numpy as np

from engine.config import Config
from engine.devices import choose
from engine.errors import RequestError, visible
from engine.job.host import compute_on
from engine.request import Request
from engine.sources import image
from engine.store import record
from engine.trained import BATCH, Run, load


def predict(run: Run, inputs: np.ndarray) -> np.ndarray:
    """`run.predict(inputs)`."""
    return run.predict(inputs)


def tell(request: Request, checkpoint: str, files: list[str]) -> None:
    """Print each file's class and probability, tab-separated, with BATCH images in memory at most;
    every label from the threshold on where several are learned, or the numbers.

    Every header is checked before the first is decoded, so that a mistyped name is told at once.
    Raises RequestError at a file that can't be decoded.
    """
    if not files:
        raise RequestError("predict needs image files: predict --run_dir R image.png ...")
    path, config = Path(request.place.run_dir), request.config
    _check_pictures(path, config)
    for file in files:
        image.check(file)
    compute_on(choose.choose(request.place.device).device, request.place.compile_cache)
    run = load(path, config, checkpoint)
    names = tuple(visible(name, "") for name in run.classes)
    for start in range(0, len(files), BATCH):
        some = files[start : start + BATCH]
        batch = np.stack([image.read(file, run.input_shape) for file in some])
        for file, row in zip(some, run.predict(batch), strict=True):
            print(f"{visible(file, '')}\t{run.learner.task.told(row, names)}")


def _check_pictures(path: Path, config: Config) -> None:
    """Raises RequestError where the run in `path` was not trained on pictures."""
    _, shape, dtype = record.inputs_of(path, record.read(path / "config.json", config).content)
    if len(shape) != 3 or shape[2] not in image.MODES or dtype != "uint8":
        raise RequestError(f"{path} was trained on {dtype} inputs of {shape}, which no image file "
                           "is: predict in Python, load(path).predict(inputs).")
