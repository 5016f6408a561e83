"""Test-time augmentation: what a network says of a picture is the mean over several views of it."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations import VIEWS
from engine.doors.bring import short
from engine.doors.functions import Network, Variables
from engine.errors import RequestError, sides, unknown
from engine.task import Task, float32

SHIFTS = (0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)  # pixels down and right


@dataclass(frozen=True)
class Seeing:
    """A network that answers for all of its `views`, one after another in one loop."""

    network: Network
    task: Task
    words: tuple[str, ...]

    def init(self, key: Array, inputs: Array) -> Variables:
        return self.network.init(key, inputs)

    def apply(
        self, variables: Variables, inputs: Array, train: bool, key: Array | None = None,
        valid: Array | None = None,
    ) -> tuple[Array, Variables]:
        def predicted(view: Array) -> Array:
            outputs, _ = self.network.apply(variables, view, False, key, valid)
            return self.task.predict(float32(outputs))

        each = jax.lax.map(predicted, views(inputs, self.words))
        return self.task.outputs(each.mean(0)), {}


def views(image_BxHxWxC: Array, words: tuple[str, ...]) -> Array:
    """[V, B, H, W, C]: with `flip` each picture and its mirror, with `shift` as it is and a pixel
    up, down, left and right, zeros moving in; with both, all ten."""
    _, height, width, _ = image_BxHxWxC.shape
    found = [image_BxHxWxC]
    if "flip" in words:
        found.append(image_BxHxWxC[:, :, ::-1])
    if "shift" in words:
        wide = [jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) for x in found]
        found = [x[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
                 for x in wide for down, right in SHIFTS]
    return jnp.stack(found)


def words_of(text: str) -> tuple[str, ...]:
    """Of --tta, such as flip,shift. Raises RequestError for another word."""
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words or (text,) * bool(text):
        if word not in VIEWS:
            raise unknown("view of --tta", word, VIEWS)
    return words


def seeing(learner: Any, text: str, shape: tuple[int, ...]) -> Any:
    """The Learner whose answers are those of the views that `text` names, for inputs of `shape`;
    the same where it names none. Raises RequestError for inputs that are no pictures, and a task
    whose predictions it can't average."""
    words = words_of(text)
    if not words:
        return learner
    if not learner.traced:
        raise RequestError(f"--tta {text} is for networks, and the run's model is "
                           f"{short(learner.config.model)}: leave it out.")
    if learner.task.kind == "positions":
        raise RequestError(f"--tta {text} would move pixels, and not what is said of each: leave "
                           "it out.")
    task: Any = type(learner.task)
    if len(shape) != 3:
        raise RequestError(f"--tta {text} is for pictures, [height, width, channels], and the "
                           f"inputs are {sides(shape)}: leave it out.")
    if task.predict is not Task.predict and task.outputs is Task.outputs:
        raise RequestError(f"--tta {text}: task {short(learner.config.task)} has a predict of its "
                           "own: give it outputs(predicted) too, its inverse.")
    network: Any = Seeing(learner.network, learner.task, words)
    return dataclasses.replace(learner, network=network)
