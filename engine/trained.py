"""A run that was trained: what it left, and predictions of its model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from engine.augmentations import views
from engine.config import Config
from engine.disk import whereabouts
from engine.doors import computed, handed
from engine.errors import RequestError, tell
from engine.job.host import undisturbed
from engine.learners import threshold
from engine.learners.chosen import learner_of
from engine.learners.learner import Learner, jitted
from engine.report import notebook
from engine.scores import lost
from engine.sets import asking, values
from engine.sets.bundle import Bundle, Encoder
from engine.sets.columns import Columns, Features, taken_as_features
from engine.sets.tabular import is_frame
from engine.state import State
from engine.store import folder, record
from engine.store.checkpoint import restored
from engine.task import numbers

BATCH = 128  # examples that predict holds on the device at a time


@dataclass(frozen=True, eq=False)
class Run:
    """`history` has a row an epoch, `metrics` is metrics.json's content ({} of an unfinished run),
    `state` the best one, or as loaded, `classes` the names of classes, labels or numbers, `columns`
    what makes a table's features, or None."""

    path: Path
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    state: State = field(repr=False)
    learner: Learner = field(repr=False)
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    input_dtype: str
    columns: Encoder | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.absolute())  # wherever the process goes
        object.__setattr__(self, "history", notebook.History(self.history))

    def __fspath__(self) -> str:
        """A run stands for its folder: load(run), evaluate(run), fit(..., resume=run)."""
        return str(self.path)

    @undisturbed()
    def predict(self, inputs: Any, tta: str = "") -> np.ndarray:
        """Of each of `inputs` [N, ...], as the run was trained on them: all probabilities float32
        [N, C] (classes, labels), or the numbers [N, K]. A table's are a pandas DataFrame, several
        by their names a mapping, or what `columns.encode` made of either. `tta` names views of each
        picture, "flip", "shift" or both, over which predictions are averaged. Raises RequestError
        for other shapes or dtypes, NaN, whole numbers that float32 would round, and columns that
        are missing."""
        return self.predicted(asking.array("predict", self._encoded(inputs)), tta)

    def predicted(self, inputs: np.ndarray, tta: str = "") -> np.ndarray:
        """`predict` of arrays alone, of a table the features, whoever made them."""
        learner = views.seeing(self.learner, tta, self.input_shape)
        if inputs.shape[1:] != self.input_shape:
            wanted = f"({', '.join(map(str, ('N', *self.input_shape)))})"
            if isinstance(self.columns, Bundle):
                wanted = f"{self.columns}: give these by their names"
            raise RequestError(f"predict got inputs of shape {inputs.shape}: the run in "
                               f"{self.path} was trained on {wanted}.")
        if (inputs.dtype == np.uint8) != (self.input_dtype == "uint8"):
            raise RequestError(f"predict got {inputs.dtype} inputs: the run in {self.path} was "
                               f"trained on {self.input_dtype}, and only uint8 is scaled to 0..1.")
        made = values.numbers("predict", "inputs", inputs)
        handed.check(learner, made)
        size = min(BATCH, 1 << max(len(inputs) - 1, 0).bit_length())
        told = partial(jitted(learner, "predict"), self.state.model)
        found = in_batches(learner, told, made, size)
        if count := len(lost.rows(found)):
            tell(f"{count:,} of {len(found):,} predictions are no numbers: are the inputs of the "
                 "size of what was trained on, and codes among those that the network embeds?")
        return found

    def _encoded(self, inputs: Any) -> Any:
        if not is_frame(inputs) and not isinstance(inputs, Mapping):
            if isinstance(self.columns, Columns) and not isinstance(inputs, Features):
                tell(taken_as_features(self.path, "predict got an array", self.columns))
            return inputs
        if self.columns is None:
            raise RequestError(f"predict got a table or a mapping: {self.path} learned from "
                               f"{self.input_dtype} arrays of {self.input_shape}; give those.")
        return self.columns.encode(inputs)

    def __repr__(self) -> str:
        told = self.learner.task.line(self.metrics) if self.metrics else "not finished"
        return f"Run({str(whereabouts.told(self.path))!r}: {len(self.history)} epochs, {told})"

    def _repr_html_(self) -> str:
        return notebook.run(repr(self), numbers(self.metrics), self.history)


def in_batches(
    learner: Learner, predict: Callable[[np.ndarray], Any], inputs: np.ndarray, *sizes: int
) -> np.ndarray:
    """What is predicted of inputs [N, ...], each batch filled up to one of the rising `sizes`: of
    few sizes, so as to compile few programs. Where examples see each other, of all as they are."""
    found, sizes = [], (max(1, len(inputs)),) if learner.mixes else sizes
    for start in range(0, max(len(inputs), 1), sizes[-1]):
        batch = inputs[start : start + sizes[-1]]
        size = next(size for size in sizes if size >= len(batch))
        full = np.zeros((size, *batch.shape[1:]), batch.dtype)
        full[: len(batch)] = batch
        found.append(np.asarray(predict(full))[: len(batch)])
    return np.concatenate(found)


def loaded(path: Path, asked: Config | None, checkpoint: str) -> Run:
    """One run, of its folder; `asked` has what was an object in Python."""
    saved = record.read(path / "config.json", asked)
    config = saved.own(asked)
    saved.same_files(config)
    classes, shape, dtype = saved.inputs
    columns, metrics = folder.columns(path, saved.content), folder.metrics(path)
    learner = computed.apart(learner_of(config, len(classes), columns=columns), shape)
    learner = threshold.kept(learner, path, metrics)
    shapes = learner.shapes(saved.request.hyper, shape)
    state = restored(path, shapes, checkpoint, learner.task.higher)
    return Run(path, folder.history(path), metrics, jax.device_put(state), learner,
               classes, shape, dtype, columns)
