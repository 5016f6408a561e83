"""Optimizers, a function each: Optax chains whose every rate may be a tracer, so one program serves
them all.

An optimizer is optimizer(rate, decay, **values) → optax.GradientTransformation: `rate` is the
learning rate by update step, `decay` the weight decay's keywords where Optax decouples it, and its
other parameters are the Hyper fields that it uses, `nesterov` among them.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from engine.optim.late import jax, jnp, optax

KERAS_EPSILON = 1e-7


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
    """Jordan et al. 2024: kernels of two axes by Newton–Schulz products, the rest by adam."""
    of_all, mask = decay["weight_decay"], decay["mask"]
    whole = optax.contrib.muon(rate, weight_decay=of_all, weight_decay_mask=mask,
                               adam_weight_decay=of_all)

    def update(gradient, state, params):
        # Optax takes no mask for what adam moves: what isn't decayed is shown to it as 0.
        shown = jax.tree.map(lambda p, decays: p if decays else jnp.zeros_like(p),
                             params, mask(params))
        return whole.update(gradient, state, shown)

    return optax.GradientTransformation(whole.init, update)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (adam, adamw, sgd, rmsprop, lion, muon)
}
WITHOUT_DECAY = {"adamw": "adam"}  # what one is where there is no weight decay


@functools.cache
def users(value: str) -> tuple[str, ...]:
    """The optimizers that use a Hyper field or `nesterov`; none for what all of them follow."""
    return tuple(n for n, f in OPTIMIZERS.items() if value in inspect.signature(f).parameters)


def is_named(optimizer: Any) -> bool:
    """Whether it is one by name, and not the user's own."""
    return isinstance(optimizer, str) and optimizer in OPTIMIZERS
