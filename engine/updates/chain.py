"""The Optax chain that a config asks for, of ours or the user's own."""

import inspect
from typing import Any

from engine.config import Config
from engine.doors import bring
from engine.optim import groups
from engine.optim.late import jax, optax
from engine.optim.lengths import Durations
from engine.optim.optimizers import OPTIMIZERS, is_named
from engine.optim.schedules import schedule


def optimizer(
    config: Config, hyper: Any, durations: Durations, peak: float | None = None
) -> Any:
    """Clipping, weight decay and the named optimizer; or the user's function of (hyper, durations),
    whose chain is taken as it is; of each group of parameters, where --freeze, --unfreeze or --rate
    ask for some. An optax.GradientTransformation. `peak` is the learning rate of the run where a
    plateau has lowered the one of `hyper`."""
    asked = groups.asked(config.freeze, config.unfreeze, config.rate)
    rate = getattr(hyper, "learning_rate", None) if peak is None else peak
    epoch = durations.epoch
    if not is_named(config.optimizer):
        own = bring.value("optimizer", config.optimizer)(hyper, durations)
        return _with_standard_promotion(
            groups.grouped(asked, lambda _: own, [], rate, epoch) if asked else own)

    def kernels(params: Any) -> Any:
        """Weight decay spares biases and scales."""
        return jax.tree.map(lambda p: p.ndim > 1, params)

    course = schedule(config.schedule, durations, hyper)
    made = OPTIMIZERS[config.optimizer]
    decay = 0.0 if hyper.weight_decay is None else hyper.weight_decay
    uses = inspect.signature(made).parameters
    clip = [] if hyper.clip_norm is None else [optax.clip_by_global_norm(hyper.clip_norm)]

    def links(first: int) -> list[Any]:
        """What moves parameters that begin to learn at a step, from which on they count."""
        available = hyper._asdict() | {
            "rate": lambda count: hyper.learning_rate * course(count + first if first else count),
            "nesterov": config.nesterov, "decay": {"weight_decay": decay, "mask": kernels},
        }
        chain = []
        if hyper.weight_decay is not None and "decay" not in uses:
            chain.append(optax.add_decayed_weights(hyper.weight_decay, kernels))
        return [*chain, made(**{name: available[name] for name in uses})]

    if not asked:
        return _with_standard_promotion(optax.chain(*clip, *links(0)))
    return _with_standard_promotion(
        groups.grouped(asked, lambda first: optax.chain(*links(first)), clip, rate, epoch))


def _with_standard_promotion(tx: Any) -> Any:
    """Optax mixes integers and floats, which strict dtype promotion (our tests) refuses. Its random
    keys are plain arrays in a state, as everything that is saved."""
    def is_key(x: Any) -> bool:
        return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)

    def plain(state: Any) -> Any:
        return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, state)

    def keyed(like: Any, x: Any) -> Any:
        if not is_key(like):
            return x
        impl = jax.random.key_impl(jax.numpy.empty((), like.dtype))  # which asks for an array
        return jax.random.wrap_key_data(x, impl=impl)

    def update(gradient: Any, state: Any, params: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            state = jax.tree.map(keyed, jax.eval_shape(tx.init, params), state)
            updates, state = tx.update(gradient, state, params)
        return updates, plain(state)

    return optax.GradientTransformation(lambda params: plain(tx.init(params)), update)
