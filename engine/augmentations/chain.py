"""The augmentations that a run asks for, in their order: flip, crop, rotation; RandAugment, colour;
cutout, erasing; the user's own; mixup and CutMix. B: batch, K: classes or labels."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations import (
    colour,
    crop,
    cutmix,
    cutout,
    erasing,
    flip,
    mixup,
    randaugment,
    rotation,
)
from engine.doors import bring
from engine.doors.handed import handing
from engine.examples import Split
from engine.feed import scaled
from engine.objective import Objective

ORDER = flip, crop, rotation, randaugment, colour, cutout, erasing, mixup, cutmix
OWN = 2  # the key of the user's own, beside those of ORDER; 0 and 1 are the two that a split makes


def _key(key: Array, augmentation: Any) -> Array:
    """An augmentation's own, of a step's."""
    return jax.random.fold_in(key, augmentation.PURPOSE.key)


def augmented(
    learner: Objective, hyper: Any, key: Array, batch: Split, valid_B: Array
) -> Split:
    """A batch as the split holds it, as a network sees it: inputs float32, and targets, which of
    classes are float32 [B, K] where they are mixed."""
    asked = {name: value for name, value in hyper._asdict().items() if value is not None}
    inputs, targets = _moved(learner, asked, key, batch)
    inputs = _coloured(learner, asked, key, inputs)
    if word := learner.config.augment:
        of_own = jax.random.fold_in(key, OWN)
        inputs, targets = own(learner.network, word, of_own, inputs, targets)
    if "mixup" not in asked and "cutmix" not in asked:
        return batch._replace(inputs=inputs, targets=targets)
    if learner.task.kind == "classes" and targets.ndim == 1:
        targets = jax.nn.one_hot(targets, learner.num_outputs, dtype=jnp.float32)
    return Split(*_mixed(asked, _key(key, mixup), inputs, targets, valid_B))


def _moved(
    learner: Objective, asked: dict[str, Array], key: Array, batch: Split
) -> tuple[Array, Array]:
    """What moves pixels, and with them the classes of positions, where none moves in; the rest is
    computed in float32."""
    config, (inputs, targets) = learner.config, batch[:2]
    count, both = inputs.shape[0], learner.task.kind == "positions"
    flip_key, crop_key = jax.random.split(key)
    if config.flip:
        drawn = flip.draw(flip_key, count)
        inputs = flip.apply(inputs, drawn)
        if both:
            targets = flip.apply(targets[..., None], drawn)[..., 0]
    if padding := config.crop_padding:
        drawn = crop.draw(crop_key, count, padding)
        inputs = crop.apply(inputs, drawn, padding)
        if both:  # zeros move in, and -1 is no class
            targets = crop.apply(targets[..., None] + 1, drawn, padding)[..., 0] - 1
    inputs = scaled(inputs)
    if "rotation" in asked:
        drawn = rotation.draw(_key(key, rotation), count, asked["rotation"])
        inputs = rotation.apply(inputs, drawn)
    return inputs, targets


def _coloured(learner: Objective, asked: dict[str, Array], key: Array, inputs: Array) -> Array:
    """What changes or erases colours."""
    count, of = inputs.shape[0], partial(_key, key)
    if rounds := learner.config.randaugment:
        drawn = randaugment.draw(of(randaugment), rounds, count)
        inputs = randaugment.apply(inputs, drawn, asked.get("magnitude", randaugment.USUAL))
    if not asked.keys().isdisjoint(colour.OPERATIONS):
        inputs = colour.apply(inputs, colour.draw(of(colour), count, asked))
    if "cutout" in asked:
        middle = cutout.draw(of(cutout), count, inputs.shape[1:])
        inputs = cutout.apply(inputs, middle, asked["cutout"])
    if "erasing" in asked:
        inputs = erasing.apply(inputs, erasing.draw(of(erasing), inputs.shape, asked["erasing"]))
    return inputs


def own(
    network: Any, word: Any, key: Array, inputs: Array, targets: Array
) -> tuple[Array, Array]:
    """The user's function of (key, inputs), or of (key, inputs, targets) where it has a parameter
    of that name. Inputs are what the network is handed: whole numbers, or a dictionary."""
    function, outer = bring.value("augment", word), handing(network)
    given = outer.handed(inputs) if outer else inputs
    made, targets = function(key, given, targets) if "targets" in bring.parameters(function) else \
        (function(key, given), targets)
    return outer.taken_back(made, inputs) if outer else made, targets


def _mixed(
    asked: dict[str, Array], key: Array, inputs: Array, targets: Array, valid_B: Array
) -> tuple[Array, Array]:
    """Each valid example with another, by mixup or CutMix; where both are asked for, a coin says
    for each batch which of them, unless one has no strength. A share of 1 mixes nothing."""
    of_partners, of_share, of_box, of_coin = jax.random.split(key, 4)
    partner_B = mixup.partners(of_partners, valid_B)
    if "mixup" in asked and "cutmix" in asked:
        alpha, beta = asked["mixup"], asked["cutmix"]
        chance = jnp.where(alpha > 0, jnp.where(beta > 0, 0.5, 0.0), 1.0)
        cuts = jax.random.bernoulli(of_coin, chance)
        share = mixup.share(of_share, jnp.where(cuts, beta, alpha))
        blended, pasted = jnp.where(cuts, 1.0, share), jnp.where(cuts, share, 1.0)
    else:
        (alpha,) = (asked[name] for name in ("mixup", "cutmix") if name in asked)
        blended = pasted = mixup.share(of_share, alpha)
    if "mixup" in asked:
        inputs = mixup.apply(inputs, partner_B, blended)
        targets = mixup.apply(targets, partner_B, blended)
    if "cutmix" in asked:
        box = cutmix.draw(of_box, inputs.shape[1:], pasted)
        inputs = cutmix.apply(inputs, partner_B, box)
        targets = mixup.apply(targets, partner_B, cutmix.kept(inputs.shape[1:], box))
    return inputs, targets
