"""Names → Optax chains and schedules. Every rate may be a tracer: one program serves them all."""

from typing import Any

import jax
import optax
from optax import contrib

from engine.config import Config, Durations, Hyper

KERAS_EPSILON = 1e-7
DECOUPLED = ("adamw", "lion", "muon")


def schedule(config: Config, durations: Durations) -> optax.Schedule:
    """The learning rate's course as a multiple of its peak, by update step."""
    decay = max(1, durations.total)
    match config.schedule:
        case "constant":
            return optax.constant_schedule(1.0)
        case "linear":
            return optax.linear_schedule(1.0, 0.0, decay)
        case "cosine":
            return optax.cosine_decay_schedule(1.0, decay)
        case _:
            warmup = min(durations.warmup, decay - 1)
            return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, decay)


def _kernels(params: Any) -> Any:
    """Weight decay spares biases and scales."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def optimizer(
    config: Config, hyper: Hyper, durations: Durations
) -> optax.GradientTransformation:
    """Clipping, weight decay and the named optimizer, with Keras's epsilon for Adam and RMSprop."""
    course = schedule(config, durations)

    def rate(count):
        return hyper.learning_rate * course(count)

    decay = 0.0 if hyper.weight_decay is None else hyper.weight_decay
    b1 = {} if hyper.b1 is None else {"b1": hyper.b1}
    b2 = {} if hyper.b2 is None else {"b2": hyper.b2}
    eps = {"eps": KERAS_EPSILON} | (
        {} if hyper.eps_root is None else {"eps_root": hyper.eps_root}
    )
    match config.optimizer:
        case "adam":
            update = optax.adam(rate, **eps, **b1, **b2)
        case "adamw":
            update = optax.adamw(rate, weight_decay=decay, mask=_kernels, **eps, **b1, **b2)
        case "sgd":
            update = optax.sgd(rate, momentum=hyper.momentum, nesterov=config.nesterov)
        case "rmsprop":
            update = optax.rmsprop(
                rate,
                decay=0.9 if hyper.b2 is None else hyper.b2,
                eps=KERAS_EPSILON,
                momentum=hyper.momentum,
                nesterov=config.nesterov,
            )
        case "lion":
            update = optax.lion(rate, weight_decay=decay, mask=_kernels, **b1, **b2)
        case "muon":
            update = contrib.muon(rate, weight_decay=decay, weight_decay_mask=_kernels)
    chain = []
    if hyper.clip_norm is not None:
        chain.append(optax.clip_by_global_norm(hyper.clip_norm))
    if hyper.weight_decay is not None and config.optimizer not in DECOUPLED:
        chain.append(optax.add_decayed_weights(hyper.weight_decay, _kernels))
    return _with_standard_promotion(optax.chain(*chain, update))


def _with_standard_promotion(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Optax mixes integers and floats, which strict dtype promotion (our tests) refuses."""

    def update(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"):
            return tx.update(*args, **kwargs)

    return optax.GradientTransformation(tx.init, update)
