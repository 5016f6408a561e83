"""Scores of a trained model: after its training, and again from a checkpoint."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from engine import mesh, record
from engine.checkpoint import Checkpoints
from engine.config import Config, held_out
from engine.data import Subset, named, whole
from engine.host import begin
from engine.job import processes
from engine.place import Place
from engine.setup import Setup, load, of_objects, settle
from engine.sources.dataset import Dataset
from engine.task import Judged


def has_own_test(config: Config, dataset: Dataset) -> bool:
    """Whether there is a split named test that training leaves alone."""
    splits = dataset.splits
    return "test" in splits and named(dataset, config.train_split).split is not splits["test"]


def held_for_evaluation(ready: Setup) -> tuple[str, Subset]:
    """What judges the model: the validation split named by the user; for a part of the training
    split, a split named test where training left it alone, else that part.
    """
    name, splits = ready.config.validation_split, ready.dataset.splits
    if held_out(name) is None:
        return name, ready.data.validation
    if has_own_test(ready.config, ready.dataset):
        return "test", mesh.put(whole(splits["test"]), ready.everywhere)
    return f"validation ({name} of {ready.config.train_split})", ready.data.validation


def judged(ready: Setup, variables: Any) -> tuple[dict[str, Any], Judged]:
    """metrics.json's scores, and what they are of."""
    name, subset = held_for_evaluation(ready)
    sums = jax.jit(ready.learner.evaluate)(variables, subset)
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
    config = config or saved.config
    record.same_files(Path(run), config, saved.content)
    host = begin(place or saved.place, stderr=True, quiet=data is not None)
    with processes.naming_the_lost(), processes.agreeing():
        dataset = load(config, host, data)
        if data is not None:
            config = of_objects(config, dataset, host)
        # Over every device, which need not share a training batch.
        ready = settle(config, saved.hyper, dataset, host, host.spread())
    with processes.naming_the_lost():
        with Checkpoints(Path(run) / "checkpoints", ready.task.higher, read_only=True) as kept:
            state, _ = kept.restore(ready.state_shapes, checkpoint)
        scores, _ = judged(ready, mesh.put(state.variables, ready.where(state.variables)))
    return scores | {"checkpoint": checkpoint, "step": int(state.step)}


def tell(run: str, checkpoint: str, config: Config, place: Place, data: Any = None) -> None:
    """`evaluate`, printed as JSON."""
    scores = evaluate(run, data, checkpoint, config=config, place=place)
    if processes.first_process():
        print(json.dumps(scores, indent=2))
