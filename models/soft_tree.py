"""An ensemble of oblivious differentiable trees: NODE (Popov, Morozov & Babenko 2020,
arXiv:1909.06312), whose splits are chosen by entmax (Peters, Niculae & Martins 2019).

B: batch, F: features, T: trees of a layer, D: their depth, K: outputs.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

STEPS = 16  # of Newton's method: the first ones halve the way, then the digits double


def _threshold(x: Array) -> Array:
    """The τ for which max(x - τ, 0)² sums to 1 over the last axis, of `x` whose largest is 0:
    [..., F] → [..., 1]. The closed form over what is above τ, as in Algorithm 2 of Peters et al.
    2019; Newton's method says what that is, in the place of their sort, which takes a CPU a hundred
    times as long. The sum is convex in τ, so that it comes from below and never beyond."""
    def nearer(_, tau):
        over = jnp.maximum(x - tau, 0)
        excess = jnp.square(over).sum(-1, keepdims=True) - 1
        return tau + excess / (2 * over.sum(-1, keepdims=True))

    tau = jax.lax.fori_loop(0, STEPS, nearer, jnp.full_like(x[..., :1], -1))
    above = x > tau
    count = above.sum(-1, keepdims=True).astype(x.dtype)
    mean = jnp.where(above, x, 0).sum(-1, keepdims=True) / count
    spread = jnp.where(above, jnp.square(x - mean), 0).sum(-1, keepdims=True)
    return mean - jnp.sqrt(jnp.maximum(1 - spread, 0) / count)


@jax.custom_jvp
def entmax15(x: Array) -> Array:
    """1.5-entmax over the last axis: probabilities as a softmax's, of which many are exactly 0."""
    half = (x - x.max(-1, keepdims=True)) / 2
    return jnp.square(jnp.maximum(half - _threshold(half), 0))


@entmax15.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    p = entmax15(x)
    root = jnp.sqrt(p)
    along = (root * dx).sum(-1, keepdims=True) / root.sum(-1, keepdims=True)
    return p, root * (dx - along)


@jax.custom_jvp
def entmoid15(x: Array) -> Array:
    """The first of entmax15([x, 0]): a sigmoid that is exactly 0 or 1 beyond ±2."""
    size = jnp.abs(x)
    tau = (size + jnp.sqrt(jnp.maximum(8 - jnp.square(size), 0))) / 2
    small = jnp.square(jnp.maximum(tau - size, 0)) / 4
    return jnp.where(x >= 0, 1 - small, small)


@entmoid15.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    p = entmoid15(x)
    a, b = jnp.sqrt(p), jnp.sqrt(1 - p)
    return p, dx * a * b / (a + b)


def _codes(depth: int) -> np.ndarray:
    """Of every leaf, which side of each level it lies on, bool [2^D, D]."""
    return (np.arange(2**depth)[:, None] >> np.arange(depth)) % 2 == 1


class Layer(nn.Module):
    """`trees` of `depth`: each level chooses one feature and one threshold for all of its nodes."""

    trees: int
    depth: int
    outputs: int

    @nn.compact
    def __call__(self, x_BxF: Array) -> Array:
        """float32 [B, F] → [B, T, K]"""
        features, levels = x_BxF.shape[-1], (self.trees, self.depth)
        choice = self.param("choice", nn.initializers.uniform(1.0), (*levels, features))
        chosen = entmax15(choice)
        # In the place of quantiles of the data: of independent, standardised features, what is
        # chosen has this deviation.
        deviation = jnp.sqrt(jnp.square(chosen).sum(-1))
        threshold = self.param("threshold", lambda key: jax.random.normal(key, levels) * deviation)
        scale = self.param("log_scale", lambda key: jnp.log(deviation))
        value_BxTxD = jnp.einsum("bf,tdf->btd", x_BxF, chosen)
        above_BxTxD = entmoid15((value_BxTxD - threshold) * jnp.exp(-scale))
        leaf = self.param("leaf", nn.initializers.normal(1.0),
                          (self.trees, 2**self.depth, self.outputs))
        return jnp.einsum("btl,tlk->btk", _reached(above_BxTxD), leaf)


def _reached(above_BxTxD: Array) -> Array:
    """The share of each leaf, [B, T, 2^D]: a product over the levels."""
    share = jnp.ones((*above_BxTxD.shape[:-1], 1), above_BxTxD.dtype)
    for level in range(above_BxTxD.shape[-1]):
        above = above_BxTxD[..., level, None]
        share = jnp.concatenate([share * (1 - above), share * above], -1)
    return share


class SoftTree(nn.Module):
    """The mean of all trees, of `layers` of which each sees the inputs and what the trees before it
    say. In Python, `functools.partial(SoftTree, trees=256, depth=4)` is another model."""

    num_outputs: int
    trees: int = 64
    depth: int = 4
    layers: int = 1

    @nn.compact
    def __call__(self, x_Bx: Array) -> Array:
        """float32 [B, ...], of a table or of pictures → outputs or logits [B, num_outputs]"""
        x = x_Bx.reshape(x_Bx.shape[0], -1)
        said = []
        for _ in range(self.layers):
            said.append(Layer(self.trees, self.depth, self.num_outputs)(x))
            x = jnp.concatenate([x, said[-1].reshape(x.shape[0], -1)], -1)
        return jnp.concatenate(said, 1).mean(1)


def rules(params: Any, names: tuple[str, ...], tree: int = 0, layer: int = 0) -> str:
    """A tree in words: of each level the feature that weighs most, its weight and the threshold;
    of each leaf its side of every level (+ above, - below) and its values [K]."""
    own = params[f"Layer_{layer}"]
    chosen_DxF, threshold_D = np.asarray(entmax15(own["choice"][tree])), own["threshold"][tree]
    lines = []
    for level, (weights_F, threshold) in enumerate(zip(chosen_DxF, threshold_D, strict=True)):
        best = int(weights_F.argmax())
        name = names[best] if best < len(names) else f"tree output {best - len(names)}"
        lines.append(f"level {level}: {name} ({weights_F[best]:.0%}) > {threshold:.4g}")
    leaves = np.asarray(own["leaf"][tree])
    for code_D, values_K in zip(_codes(len(chosen_DxF)), leaves, strict=True):
        sides = "".join("+" if above else "-" for above in code_D)
        lines.append(f"{sides}: {', '.join(f'{value:.4g}' for value in values_K)}")
    return "\n".join(lines)


def importances(params: Any, features: int) -> np.ndarray:
    """How often the first `features` are chosen, over all levels of all trees, shares of 1 [F]."""
    weights_F = sum(np.asarray(entmax15(own["choice"]))[..., :features].sum((0, 1))
                    for own in params.values())
    return weights_F / weights_F.sum()
