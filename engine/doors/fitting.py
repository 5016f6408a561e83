"""Whether what a user brings fits together: each part traced with shapes alone, in turn, before a
folder is made or anything compiled. B: two examples."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from engine import optim
from engine.config import Config, Durations
from engine.data import Data
from engine.doors import bring
from engine.errors import RequestError, unknown
from engine.feed import scaled
from engine.learners.gradient import Gradient

Shapes = Any  # a tree of jax.ShapeDtypeStruct


def check(learner: Gradient, hyper: Any, lengths: Durations, data: Data) -> Shapes:
    """The network's variables as shapes. Raises RequestError for a part that raises, or gives what
    the next can't take."""
    inputs, targets = (jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype)
                       for x in data.train.split)
    inputs, hyper = jax.eval_shape(scaled, inputs), jax.tree.map(jnp.float32, hyper)
    _of_pictures(learner.config, inputs.shape[1:])
    if learner.config.augment:
        _augmentation(learner.config.augment, inputs)
    variables, outputs = network(learner, inputs, data.num_outputs)
    _task(learner, outputs, targets, hyper)
    if not optim.is_ours(learner.config):
        _optimizer(learner.config, hyper, lengths, variables["params"])
    return variables


@contextlib.contextmanager
def _telling(what: str, instead: str = "") -> Iterator[None]:
    """What a user's code raises becomes a RequestError, which names its file and line."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:  # it raises what it likes
        raise RequestError(f"{what}: {bring.raised(error)}.{instead}") from None


def _of_pictures(config: Config, shape: tuple[int, ...]) -> None:
    """Raise RequestError for augmentations that `shape` has no axes or no room for."""
    asked = {"--flip": config.flip, f"--crop_padding {config.crop_padding}": config.crop_padding}
    for flag in (flag for flag, value in asked.items() if value and len(shape) != 3):
        raise RequestError(f"{flag} is for pictures, [height, width, channels], and the inputs are "
                           f"{' × '.join(map(str, shape))}: leave it out.")
    if config.crop_padding and config.crop_padding >= min(shape[:2]):
        raise RequestError(f"--crop_padding {config.crop_padding} would leave nothing of "
                           f"{shape[0]} × {shape[1]}: type less than {min(shape[:2])}.")


def _augmentation(word: Any, inputs: Shapes) -> None:
    what, own = f"augment {bring.short(word)}", bring.value("augment", word)
    bring.check_call(what, own, "key", "inputs")
    with _telling(what):
        out = jax.eval_shape(own, jax.random.key(0), inputs)
    found = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}".strip()
    if found != f"{inputs.dtype} {inputs.shape}":
        raise RequestError(f"{what} gives {found} for inputs of {inputs.dtype} {inputs.shape}: "
                           "give inputs of the same shape and dtype.")


def network(learner: Gradient, inputs: Shapes, num_outputs: int) -> tuple[Shapes, Shapes]:
    """Its variables and outputs, in training and out of it."""
    model, shape = learner.config.model, inputs.shape[1:]

    def forward(inputs, key):
        variables = learner.network.init(key, inputs)
        valid = jnp.ones(len(inputs), bool)
        trained, _ = learner.network.apply(variables, inputs, True, key, valid)
        return variables, learner.network.apply(variables, inputs, False)[0], trained

    kind = "images" if len(shape) == 3 else "inputs"
    ours = isinstance(model, str) and not bring.is_file(model)
    larger = " Enlarge them, for example with --image_size 32." if ours else ""
    what = f"model {bring.short(model)} does not fit {' × '.join(map(str, shape))} {kind}"
    with _telling(what, larger):
        variables, *both = jax.eval_shape(forward, inputs, jax.random.key(0))
    batch = inputs.shape[0]
    for outputs in both:
        found = getattr(outputs, "shape", f"a {type(outputs).__name__}")
        if found != (batch, num_outputs):
            raise RequestError(
                f"model {bring.short(model)} gives outputs of shape {found} for {batch} examples, "
                f"and task {bring.short(learner.config.task)} needs {(batch, num_outputs)}: let it "
                f"take num_outputs, or end in a layer of {num_outputs}."
            )
    return variables, jax.ShapeDtypeStruct(both[0].shape, jnp.float32)


def _task(learner: Gradient, outputs: Shapes, targets: Shapes, hyper: Any) -> None:
    task, what = learner.task, f"task {bring.short(learner.config.task)}"
    bring.check_call(f"{what}'s loss", task.loss, "outputs", "targets", "hyper")
    for told, values in (("", hyper), (" where it is judged, of hyper None,", None)):
        with _telling(f"{what}'s loss{told}"):
            loss = jax.eval_shape(task.loss, outputs, targets, values)
        _of_each(f"{what}'s loss{told}", loss)
    with _telling(f"{what}'s scores"):
        scores = jax.eval_shape(task.scores, outputs, targets)
    if not isinstance(scores, dict):
        raise RequestError(f"{what}'s scores are a {type(scores).__name__}: give a dictionary, "
                           "[B] by name.")
    for name, score in scores.items():
        _of_each(f"{what}'s score {name}", score)
    with _telling(what):
        row = jax.eval_shape(lambda: task.row(task.zeros(outputs.shape[-1])))
    if task.score not in row:
        raise unknown(f"score of {what}, which ranks checkpoints,", task.score, row)


def _of_each(what: str, value: Any) -> None:
    shape = getattr(value, "shape", f"a {type(value).__name__}")
    if shape != (2,):
        raise RequestError(f"{what} has the shape {shape} for 2 examples, not (2,): give one "
                           "number an example, such as a mean over the other axes, x.mean(-1).")


def _optimizer(config: Any, hyper: Any, lengths: Durations, params: Shapes) -> None:
    what, own = f"optimizer {bring.short(config.optimizer)}", bring.value(
        "optimizer", config.optimizer)
    bring.check_call(what, own, "hyper", "durations")

    def update(hyper, params):
        made = own(hyper, lengths)
        if not isinstance(made, optax.GradientTransformation):
            raise RequestError(f"{what} gives a {type(made).__name__}: return an Optax chain, such "
                               "as optax.adam(hyper.learning_rate).")
        tx = optim.optimizer(config, hyper, lengths)
        return tx.update(params, tx.init(params), params)[0]

    with _telling(what):
        jax.eval_shape(update, hyper, params)
