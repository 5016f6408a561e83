"""The finished runs of a sweep as one model: the mean of what each of them predicts."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from engine import trained
from engine.config import BROUGHT, Config, Reading
from engine.devices import mesh
from engine.disk import files, whereabouts
from engine.doors import bring
from engine.errors import RequestError, one_line, some
from engine.fields import plain
from engine.judging.judge import judge_of
from engine.optim.patience import AVERAGED
from engine.place import Place
from engine.report import notebook, settings
from engine.scores.inverse import inverts
from engine.scores.judged import Judged
from engine.store import folder, record
from engine.sweep import space
from engine.task import Task
from engine.trained import Run

FILE = folder.HOLDS["sweep"]
FINISHED = "done", "stopped"
SET = ("dataset", "train_split", "validation_split", "drop_unlabelled", *Reading._fields)


@dataclass(frozen=True, eq=False)
class Ensemble(Run):
    """The finished `runs` of a sweep, whose mean is predicted; else it is like the first of them,
    with no history or scores of its own."""

    runs: tuple[Run, ...] = ()

    def predicted(self, inputs: np.ndarray, tta: str = "") -> np.ndarray:
        """The mean of the runs' own: see `Run.predict`. Raises RequestError for a task that
        predicts whole numbers, such as classes, which have no mean."""
        first = self.runs[0].predicted(inputs, tta)
        if first.dtype.kind in "bui":
            raise RequestError(f"{self.path}: its runs predict {first.dtype}, of which a mean says "
                               "nothing: predict by one of them, or let the task's predict give "
                               "probabilities.")
        total_NxK = first.astype(np.float64)
        for run in self.runs[1:]:  # not all at once, which would grow with their number
            total_NxK += run.predicted(inputs, tta)
        return (total_NxK / len(self.runs)).astype(np.float32)

    def __repr__(self) -> str:
        return f"Ensemble({str(whereabouts.told(self.path))!r}: {len(self.runs)} runs)"

    def _repr_html_(self) -> str:
        return notebook.runs(repr(self), ((run.path.name, run.history[-1]) for run in self.runs))


def of(path: Path, best_of: int = 0) -> bool:
    """Whether the folder is a sweep's. Raises RequestError for a `best_of` that is no count, and
    where the folder isn't, and `best_of` is asked."""
    if not files.is_count(plain(best_of)):
        raise RequestError(f"--best_of {one_line(repr(best_of)):.40}: type a whole number, 1 or "
                           "more, or 0 for all.")
    if (path / FILE).exists():
        return True
    if best_of:
        raise RequestError(f"--best_of {best_of} is for a sweep's folder, and {path} holds none: "
                           "leave it out.")
    return False


def told(names: Iterable[Any]) -> str:
    """In words: how many runs, and which, by their numbers."""
    numbers = [str(name) for name in names]
    return f"ensemble of {len(numbers)} run{'s' * (len(numbers) > 1)}: {some(numbers)}"


def members(path: Path, best_of: int = 0, asked: Config | None = None) -> list[Path]:
    """The folders of a sweep's finished runs in their order, or of so many best by validation, best
    first. `asked` has what was an object. Raises RequestError where there are none, or fewer."""
    task = bring.task(asked or record.read(path / FILE).request.config)
    rows = [row for row in _results(path) if row["status"] in FINISHED]
    averaged = f"{AVERAGED}{task.score}"
    score = averaged if any(averaged in row for row in rows) else f"val_{task.score}"
    done = {row["run"]: float(row[score]) for row in rows if files.is_number(row.get(score))}
    if not done:
        raise RequestError(f"the sweep in {path} has no finished run: eval and predict average "
                           "those.")
    if best_of > len(done):
        raise RequestError(f"--best_of {best_of}: the sweep in {path} has {len(done)} finished "
                           f"run{'s' * (len(done) > 1)}: type {len(done)} or less.")
    sign = -1 if task.higher else 1
    numbers = sorted(done, key=lambda n: sign * done[n])[:best_of] if best_of else list(done)
    found = [path / str(number) for number in numbers]
    if gone := [str(run) for run in found if not (run / "checkpoints").is_dir()]:
        raise RequestError(f"the sweep in {path} keeps no weights of {', '.join(gone)}: put them "
                           "back, or average others, by --best_of.")
    return found


def _results(path: Path) -> list[dict[str, Any]]:
    """The rows of results.jsonl. Raises RequestError."""
    file = path / "results.jsonl"
    try:
        rows = [files.parsed(line) for line in files.read(file).splitlines()]
        for row in rows:
            if not files.is_count(row["run"]) or not files.is_text(row["status"]):
                raise ValueError(f"a row of run {row['run']!r:.40}")
        return rows
    except FileNotFoundError:
        asked = record.read(path / FILE).request.config
        raise RequestError(f"the sweep in {path} is not finished: go on with "
                           f"{settings.going_on('sweep', asked, path)}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{file} is not a sweep's: {error}.") from None


def loaded(path: Path, asked: Config | None, checkpoint: str, best_of: int) -> Ensemble:
    """A sweep's members as one; see `load`. Raises RequestError for some whose inputs,
    outputs or features are not the same."""
    said = _said(path, asked)
    if "choose_threshold" in said:
        space.refuse_threshold(said["choose_threshold"])
    runs = [trained.loaded(member, _own(member, asked, said), checkpoint)
            for member in members(path, best_of, asked)]
    first = runs[0]
    for run in runs:
        if (run.input_shape, run.input_dtype, run.classes) != (
                first.input_shape, first.input_dtype, first.classes):
            raise RequestError(f"{run.path} and {first.path} learned from other inputs, or other "
                               "classes: no ensemble is made of them.")
        if run.columns and first.columns and run.columns.digest != first.columns.digest:
            raise RequestError(f"{run.path} and {first.path} made features of their table by folds "
                               "of their own: no ensemble is made of them; name one of the two.")
    own = {f.name: getattr(first, f.name) for f in dataclasses.fields(Run)}
    return Ensemble(**own | {"path": path, "history": [], "metrics": {}}, runs=tuple(runs))


def _said(path: Path, asked: Config | None) -> dict[str, Any]:
    """What `asked` says otherwise than the sweep in `path` was begun, by its field."""
    saved = record.read(path / FILE, asked)
    now, before = saved.own(asked), saved.request.config
    return {f.name: getattr(now, f.name) for f in dataclasses.fields(now)
            if getattr(now, f.name) != getattr(before, f.name)}


def _own(member: Path, asked: Config | None, said: dict[str, Any]) -> Config | None:
    """A member's own, with what is `said` now, as a run of its own takes it; but for what judges
    it, and for a network, a task or an optimizer that it has by a word of its own."""
    if asked is None:
        return None
    own = record.read(member / "config.json", asked).request.config
    theirs = {*BROUGHT} - {*record.objects(own)}
    return dataclasses.replace(own, **{
        name: value for name, value in said.items() if name not in (*SET, *theirs)})


def evaluate(
    path: Path, data: Any, checkpoint: str, asked: Config | None, place: Place | None, tta: str,
    best_of: int,
) -> dict[str, Any]:
    """Scores of the mean of a sweep's members; see `evaluation.evaluate`."""
    runs = loaded(path, asked, checkpoint, best_of).runs
    before = record.read(path / FILE, asked).request
    said = {name: value for name, value in _said(path, asked).items() if name in SET}
    own = dataclasses.replace(runs[0].learner.config, **said)
    judge = judge_of(runs[0].path, data, own, place or before.place, tta)
    split = judge.facts["split"]
    if len({run.learner.config.validation_split for run in runs}) > 1 and "/" in split:
        raise RequestError(f"the runs of {path} have folds of their own, so that no example judges "
                           "all of them: give the set a split test, or judge on another set, by "
                           "--dataset or --validation_split.")

    def found(run: Run) -> Judged:
        learner: Any = run.learner
        if learner.traced:
            learner = dataclasses.replace(learner, spread=judge.learner.spread)
        variables = run.state.model
        return judge.found(learner, mesh.put(variables, judge.where(variables)))

    task = judge.learner.task
    scores = task.summarise(together(task, map(found, runs)), judge.names) | judge.facts
    scores |= {"checkpoint": checkpoint, "runs": [int(run.path.name) for run in runs]}
    return scores | ({"tta": tta} if tta else {})


def together(task: Task, found: Iterator[Judged]) -> Judged:
    """What the mean of models predicts of examples that each was judged on, and its sums; of one
    model its own. Raises RequestError for a task that can't tell which outputs would have been
    these."""
    first, count = next(found), 1
    total = np.float64(0) + first.predicted
    for one in found:  # not all at once, which would grow with their number
        total, count = total + one.predicted, count + 1
    if count == 1:
        return first
    predicted = np.asarray(total / count, np.float32)
    name = type(task).__name__
    instead = " Give it outputs(predicted), the inverse of its predict."
    with bring.telling(f"an ensemble of {name} can't be judged", instead):
        back, sums = _judged(task, predicted, first.targets)
    if not inverts(back, predicted):
        raise RequestError(f"an ensemble of {name} can't be judged, since its "
                           "predict has no inverse: give it outputs(predicted).")
    return Judged(jax.device_get(sums), predicted, first.targets, first.inputs)


@partial(jax.jit, static_argnums=0)
def _judged(task: Task, predicted: jax.Array, targets: jax.Array) -> tuple[Any, Any]:
    """What the task predicts of the outputs that stand for `predicted`, and their sums."""
    outputs = task.outputs(predicted)
    return task.predict(outputs), task.judge(outputs, targets, jnp.ones(len(predicted), bool))
