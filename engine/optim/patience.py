"""What waits for a score to get better: early stopping, and a rate that drops on a plateau."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.devices import mesh
from engine.errors import RequestError, unknown
from engine.optim.lengths import Durations
from engine.optim.schedules import FACTOR
from engine.state import State
from engine.task import Task

AVERAGED = "val_averaged_"


class Monitor(NamedTuple):
    """A score of the history, and whether more of it is better."""

    name: str
    higher: bool

    @property
    def metric(self) -> str:
        """Its name without the split that it is measured on."""
        return self.name.removeprefix("val_")

    @property
    def words(self) -> str:
        """As a plot's label."""
        return ("validation " * self.name.startswith("val_") + self.metric).replace("_", " ")

    @property
    def worst(self) -> np.float32:
        return np.float32(-np.inf if self.higher else np.inf)

    def better(self, value: Any, best: Any, min_delta: float = 0.0) -> Any:
        """Whether a value is better than the best by more than `min_delta`, in float32."""
        delta = np.float32(min_delta)
        return value > best + delta if self.higher else value < best - delta


def ranking(task: Task, averaged: bool) -> Monitor:
    """What ranks checkpoints and runs: the task's score of the validation examples, by the
    averaged weights where a run keeps them."""
    return Monitor(f"{AVERAGED if averaged else 'val_'}{task.score}", task.higher)


def monitor(task: Task, name: str, averaged: bool) -> Monitor:
    """A score by its name in history.jsonl; what ranks checkpoints where that is "". Raises
    RequestError for an unknown one, and where nobody says whether more of it is better."""
    if not name:
        return ranking(task, averaged)
    plain = task.score, "loss", *task.gains, *task.errors
    row = dict.fromkeys(plain)
    if not task.any_outputs:
        with contextlib.suppress(Exception):  # of a user's scores, which want as many as there are
            row = jax.eval_shape(lambda: task.row(task.zeros(2)))
    splits = ("", "val_", AVERAGED) if averaged else ("", "val_")
    known = {f"{split}{score}": score for split in splits for score in row}
    if name.removeprefix("val_") in task.ranks and name not in known:
        raise RequestError(f"--monitor {name}: it is counted where it ranks; type --rank_by "
                           f"{name.removeprefix('val_')}, which is watched then too.")
    if name not in known:
        raise unknown("score to --monitor", name, known)
    score = known[name]
    if score not in plain:
        raise RequestError(f"--monitor {name}: nobody says whether more of it is better; type one "
                           f"of {', '.join(k for k, v in known.items() if v in plain)}.")
    return Monitor(name, score in task.gains or score == task.score and task.higher)


class Watch(NamedTuple):
    """The best value so far, float32, and the step of it, int32."""

    best: Any
    since: Any


def stops(
    values: Iterable[float], epoch: int, watched: Monitor, patience: int, min_delta: float
) -> str:
    """Why a run of these values, one an epoch of so many updates, stops after the last: it was
    `patience` updates ago, or more, that one was better than all before it. "" where it goes on."""
    best, since, number = watched.worst, 0, 0
    for number, value in enumerate(map(np.float32, values), 1):
        if watched.better(value, best, min_delta):
            best, since = value, number
    if not number or (number - since) * epoch < patience:
        return ""
    return f"{watched.name} has not been better than {best:.4g}, of epoch {since}"


def stopping(
    epoch: Callable, watched: Monitor, patience: int, min_delta: float
) -> tuple[Callable, Watch]:
    """The scan's `epoch` of states as one of pairs of state and Watch, which `stops` after the same
    epoch: then the state stays, and the rows are NaN. And the Watch to begin with."""
    def one(carry: Any, _: Any) -> Any:
        state, watch = carry

        def go_on(carry):
            state, watch = carry
            state, row = epoch(state, None)
            value = row[watched.name]
            better = watched.better(value, watch.best, min_delta)
            return (state, Watch(jnp.where(better, value, watch.best),
                                 jnp.where(better, state.step, watch.since))), row

        def stay(carry):
            _, row = jax.eval_shape(go_on, carry)
            return carry, jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), row)

        over = state.step - watch.since >= patience
        return jax.lax.cond(over, stay, go_on, carry)

    return one, Watch(jnp.float32(watched.worst), jnp.int32(0))


class Plateau(NamedTuple):
    """What the rate is multiplied by, float32; the best score so far, and the step of it or of the
    last drop."""

    scale: Array
    best: Array
    since: Array


def level(watched: Monitor) -> Plateau:
    """Before the first epoch."""
    return Plateau(jnp.float32(1.0), jnp.float32(watched.worst), jnp.int32(0))


def dropped(hyper: Any, plateau: Any) -> Any:
    """`hyper` with the learning rate that a plateau leaves of it."""
    return hyper._replace(learning_rate=hyper.learning_rate * plateau.scale) if plateau else hyper


def heard(
    learner: Any, hyper: Any, lengths: Durations, state: State, row: dict[str, Any]
) -> State:
    """The state after an epoch whose scores are `row`: where none was better for
    `plateau_patience`, the rate is multiplied by the drop_factor, and the wait begins anew, as in
    Keras's ReduceLROnPlateau."""
    if not state.plateau:
        return state
    watched, plateau, step = learner.monitor(hyper), state.plateau, state.step
    value = jnp.float32(row[watched.name])
    factor = jnp.float32(FACTOR if hyper.drop_factor is None else hyper.drop_factor)
    better = watched.better(value, plateau.best)
    since = jnp.where(better, step, plateau.since)
    due = step - since >= lengths.plateau_patience
    return state._replace(plateau=Plateau(
        jnp.where(due, plateau.scale * factor, plateau.scale),
        jnp.where(better, value, plateau.best), jnp.where(due, step, since)))


def lowered(
    learner: Any, hyper: Any, lengths: Durations, state: State, row: dict[str, Any]
) -> State:
    """What is `heard` between segments: of arrays on the host, or of many runs at once [R]."""
    if not state.plateau:
        return state
    hyper, step, plateau = jax.device_get((hyper, state.step, state.plateau))
    given = state._replace(step=step, plateau=plateau)
    found = heard(learner, hyper, lengths, given, row).plateau
    where = jax.tree.map(lambda x: x.sharding, state.plateau)
    return state._replace(plateau=mesh.put(jax.device_get(found), where))
