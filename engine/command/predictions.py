"""What a run says of pictures, or of the rows of a table, however many there are."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.cells import cell_len

from engine.augmentations import views
from engine.command import inputs, masks, output, printing
from engine.command.pictures import Pictures
from engine.devices import choose
from engine.doors import bring
from engine.errors import RequestError, visible
from engine.errors import tell as say
from engine.job.host import compute_on
from engine.learners import threshold
from engine.loaded import load
from engine.request import Request
from engine.sets import image
from engine.sets.bundle import Bundle
from engine.store import folder, record
from engine.sweep import ensembles
from engine.trained import BATCH, Run

Batches = Iterable[tuple[Sequence[str], np.ndarray]]  # keys and inputs of BATCH examples at most


def tell(
    request: Request, checkpoint: str, words: Sequence[str], top: int = 0, file: str = "",
    tta: str = "", best_of: int = 0,
) -> None:
    """Print what the run says of what `words` name, by the views of `tta`, of each the `top`
    likeliest classes if that is not 0, and write all of it to `file` if that is given; with BATCH
    examples in memory at most.

    What is wrong with the words, a table or a picture's header is told before anything is computed.
    Raises RequestError.
    """
    views.words_of(tta)
    path, config = Path(request.place.run_dir), request.config
    several = ensembles.of(path, best_of)
    first = ensembles.members(path, best_of, config)[0] if several else path
    saved = record.read(first / "config.json", config)
    _, shape, dtype = saved.inputs
    columns = folder.columns(first, saved.content)
    if isinstance(columns, Bundle):
        raise RequestError(f"{path} learned from inputs by their names, {columns}, which no file "
                           "is: predict in Python, load(path).predict({...}).")
    files = inputs.files(words, columns is not None)
    of_pixels = bring.task(saved.request.config).kind == "positions"
    if file:
        (masks if of_pixels else output).check(file, files)
    tabular = columns is not None or inputs.has_tables(files)
    if not columns:
        _check_pictures(path, shape, dtype, tabular)
    if tabular:
        from engine.command.rows import Rows  # late: it imports pandas

        given: Rows | Pictures = Rows(files, config.reading, shape, dtype, columns,
                                      saved.names("pixels"), saved.names("target"))
    else:
        given = Pictures(files, shape, config.reading)
    compute_on(choose.choose(request.place.device).device, request.place.compile_cache)
    run = load(path, config, checkpoint, best_of)
    if isinstance(run, ensembles.Ensemble):
        say(ensembles.told(one.path.name for one in run.runs))
    elif run.learner.config.choose_threshold != threshold.OFF and run.metrics:
        say(threshold.told(run.metrics))
    if top and (kind := run.learner.task.kind) in ("numbers", "positions"):
        raise RequestError(f"--top {top}: {path} predicts {kind}, of which none is likelier than "
                           "another: leave it out.")
    if run.state.average:
        say(f"the averaged weights of {path}'s {checkpoint} checkpoint predict")
    views.seeing(run.learner, tta, shape)  # which may refuse it, before anything is written
    _predict(run, given.key, given.keys, given.batches(BATCH), top, file, tta)


def _predict(
    run: Run, key: str, keys: Sequence[str], batches: Batches, top: int, file: str, tta: str
) -> None:
    """Print, and write to `file`, the predictions of `batches` as they come."""
    task, names = run.learner.task, run.classes
    longest = max((cell_len(visible(name, "")) for name in keys), default=0)
    with contextlib.ExitStack() as held:
        show = printing.printer(task, key, longest, names, top)
        kept: list[output.Teller] = []
        if file and task.kind == "positions":
            kept.append(masks.writer(file, names))
        elif file:
            kept.append(held.enter_context(output.writer(file, task, key, names)))
        for some, batch in batches:
            predicted = output.named(run, run.predicted(np.asarray(batch), tta))
            with contextlib.suppress(*[BrokenPipeError] * bool(file)):  # of `| head`
                show(some, predicted)
            for add in kept:
                add(some, predicted)


def _check_pictures(path: Path, shape: tuple[int, ...], dtype: str, tabular: bool) -> None:
    """Raises RequestError where the run in `path` was not trained on pictures: uint8, or those of a
    table, which may have fractions."""
    if len(shape) != 3 or shape[2] not in image.MODES or dtype != "uint8" and not tabular:
        raise RequestError(f"{path} was trained on {dtype} inputs of {shape}, which no image file "
                           "is: predict in Python, load(path).predict(inputs).")
