"""How often each class was hit, said and there, and the scores that are made of it. C: classes."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Counts(NamedTuple):
    """int32 [C] each: of examples, or of positions."""

    hits: Array
    said: Array
    there: Array


class Counted(NamedTuple):
    """A tally of classes, see tasks/classification.py, with those Counts; apart from it, as Orbax
    would save an empty field too, and not read the checkpoints that lack one."""

    loss_sum: Array
    correct: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls
    each: Counts


def counts(said: Array, true: Array, valid: Array, classes: int) -> Counts:
    """Of int32 and bool arrays of one shape."""
    def counted(each: Array, which: Array) -> Array:
        at = jnp.where(which, each, classes)
        return jnp.zeros(classes, jnp.int32).at[at].add(1, mode="drop")

    return Counts(counted(said, valid & (said == true)), counted(said, valid),
                  counted(true, valid))


def _mean(values: Array, which: Array) -> Array:
    return jnp.where(which, values, 0).sum() / jnp.float32(which.sum())


def f1_macro(of: Counts) -> Array:
    """The mean over the classes that are there or said."""
    both = of.said + of.there
    return _mean(2 * jnp.float32(of.hits) / jnp.float32(jnp.maximum(both, 1)), both > 0)


def balanced_accuracy(of: Counts) -> Array:
    """The mean recall of the classes that are there."""
    return _mean(jnp.float32(of.hits) / jnp.float32(jnp.maximum(of.there, 1)), of.there > 0)


def matthews_correlation(of: Counts) -> Array:
    """Of several classes (Gorodkin 2004); 0 where one is all that is there, or all that is said."""
    count = jnp.float32(of.there.sum())
    said, there = (jnp.float32(each) / count for each in (of.said, of.there))
    spread = (1 - (said * said).sum()) * (1 - (there * there).sum())
    agreed = jnp.float32(of.hits.sum()) / count - (said * there).sum()
    single = (of.said.max() == of.there.sum()) | (of.there.max() == of.there.sum())
    return agreed / jnp.sqrt(jnp.where(single, 1, spread))


SCORES = {score.__name__: score for score in (f1_macro, balanced_accuracy, matthews_correlation)}


def ranking(score: str, of: Counts | None) -> dict[str, Array]:
    """By its name, where it is one of SCORES and there is something to count."""
    return {score: SCORES[score](of)} if score in SCORES and of else {}
