"""Scores of a trained model: after its training, and again from a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from engine.config import Config
from engine.data import Subset, held_out, named, whole
from engine.devices import mesh
from engine.job import processes
from engine.job.host import begin
from engine.place import Place
from engine.request import Request
from engine.setup import Setup, load, of_objects, settle
from engine.store import record
from engine.store.checkpoint import Checkpoints
from engine.stream import judging
from engine.task import Judged


def has_own_test(ready: Setup) -> bool:
    """Whether there is a split named test that training leaves alone."""
    splits, trained = ready.dataset.splits, named(ready.dataset, ready.config.train_split)
    return "test" in splits and trained.split is not splits["test"]


def held_for_evaluation(ready: Setup) -> tuple[str, Subset]:
    """What judges the model: the validation split named by the user; for a part of the training
    split, a split named test where training left it alone, else that part. It is on the device, or
    of a streamed set on the host.
    """
    name, splits = ready.config.validation_split, ready.dataset.splits
    validation = ready.data.validation
    if ready.stream:
        validation = ready.stream.on_host(validation)
    if held_out(name) is None:
        return name, validation
    if has_own_test(ready):
        test = whole(splits["test"])
        return "test", test if ready.stream else mesh.put(test, ready.everywhere)
    return f"validation ({name} of {ready.config.train_split})", validation


def judged(
    ready: Setup, variables: Any, evaluate: Callable[..., Any] | None = None
) -> tuple[dict[str, Any], Judged]:
    """metrics.json's scores, and what they are of. `evaluate` is compiled for the validation
    examples already, where a run was trained."""
    name, subset = held_for_evaluation(ready)
    if ready.stream:
        sums, predicted = judging.judged(ready, ready.stream, variables, subset)
    else:
        if evaluate is None or subset is not ready.data.validation:
            evaluate = jax.jit(ready.learner.evaluate)
        sums = evaluate(variables=variables, subset=subset)
        inputs = subset.split.inputs[subset.rows]
        predicted = jax.jit(ready.learner.predict)(variables, inputs)
    rows, inputs = np.asarray(subset.rows), subset.split.inputs
    sums, predicted = jax.device_get((sums, predicted))
    found = Judged(sums, predicted, np.asarray(subset.split.targets)[rows],
                   lambda which: np.asarray(inputs[rows[which]]))
    return ready.task.summarise(found, ready.dataset.classes) | {"split": name}, found


def evaluate(
    run: str | Path, data: Any = None, checkpoint: str = "last", config: Config | None = None,
    place: Place | None = None,
) -> dict[str, Any]:
    """Scores of the `last` or `best` checkpoint of the run in the folder `run`, as metrics.json has
    them. `data` as `fit` takes it, where the run had objects; `config` where its own can't be read
    again, since its network was one. Raises RequestError where there is nothing to judge."""
    saved = record.read(Path(run) / "config.json", config)
    config, place = config or saved.request.config, place or saved.request.place
    record.same_files(Path(run), config, saved.content)
    request = saved.request._replace(config=config, place=place, data=data)
    host = begin(place, stderr=True, quiet=data is not None)
    with processes.naming_the_lost(), processes.agreeing():
        dataset = load(request, host)
        request = of_objects(request, dataset, host)
        # Over every device, which need not share a training batch.
        ready = settle(request, dataset, host, host.spread(place.fsdp))
    with processes.naming_the_lost():
        with Checkpoints(Path(run) / "checkpoints", ready.task.higher, read_only=True) as kept:
            state, _ = kept.restore(ready.state_shapes, checkpoint)
        scores, _ = judged(ready, mesh.put(state.variables, ready.where(state.variables)))
    return scores | {"checkpoint": checkpoint, "step": int(state.step)}


def tell(request: Request, checkpoint: str) -> None:
    """`evaluate` the run in the request's folder, printed as JSON."""
    config, _, place, data = request
    scores = evaluate(place.run_dir, data, checkpoint, config, place)
    if processes.first_process():
        print(json.dumps(scores, indent=2))
