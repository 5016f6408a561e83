"""What judges a run again, from its folder: the set of its own, or another."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from engine.augmentations import views
from engine.config import Config, Reading
from engine.data import validation_of
from engine.devices import mesh
from engine.doors import computed, handed
from engine.errors import RequestError, tell
from engine.feed import Data
from engine.job import processes
from engine.job.host import Host, begin
from engine.judging import verdict
from engine.learners.chosen import learner_of, spread_of
from engine.learners.learner import Learner
from engine.objects.given import inputs_of
from engine.parts import other
from engine.parts.reading import load
from engine.pictures import masks
from engine.place import Place
from engine.request import Request
from engine.scores.judged import Judged
from engine.sets import names, splits
from engine.sets.bundle import Bundle, Encoder
from engine.sets.columns import Columns, Features, taken_as_features
from engine.sets.dataset import Dataset
from engine.settling import settle
from engine.state import State
from engine.store import checkpoint, folder, record
from engine.store.record import Saved
from engine.stream import choice


class Judge(NamedTuple):
    """What judges a run's state: its learner, and the names of what that tells; its arrays'
    `shapes` and `where` they lie; a function of a learner and its variables, and what scores say
    besides."""

    learner: Any  # a Learner
    names: tuple[str, ...]
    shapes: State
    where: Callable[[Any], Any]
    found: Callable[[Learner, Any], Judged]
    facts: dict[str, Any]


def judge_of(
    path: Path, data: Any, asked: Config | None, place: Place | None, tta: str = ""
) -> Judge:
    """What judges the run in the folder `path`: see `evaluate`."""
    saved = record.read(path / "config.json", asked)
    config, place = saved.own(asked), place or saved.request.place
    saved.same_files(config)
    columns = folder.columns(path, saved.content)
    before = saved.request.config
    vain = names.unused(config.dataset, before.reading)  # what its own set alone could heed
    config = dataclasses.replace(config, **{
        name: getattr(Reading(), name) for name, value in vain.items()
        if getattr(config, name) == value})
    elsewhere = data is None and config.dataset != before.dataset
    pictures = not names.unused(config.dataset, Reading(image_size=1))
    if elsewhere and asked and pictures:
        config = dataclasses.replace(config, image_size=config.image_size or _side(saved),
                                     labels=asked.labels and config.labels)  # not of its own set
    request = saved.request._replace(config=config, place=place, data=data)
    host = begin(place, stderr=True, quiet=data is not None)
    with processes.naming_the_lost(), processes.agreeing():
        target = other.target_of(path, config, saved.names("target") if elsewhere else ())
        request, dataset = load(request._replace(
            config=dataclasses.replace(config, target=target)), host, columns)
        request = request._replace(  # as it was asked for
            config=dataclasses.replace(request.config, target=config.target))
        if dataset.is_table and columns is None:
            raise RequestError(f"the run in {path} learned from arrays, and {dataset.name} is a "
                               "table: give arrays, such as table.to_numpy().")
        if isinstance(columns, Columns) and data is not None and not (
                dataset.is_table or all(isinstance(x, Features) for x in inputs_of(data))):
            tell(taken_as_features(path, "evaluate got arrays", columns))
        bundle = columns if isinstance(columns, Bundle) else None
        if dataset.bundle != bundle:
            learned = bundle or ("a table" if columns else "one array")
            raise RequestError(f"{dataset.name} has {dataset.bundle or 'one array'} as inputs, and "
                               f"the run in {path} learned from {learned}: give it that.")
        if own := dataset.fingerprint == saved.content.get("fingerprint"):
            saved.same_draw(config.validation_split)
            _refuse_another_part(path, dataset, config, before)
        return (_on_own(request, dataset, host, columns, tta) if own else
                _on_other(path, saved, request, dataset, host, columns, tta))


def _refuse_another_part(path: Path, dataset: Dataset, asked: Config, before: Config) -> None:
    """Raises RequestError for another share of a run's own set than it held out."""
    text = validation_of(dataset, asked.parts)
    if splits.held_out(text) is None:
        return
    group = asked.group if dataset.groups else ""
    own = f"the run in {path} held {validation_of(dataset, before.parts)} of " \
          f"{before.parts.train} out"
    if asked.parts != before.parts:
        raise RequestError(f"--validation_split {text} of {asked.parts.train}: {own}, and another "
                           "part holds what it was trained on: leave the flag out, or name a "
                           "split.")
    if group != before.group:
        was, now = (f"by groups of {name!r}" if name else "without groups"
                    for name in (before.group, group))
        give = "give the run's own table" if asked.group == before.group else \
            f"type {record.flag('group', before.group) if before.group else 'no --group'}"
        raise RequestError(f"{asked.dataset} is read {now}: {own} {was}, and another part holds "
                           f"what it was trained on: {give}, or name a split.")


def restored(path: Path, by: Judge, learner: Learner, which: str) -> tuple[State, Judged]:
    """The state of a checkpoint of the run in `path`, and what it says of the judge's examples."""
    with processes.naming_the_lost():
        state = checkpoint.restored(path, by.shapes, which, learner.task.higher)
        return state, by.found(learner, mesh.put(state.model, by.where(state.model)))


def _side(saved: Saved) -> int:
    """To which another set's pictures are resized: the side of a run's that are square, else 0."""
    _, shape, dtype = saved.inputs
    square = len(shape) == 3 and shape[0] == shape[1] and dtype == "uint8"
    return shape[0] if square else 0


def _on_own(
    request: Request, dataset: Dataset, host: Host, columns: Encoder | None, tta: str
) -> Judge:
    """On what judged the run after its training."""
    # Nothing is trained, so that no batch is too large; and devices need not share one.
    config = dataclasses.replace(request.config, batch_size=1, microbatch=0)
    ready = settle(request._replace(config=config), dataset, host,
                   spread_of(request, host), columns)
    name, subset = verdict.held_for_evaluation(ready)

    def found(learner: Learner, variables: Any) -> Judged:
        seeing = views.seeing(learner, tta, ready.data.train.input_shape)
        return verdict.found(ready._replace(learner=seeing), variables, subset)

    return Judge(ready.learner, ready.dataset.classes, ready.state_shapes, ready.where, found,
                 {"split": name})


def _on_other(
    path: Path, saved: Saved, request: Request, dataset: Dataset, host: Host,
    columns: Encoder | None, tta: str,
) -> Judge:
    """On another set, or on the run's own where that has changed since."""
    asked, before = request.config, saved.request.config
    classes, shape, dtype = saved.inputs
    split = other.split_of(dataset, asked.validation_split,
                           asked.validation_split != before.validation_split)
    trained = splits.named(split, dataset.splits) & splits.named(before.train_split, dataset.splits)
    if request.data is None and asked.dataset == before.dataset and trained:
        flags = record.read_otherwise(saved.request, request)
        why = f"is read by {flags}, which is not how the run in {path} read it (leave that out)" \
            if flags else f"has changed since the run in {path} began"
        raise RequestError(
            f"{asked.dataset} {why}, so that nobody knows what of it was trained on: judge on "
            "another split or set, by --validation_split or --dataset.")
    dataset = masks.as_learned(dataset, saved.content.get("data", {}).get("notes", ()))
    found = other.examples(dataset, asked.parts._replace(validation=split), classes, shape, dtype,
                           columns, saved.names("pixels"))
    for note in (*dataset.notes, *found.notes):
        host.console.print(note)
    spread = spread_of(request, host)
    learner = computed.apart(learner_of(asked, len(classes), spread, columns), shape)
    everywhere = mesh.everywhere(spread.mesh, host.device)
    workers = None
    if reason := choice.why(request.place, Data(found.subset, found.subset, 0), host.device):
        workers = choice.readers(learner, request.place, found.subset.split.inputs, dataset.name,
                                 reason)
        host.console.print(f"stream: {reason}")
    handed.check(learner, found.subset.split.inputs)
    subset = found.subset if reason else mesh.put(found.subset, everywhere)

    def told(own: Learner, variables: Any) -> Judged:
        seeing = views.seeing(own, tta, shape)
        return verdict.found_by(seeing, variables, subset, everywhere, host.console, workers)

    return Judge(
        learner, classes, learner.shapes(saved.request.hyper, shape),
        partial(spread.shardings, device=host.device), told,
        {"split": split, "left_out": found.left_out})
