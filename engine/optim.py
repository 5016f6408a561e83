"""Optimizers and schedules, a function each: Optax chains whose every rate may be a tracer, so one
program serves them all. Optax is imported late: their names and parameters make flags.

An optimizer is optimizer(rate, decay, **values) → optax.GradientTransformation: `rate` is the
learning rate by update step, `decay` the weight decay's keywords where Optax decouples it, and its
other parameters are the Hyper fields that it uses, `nesterov` among them.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optax

    from engine.config import Config, Durations

KERAS_EPSILON = 1e-7


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not left to Optax's default."""
    return {name: value for name, value in values.items() if value is not None}


def adam(rate, *, b1, b2, eps_root):
    """Kingma & Ba 2014, with Keras's epsilon."""
    import optax

    return optax.adam(rate, eps=KERAS_EPSILON, **_given(b1=b1, b2=b2, eps_root=eps_root))


def adamw(rate, decay, *, b1, b2, eps_root):
    """Loshchilov & Hutter 2017; adam where there is no weight decay."""
    import optax

    values = _given(b1=b1, b2=b2, eps_root=eps_root)
    return optax.adamw(rate, eps=KERAS_EPSILON, **decay, **values)


def sgd(rate, *, momentum, nesterov):
    """Stochastic gradient descent."""
    import optax

    return optax.sgd(rate, momentum=momentum, nesterov=nesterov)


def rmsprop(rate, *, b2, momentum, nesterov):
    """Tieleman & Hinton 2012, with Keras's epsilon; `b2` is the decay of the squares."""
    import optax

    return optax.rmsprop(rate, decay=0.9 if b2 is None else b2, eps=KERAS_EPSILON,
                         momentum=momentum, nesterov=nesterov)


def lion(rate, decay, *, b1, b2):
    """Chen et al. 2023."""
    import optax

    return optax.lion(rate, **decay, **_given(b1=b1, b2=b2))


def muon(rate, decay):
    """Jordan et al. 2024: kernels by Newton–Schulz products, the rest by adam."""
    from optax import contrib

    return contrib.muon(rate, weight_decay=decay["weight_decay"], weight_decay_mask=decay["mask"])


def constant(durations):
    import optax

    return optax.constant_schedule(1.0)


def linear(durations):
    import optax

    return optax.linear_schedule(1.0, 0.0, max(1, durations.total))


def cosine(durations):
    import optax

    return optax.cosine_decay_schedule(1.0, max(1, durations.total))


def warmup_cosine(durations):
    """The first of `warmup` steps has a rate above 0 already."""
    import optax

    decay = max(1, durations.total)
    warmup = min(durations.warmup, decay - 1)
    return optax.warmup_cosine_decay_schedule(1.0 / (warmup + 1), 1.0, warmup, decay)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (adam, adamw, sgd, rmsprop, lion, muon)
}
SCHEDULES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (constant, cosine, linear, warmup_cosine)
}


def _parameters(name: str) -> Any:
    return inspect.signature(OPTIMIZERS[name]).parameters


def users(value: str) -> list[str]:
    """The optimizers that use a Hyper field or `nesterov`; none for what all of them follow."""
    return [name for name in OPTIMIZERS if value in _parameters(name)]


def schedule(config: "Config", durations: "Durations") -> "optax.Schedule":
    """The learning rate's course as a multiple of its peak, by update step."""
    return SCHEDULES[config.schedule](durations)


def _kernels(params: Any) -> Any:
    """Weight decay spares biases and scales."""
    import jax

    return jax.tree.map(lambda p: p.ndim > 1, params)


def is_ours(config: "Config") -> bool:
    """Whether the optimizer is named, and not the user's own."""
    return isinstance(config.optimizer, str) and config.optimizer in OPTIMIZERS


def optimizer(
    config: "Config", hyper: Any, durations: "Durations"
) -> "optax.GradientTransformation":
    """Clipping, weight decay and the named optimizer; or the user's function of (hyper, durations),
    whose chain is taken as it is."""
    if not is_ours(config):
        from engine.doors import bring

        own = bring.value("optimizer", config.optimizer)
        return _with_standard_promotion(own(hyper, durations))
    import optax

    course = schedule(config, durations)
    parameters = _parameters(config.optimizer)
    available = hyper._asdict() | {"nesterov": config.nesterov}
    values = {name: available[name] for name in parameters if name not in ("rate", "decay")}
    decay = 0.0 if hyper.weight_decay is None else hyper.weight_decay
    if "decay" in parameters:
        values["decay"] = {"weight_decay": decay, "mask": _kernels}
    update = OPTIMIZERS[config.optimizer](lambda count: hyper.learning_rate * course(count),
                                          **values)
    chain = []
    if hyper.clip_norm is not None:
        chain.append(optax.clip_by_global_norm(hyper.clip_norm))
    if hyper.weight_decay is not None and "decay" not in parameters:
        chain.append(optax.add_decayed_weights(hyper.weight_decay, _kernels))
    return _with_standard_promotion(optax.chain(*chain, update))


def _with_standard_promotion(tx: Any) -> Any:
    """Optax mixes integers and floats, which strict dtype promotion (our tests) refuses. Its random
    keys are plain arrays in a state, as everything that is saved."""
    import jax
    import optax

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
