"""Scores of a trained model: after its training, and again from a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from engine.config import Config
from engine.data import Subset
from engine.devices import mesh
from engine.errors import RequestError
from engine.job import processes
from engine.job.host import begin
from engine.place import Place
from engine.request import Request
from engine.setup import Setup, load, settle
from engine.store import folder, record
from engine.store.checkpoint import Checkpoints
from engine.task import Judged


def held_for_evaluation(ready: Setup) -> tuple[str, Subset]:
    """The name and the examples, on the device, of what judges the model."""
    if ready.judged is None:
        return ready.judges, ready.data.validation
    return ready.judges, mesh.put(ready.judged, ready.everywhere)


def judged(
    ready: Setup, variables: Any, evaluate: Callable[..., Any] | None = None
) -> tuple[dict[str, Any], Judged]:
    """metrics.json's scores, and what they are of. `evaluate` is compiled for the validation
    examples already, where a run was trained."""
    name, subset = held_for_evaluation(ready)
    if evaluate is None or subset is not ready.data.validation:
        evaluate = jax.jit(ready.learner.evaluate)
    sums = evaluate(variables=variables, subset=subset)
    inputs = subset.split.inputs[subset.rows]
    predicted = jax.device_get(jax.jit(ready.learner.predict)(variables, inputs))
    rows = np.asarray(subset.rows)
    found = Judged(jax.device_get(sums), predicted, np.asarray(subset.split.targets)[rows],
                   lambda which: np.asarray(inputs[which]))
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
    record.same_draw(Path(run), config, saved.content)
    columns = folder.columns(Path(run), saved.content)
    request = saved.request._replace(config=config, place=place, data=data)
    host = begin(place, stderr=True, quiet=data is not None)
    with processes.naming_the_lost(), processes.agreeing():
        request, dataset = load(request, host)
        if dataset.is_table and columns is None:
            raise RequestError(f"the run in {run} learned from arrays, and {dataset.name} is a "
                               "table: give arrays, such as table.to_numpy().")
        # Over every device, which need not share a training batch.
        ready = settle(request, dataset, host, host.spread(place.fsdp), columns)
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
