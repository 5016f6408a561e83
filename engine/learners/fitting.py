"""Whether what a user brings fits together: each part traced with shapes alone, in turn, before a
folder is made or anything compiled. B: two examples."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from engine.augmentations import chain
from engine.config import is_ours
from engine.doors import bridged, coupled
from engine.doors.bring import short, telling, value
from engine.doors.functions import initial
from engine.errors import RequestError, sides, unknown
from engine.examples import Split
from engine.feed import Data, scaled
from engine.learners import holding
from engine.objective import Objective
from engine.optim.lengths import Durations
from engine.optim.optimizers import is_named
from engine.scores.own import Scored
from engine.sets.names import ARRAYS
from engine.task import float32
from engine.tasks.positions import Positions
from engine.updates.chain import optimizer

Shapes = Any  # a tree of jax.ShapeDtypeStruct
SCALAR = jax.ShapeDtypeStruct((), jnp.float32)
_CHANNELS = "Grey ones [N, H, W] want an axis of channels: give x[..., None]. "
_FLAT = "Type --model mlp or linear, which are for any inputs."
TAKEN = "loss", "epoch", "step", "seconds", "learning_rate"  # columns of history.jsonl


def two(split: Split) -> Split:
    """Two of its examples, as shapes; their weights, if they have some, shape nothing."""
    return Split(*(jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype) for x in split[:2]))


def check(learner: Objective, hyper: Any, lengths: Durations, data: Data) -> Shapes:
    """The network's variables as shapes, whatever the values are: `hyper` and `data` may be
    tracers. Raises RequestError for a part that raises, or gives what the next can't take."""
    config, hyper = learner.config, jax.tree.map(lambda _: SCALAR, hyper)
    batch = two(data.train.split)
    inputs = jax.eval_shape(scaled, batch.inputs)
    if config.augment:
        _augmentation(learner, inputs, batch.targets)
    key, valid = jax.random.key(0), np.ones(2, bool)
    learnt = jax.eval_shape(partial(chain.augmented, learner), hyper, key, batch, valid)
    variables, outputs = network(learner, inputs, data.num_outputs)
    _task(learner, outputs, (learnt.targets, batch.targets), hyper)
    if not is_named(config.optimizer):
        _optimizer(learner, hyper, lengths, variables["params"])
    return variables


def _augmentation(learner: Objective, inputs: Shapes, targets: Shapes) -> None:
    """Raise RequestError where the user's own gives other inputs, or targets that nobody takes."""
    word = learner.config.augment
    what = f"augment {short(word)}"
    with telling(what, " It is called with (key, inputs), and with targets too where it has a "
                       "parameter of that name."):
        own, taken = jax.eval_shape(partial(chain.own, learner.network, word), jax.random.key(0),
                                    inputs, targets)
    _same(what, "inputs", own, [inputs])
    mixed = jax.ShapeDtypeStruct((2, learner.num_outputs), jnp.float32)
    _same(what, "targets", taken,
          [targets, mixed] if learner.task.kind == "classes" else [targets])


def _same(what: str, name: str, out: Any, allowed: list[Shapes]) -> None:
    found = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}".strip()
    wanted, *others = (f"{x.dtype} {x.shape}" for x in allowed)
    if found not in (wanted, *others):
        instead = "".join(f", or {other}" for other in others)
        raise RequestError(f"{what} gives {found} for {name} of {wanted}: give {name} of the same "
                           f"shape and dtype{instead}.")


def network(
    learner: Objective, inputs: Shapes, num_outputs: int
) -> tuple[Shapes, tuple[Shapes, Shapes]]:
    """Its variables, and its outputs in training and out of it."""
    model, (batch, *shape) = learner.config.model, inputs.shape

    def forward(inputs, key):
        variables = initial(learner.network, key, inputs[:1])
        valid = jnp.ones(batch, bool)
        trained, left = learner.network.apply(variables, inputs, True, key, valid)
        judged, _ = learner.network.apply(variables, inputs, False, None, valid)
        return variables, left, trained, judged

    ours, pictures = is_ours(model), len(shape) == 3
    what = f"model {short(model)} does not fit {sides(shape)} {'images' if pictures else 'inputs'}"
    larger = "" if learner.config.dataset == ARRAYS else ", for example with --image_size 32"
    with telling(what, f" Enlarge them{larger}, or type --model mlp." * (ours and pictures)):
        try:
            variables, left, *both = jax.eval_shape(forward, inputs, jax.random.key(0))
        except Exception as error:
            bridged.check(learner.network)  # which may be why
            unfit = isinstance(error, ValueError | TypeError | ZeroDivisionError)
            if pictures or not (ours and unfit):
                raise
            grey = _CHANNELS * (len(shape) == 2)
            raise RequestError(f"{what}, as it is for images. {grey}{_FLAT}") from None
    for outputs in both:
        _outputs(learner, outputs, batch, num_outputs)
    holding.check(model, variables, left)
    trained, judged = (jax.eval_shape(float32, outputs) for outputs in both)
    return variables, (trained, judged)


def _outputs(learner: Objective, outputs: Any, batch: int, num_outputs: int) -> None:
    """Raise RequestError for others than the task takes."""
    model, word = short(learner.config.model), short(learner.config.task)
    for each in jax.tree.leaves(outputs) if learner.task.any_outputs else ():
        if getattr(each, "shape", ())[:1] != (batch,):
            raise RequestError(f"model {model} gives an output of shape {each.shape} for {batch} "
                               "examples: let the first axis of each be the examples.")
    found = getattr(outputs, "shape", f"a {type(outputs).__name__}")
    if type(learner.task).loss is Positions.loss and (
            isinstance(found, str) or len(found) < 3 or found[-1] < num_outputs):
        raise RequestError(f"model {model} gives {found} for {batch} examples, and task {word} "
                           f"needs ({batch}, positions, {num_outputs}): logits of the "
                           f"{num_outputs} classes for each position"
                           f"{', as --model unet gives' * is_ours(learner.config.model)}.")
    if found != (batch, num_outputs) and not learner.task.any_outputs:
        if is_ours(learner.config.model):
            if len(found) < 4:  # its convolutions took an axis of places for the channels
                raise RequestError(f"model {model} is for images. {_CHANNELS}{_FLAT}")
            raise RequestError(f"model {model} gives a class for each pixel, and task {word} needs "
                               "one answer an example: type --model cnn, or --task positions with "
                               "masks.")
        own = "" if coupled.is_ours(type(learner.task)) else \
            f" Or say any_outputs = True in {word}, which then takes what the network gives."
        raise RequestError(
            f"model {model} gives outputs of shape {found} for {batch} examples, and task {word} "
            f"needs {(batch, num_outputs)}: let it take num_outputs, or end in a layer of "
            f"{num_outputs}.{own}")


def _task(
    learner: Objective, both: tuple[Shapes, Shapes], targets: tuple[Shapes, Shapes], hyper: Any
) -> None:
    """`both` are outputs in training and out of it; `targets` are training's, which may be mixed,
    and a set's."""
    task, what = learner.task, f"task {short(learner.config.task)}"
    cases = ("", hyper), (" where it is judged, of hyper None,", None)
    for (told, values), outputs, given in zip(cases, both, targets, strict=True):
        shares = f", targets being mixed: {given.dtype} [B, {given.shape[-1]}]" \
            if given.shape != targets[1].shape else ""
        instead = f" It is called with (outputs, targets, hyper){shares}."
        with telling(f"{what}'s loss{told}", instead):
            loss = jax.eval_shape(task.loss_of, outputs, given, values, np.ones(2, bool))
        _of_each(f"{what}'s loss{told}", loss)
        if not jnp.issubdtype(loss.dtype, jnp.floating):
            raise RequestError(f"{what}'s loss{told} is of {loss.dtype}, which has no gradient: "
                               "give real numbers.")
        with telling(f"{what}'s scores", f" It is called with (outputs, targets){shares}."):
            scores = dict(jax.eval_shape(task.scores, outputs, given))
        for name, score in scores.items():
            _of_each(f"{what}'s score {name}", score)
            if name in TAKEN or name.startswith("val_"):
                raise _taken(what, name)
        with telling(what):
            coupled.check(task, learner.config.task, outputs, given, values)
    with telling(what):
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), outputs)
        none = jax.eval_shape(lambda: task.zeros(learner.num_outputs, one))
        row = jax.eval_shape(task.row, none)
        ours = isinstance(none, Scored) and coupled.is_ours(type(task).row)
        others = jax.eval_shape(task.row, none.own) if ours else {}
    for name in scores.keys() & others.keys():
        raise _taken(what, name)
    with telling(f"{what}'s predict"):
        predicted = jax.eval_shape(task.predict, outputs)
    if getattr(predicted, "shape", ())[:1] != (2,):
        raise RequestError(f"{what}'s predict gives a {type(predicted).__name__} of "
                           f"{getattr(predicted, 'shape', 'several')} for 2 examples: return one "
                           "array, whose first axis is the examples, of what is to be told.")
    if task.score in task.gains and not task.higher:
        raise RequestError(f"{what} is ranked by {task.score}, which is one of its gains, and says "
                           "that less of it is better: let it have higher = True.")
    if task.score not in row:
        raise unknown(f"score of {what}, which ranks checkpoints,", task.score, row)


def _taken(what: str, score: str) -> RequestError:
    return RequestError(f"{what}'s score {score} has the name of another column of history.jsonl: "
                        "give it one of its own.")


def _of_each(what: str, value: Any) -> None:
    shape = getattr(value, "shape", f"a {type(value).__name__}")
    if shape != (2,):
        raise RequestError(f"{what} has the shape {shape} for 2 examples, not (2,): give one "
                           "number an example, such as a mean over the other axes, x.mean(-1); of "
                           "a task of positions' loss, their sum.")


def _optimizer(learner: Objective, hyper: Any, lengths: Durations, params: Shapes) -> None:
    config = learner.config
    what, own = f"optimizer {short(config.optimizer)}", value("optimizer", config.optimizer)

    def update(hyper, params):
        made = own(hyper, lengths)
        if not isinstance(made, optax.GradientTransformation):
            or_its = " or its gradient_transformation()" * hasattr(made, "gradient_transformation")
            raise RequestError(f"{what} gives a {type(made).__name__}: return an Optax chain, such "
                               f"as optax.adam(hyper.learning_rate){or_its}.")
        tx = optimizer(config, hyper, lengths)
        return tx.update(params, tx.init(params), params)[0]

    with telling(what, " It is called with (hyper, durations), and its chain's update with the "
                       "gradients, the state and the parameters."):
        jax.eval_shape(update, hyper, params)
