"""Scores of a trained model: after its training, and again from a checkpoint."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from engine.augmentations import views
from engine.config import Config
from engine.data import Subset
from engine.devices import mesh
from engine.errors import RequestError
from engine.job import processes
from engine.job.host import Host, begin
from engine.learners.learner import Learner, jitted
from engine.parts import other
from engine.place import Place
from engine.request import Request
from engine.setup import Setup, learner_of, load, settle, spread_of
from engine.sources.columns import Columns
from engine.sources.dataset import Dataset
from engine.state import State
from engine.store import folder, record
from engine.store.checkpoint import Checkpoints
from engine.store.record import Saved
from engine.stream import judging
from engine.task import Judged, Task
from engine.trained import shapes_of


def held_for_evaluation(ready: Setup) -> tuple[str, Subset]:
    """The name and the examples of what judges the model, on the device, or of a streamed set on
    the host."""
    if ready.judged is None:
        subset = ready.data.validation
        return ready.judges, ready.stream.on_host(subset) if ready.stream else subset
    return ready.judges, ready.judged if ready.stream else mesh.put(ready.judged, ready.everywhere)


def judged(
    ready: Setup, variables: Any, evaluate: Callable[..., Any] | None = None
) -> tuple[dict[str, Any], Judged]:
    """metrics.json's scores, and what they are of. `evaluate` is compiled for the validation
    examples already, where a run was trained."""
    name, subset = held_for_evaluation(ready)
    if ready.stream:
        found = judging.judged(ready, ready.stream, variables, subset)
    else:
        if evaluate is None or subset is not ready.data.validation:
            evaluate = jitted(ready.learner, ready.learner.evaluate)
        found = _judged(ready.learner, variables, subset, evaluate)
    return ready.task.summarise(found, ready.dataset.classes) | {"split": name}, found


def _judged(
    learner: Learner, variables: Any, subset: Subset, evaluate: Callable[..., Any]
) -> Judged:
    sums = evaluate(variables=variables, subset=subset)
    inputs = subset.split.inputs[subset.rows]
    predicted = jax.device_get(jitted(learner, learner.predict)(variables, inputs))
    return Judged(jax.device_get(sums), predicted, subset.targets,
                  lambda which: np.asarray(inputs[which]))


class Judge(NamedTuple):
    """What scores a run's state: its arrays' `shapes`, `where` they lie, and a function of its
    variables."""

    task: Task
    shapes: State
    where: Callable[[Any], Any]
    scores: Callable[[Any], dict[str, Any]]


def evaluate(
    run: str | Path, data: Any = None, checkpoint: str = "best", config: Config | None = None,
    place: Place | None = None, tta: str = "",
) -> dict[str, Any]:
    """Scores of the `best` checkpoint by validation, or the `last`, of the run in the folder `run`,
    as metrics.json has them. `data` as `fit` takes it, where the run had objects; `config` where
    its own can't be read again, since its network was one.

    The classes of another set than the run's are found by their names: examples of those that the
    run doesn't know are counted in `left_out`, and not scored. `tta` names views of each picture,
    "flip", "shift" or both, over which predictions are averaged. Raises RequestError where there is
    nothing to judge."""
    path = Path(run)
    views.words_of(tta)
    saved = record.read(path / "config.json", config)
    config, place = config or saved.request.config, place or saved.request.place
    record.same_files(path, config, saved.content)
    columns = folder.columns(path, saved.content)
    if data is None and config.dataset != saved.request.config.dataset:
        config = dataclasses.replace(config, image_size=config.image_size or _side(path, saved))
    request = saved.request._replace(config=config, place=place, data=data)
    host = begin(place, stderr=True, quiet=data is not None)
    with processes.naming_the_lost(), processes.agreeing():
        request, dataset = load(request, host)
        if dataset.is_table and columns is None:
            raise RequestError(f"the run in {run} learned from arrays, and {dataset.name} is a "
                               "table: give arrays, such as table.to_numpy().")
        if own := dataset.fingerprint == saved.content.get("fingerprint"):
            record.same_draw(path, config.validation_split, saved.content)
        judge = (_on_own(request, dataset, host, columns, tta) if own else
                 _on_other(path, saved, request, dataset, host, columns, tta))
    with processes.naming_the_lost():
        with Checkpoints(path / "checkpoints", judge.task.higher, read_only=True) as kept:
            state, _ = kept.restore(judge.shapes, checkpoint)
        scores = judge.scores(mesh.put(state.model, judge.where(state.model)))
    told = {"checkpoint": checkpoint, "step": int(state.step)}
    told |= ({"weights": "averaged"} if state.average else {}) | ({"tta": tta} if tta else {})
    return scores | told


def _side(path: Path, saved: Saved) -> int:
    """To which another set's pictures are resized: the side of a run's that are square, else 0."""
    _, shape, dtype = record.inputs_of(path, saved.content)
    square = len(shape) == 3 and shape[0] == shape[1] and dtype == "uint8"
    return shape[0] if square else 0


def _on_own(
    request: Request, dataset: Dataset, host: Host, columns: Columns | None, tta: str
) -> Judge:
    """On what judged the run after its training."""
    # Nothing is trained, so that no batch is too large; and devices need not share one.
    config = dataclasses.replace(request.config, batch_size=1, microbatch=0)
    ready = settle(request._replace(config=config), dataset, host,
                   spread_of(request, host), columns)
    seeing = ready._replace(
        learner=views.seeing(ready.learner, tta, ready.data.train.input_shape))
    return Judge(ready.task, ready.state_shapes, ready.where,
                 lambda variables: judged(seeing, variables)[0])


def _on_other(
    path: Path, saved: Saved, request: Request, dataset: Dataset, host: Host,
    columns: Columns | None, tta: str,
) -> Judge:
    """On another set, or on the run's own where that has changed since."""
    asked, before = request.config, saved.request.config
    classes, shape, dtype = record.inputs_of(path, saved.content)
    split = other.split_of(dataset, asked.validation_split,
                           asked.validation_split != before.validation_split)
    if request.data is None and asked.dataset == before.dataset and split == before.train_split:
        raise RequestError(
            f"{asked.dataset} has changed since the run in {path} began, so that nobody knows what "
            "of it was trained on: judge on another split or set, by --validation_split or "
            "--dataset.")
    found = other.examples(dataset, asked.parts._replace(validation=split), classes, shape, dtype,
                           columns)
    for note in (*dataset.notes, *found.notes):
        host.console.print(note)
    spread = spread_of(request, host)
    learner = learner_of(asked, len(classes), spread, columns)
    everywhere = mesh.everywhere(spread.mesh if spread else None, host.device)
    subset = mesh.put(found.subset, everywhere)
    seeing = views.seeing(learner, tta, shape)

    def scores(variables: Any) -> dict[str, Any]:
        told = _judged(seeing, variables, subset, jitted(seeing, seeing.evaluate))
        return learner.task.summarise(told, classes) | {"split": split, "left_out": found.left_out}

    return Judge(learner.task, shapes_of(learner, saved.request.hyper, shape),
                 spread.shardings if spread else lambda _: everywhere, scores)
