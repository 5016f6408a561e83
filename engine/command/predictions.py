"""What a run says of pictures, however many there are."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.cells import cell_len

from engine.command import inputs, output, printing
from engine.devices import choose
from engine.errors import RequestError, visible
from engine.errors import tell as say
from engine.job.host import compute_on
from engine.request import Request
from engine.sources import image
from engine.store import record
from engine.trained import BATCH, Run, load

Batches = Iterable[tuple[list[str], np.ndarray]]  # keys and inputs of BATCH examples at most


def predict(run: Run, inputs: np.ndarray) -> np.ndarray:
    """`run.predict(inputs)`."""
    return run.predict(inputs)


def tell(
    request: Request, checkpoint: str, words: Sequence[str], top: int = 0, file: str = ""
) -> None:
    """Print what the run says of what `words` name, of each the `top` likeliest classes if that is
    not 0, and write all of it to `file` if that is given; with BATCH examples in memory at most.

    Every header is checked before the first picture is decoded, so that a mistyped name is told at
    once. Raises RequestError for what can't be predicted, and for pictures that can't be read
    unless they are to be skipped.
    """
    path, place, skip = Path(request.place.run_dir), request.place, request.config.skip_bad
    shape = _shape(request)
    files = inputs.files(words)
    if file:
        output.check(file, files)
    faults: dict[str, str] = {}
    sound = _sound(files, faults)
    if faults and not skip:
        for _ in _decoded(sound, shape, faults):  # so that all are named at once
            pass
        raise _refused(faults, files)
    compute_on(choose.choose(place.device).device, place.compile_cache)
    run = load(path, request.config, checkpoint)
    if top and run.learner.task.kind == "numbers":
        raise RequestError(f"--top {top}: {path} predicts numbers, of which none is likelier than "
                           "another: leave it out.")

    def batches() -> Batches:
        for batch in _decoded(sound, shape, faults):
            if skip or not faults:
                yield batch
        if faults and not skip or faults.keys() == set(files):
            raise _refused(faults, files)

    _predict(run, output.FILE, sound, batches(), top, file)
    if faults:
        say(f"left out {_described(faults, files)}")


def _predict(
    run: Run, key: str, keys: Sequence[str], batches: Batches, top: int, file: str
) -> None:
    """Print, and write to `file`, the predictions of `batches` as they come."""
    task, names = run.learner.task, run.classes
    longest = max((cell_len(visible(name, "")) for name in keys), default=0)
    with contextlib.ExitStack() as held:
        tellers = [printing.printer(task, key, longest, names, top)]
        if file:
            tellers.append(held.enter_context(output.writer(file, task, key, names)))
        for some, batch in batches:
            predicted = run.predict(batch)
            for told in tellers:
                told(some, predicted)


def _sound(files: Sequence[str], faults: dict[str, str]) -> list[str]:
    """Those whose header promises a picture; of the others why not, in `faults`."""
    found = []
    for file in files:
        try:
            image.check(file)
        except RequestError as error:
            faults[file] = str(error)
        else:
            found.append(file)
    return found


def _decoded(
    files: Sequence[str], shape: tuple[int, ...], faults: dict[str, str]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Their pictures uint8 of `shape` [H, W, C], BATCH at a time; why not, in `faults`."""
    for start in range(0, len(files), BATCH):
        keys, pictures = [], []
        for file in files[start : start + BATCH]:
            try:
                pictures.append(image.read(file, shape))
                keys.append(file)
            except RequestError as error:
                faults[file] = str(error)
        if keys:
            yield keys, np.stack(pictures)


def _described(faults: dict[str, str], files: Sequence[str]) -> str:
    """How many of the files, and of the first ones why, a line each."""
    reasons = [f"  {visible(reason, '')}" for reason in [*faults.values()][: inputs.SHOWN]]
    more = [f"  and {len(faults) - inputs.SHOWN:,} more"] * (len(faults) > inputs.SHOWN)
    count = f"{len(faults):,} of {len(files):,} pictures, which can't be read:"
    return "\n".join([count, *reasons, *more])


def _refused(faults: dict[str, str], files: Sequence[str]) -> RequestError:
    return RequestError(f"mend, or leave out by --skip_bad, {_described(faults, files)}")


def _shape(request: Request) -> tuple[int, ...]:
    """[H, W, C] of the run's pictures. Raises RequestError where it was not trained on any."""
    path = Path(request.place.run_dir)
    saved = record.read(path / "config.json", request.config)
    _, shape, dtype = record.inputs_of(path, saved.content)
    if len(shape) != 3 or shape[2] not in image.MODES or dtype != "uint8":
        raise RequestError(f"{path} was trained on {dtype} inputs of {shape}, which no image file "
                           "is: predict in Python, load(path).predict(inputs).")
    return shape
