"""Optimizers and schedules, a function each: Optax chains whose every rate may be a tracer, so one
program serves them all.

An optimizer is optimizer(rate, decay, **values) → optax.GradientTransformation: `rate` is the
learning rate by update step, `decay` the weight decay's keywords where Optax decouples it, and its
other parameters are the Hyper fields that it uses, `nesterov` among them.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import Config, Durations

KERAS_EPSILON = 1e-7


class _Late:
    """Optax, imported when it is first used: names and parameters of this file make flags."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("optax"), name)


optax = _Late()


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not left to Optax's default."""
    return {name: value for name, value in values.items() if value is not None}


def adam(rate, *, b1, b2, eps_root):
    """Kingma & Ba 2014, with Keras's epsilon."""
    return optax.adam(rate, eps=KERAS_EPSILON, **_given(b1=b1, b2=b2, eps_root=eps_root))


def adamw(rate, decay, *, b1, b2, eps_root):
    """Loshchilov & Hutter 2017; adam where there is no weight decay."""
    values = _given(b1=b1, b2=b2, eps_root=eps_root)
    return optax.adamw(rate, eps=KERAS_EPSILON, **decay, **values)


def sgd(rate, *, momentum, nesterov):
    """Stochastic gradient descent."""
    return optax.sgd(rate, momentum=momentum, nesterov=nesterov)


def rmsprop(rate, *, b2, momentum, nesterov):
    """Tieleman & Hinton 2012, with Keras's epsilon; `b2` is the decay of the squares."""
    return optax.rmsprop(rate, decay=0.9 if b2 is None else b2, eps=KERAS_EPSILON,
                         momentum=momentum, nesterov=nesterov)


def lion(rate, decay, *, b1, b2):
    """Chen et al. 2023."""
    return optax.lion(rate, **decay, **_given(b1=b1, b2=b2))


def muon(rate, decay):
    """Jordan et al. 2024: kernels by Newton–Schulz products, the rest by adam."""
    return optax.contrib.muon(rate, weight_decay=decay["weight_decay"],
                              weight_decay_mask=decay["mask"])


def constant(durations):
    return optax.constant_schedule(1.0)


def linear(durations):
    return optax.linear_schedule(1.0, 0.0, max(1, durations.total))


def cosine(durations):
    return optax.cosine_decay_schedule(1.0, max(1, durations.total))


def warmup_cosine(durations):
    """The first of `warmup` steps has a rate above 0 already."""
    decay = max(1, durations.total)
    warmup = min(durations.warmup, decay - 1)
    return optax.warmup_cosine_decay_schedule(1.0 / (warmup + 1), 1.0, warmup, decay)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (adam, adamw, sgd, rmsprop, lion, muon)
}
SCHEDULES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (constant, cosine, linear, warmup_cosine)
}


def users(value: str) -> list[str]:
    """The optimizers that use a Hyper field or `nesterov`; none for what all of them follow."""
    return [name for name, f in OPTIMIZERS.items() if value in inspect.signature(f).parameters]


def schedule(name: str, durations: "Durations") -> Any:
    """The learning rate's course as a multiple of its peak, by update step."""
    return SCHEDULES[name](durations)


def is_named(optimizer: Any) -> bool:
    """Whether it is one by name, and not the user's own."""
    return isinstance(optimizer, str) and optimizer in OPTIMIZERS


def optimizer(config: "Config", hyper: Any, durations: "Durations") -> Any:
    """Clipping, weight decay and the named optimizer; or the user's function of (hyper, durations),
    whose chain is taken as it is. An optax.GradientTransformation."""
    if not is_named(config.optimizer):
        from engine.doors import bring

        own = bring.value("optimizer", config.optimizer)
        return _with_standard_promotion(own(hyper, durations))
    import jax

    def kernels(params: Any) -> Any:
        """Weight decay spares biases and scales."""
        return jax.tree.map(lambda p: p.ndim > 1, params)

    course, made = schedule(config.schedule, durations), OPTIMIZERS[config.optimizer]
    decay = 0.0 if hyper.weight_decay is None else hyper.weight_decay
    available = hyper._asdict() | {
        "rate": lambda count: hyper.learning_rate * course(count), "nesterov": config.nesterov,
        "decay": {"weight_decay": decay, "mask": kernels},
    }
    asked = inspect.signature(made).parameters
    chain = []
    if hyper.clip_norm is not None:
        chain.append(optax.clip_by_global_norm(hyper.clip_norm))
    if hyper.weight_decay is not None and "decay" not in asked:
        chain.append(optax.add_decayed_weights(hyper.weight_decay, kernels))
    chain.append(made(**{name: available[name] for name in asked}))
    return _with_standard_promotion(optax.chain(*chain))


def _with_standard_promotion(tx: Any) -> Any:
    """Optax mixes integers and floats, which strict dtype promotion (our tests) refuses. Its random
    keys are plain arrays in a state, as everything that is saved."""
    import jax

    def is_key(x: Any) -> bool:
        return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)

    def plain(state: Any) -> Any:
        return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, state)

    def keyed(like: Any, x: Any) -> Any:
        return jax.random.wrap_key_data(x) if is_key(like) else x

    def update(gradient: Any, state: Any, params: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            state = jax.tree.map(keyed, jax.eval_shape(tx.init, params), state)
            updates, state = tx.update(gradient, state, params)
        return updates, plain(state)

    return optax.GradientTransformation(lambda params: plain(tx.init(params)), update)
