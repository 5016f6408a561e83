"""docs/augmentations.png, a row for each augmentation: python -m benchmarks.augmentations.

The first pictures of CIFAR-10's training split, by a run's own chain.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from engine import Config, Hyper, data_for
from engine.augmentations import chain
from engine.examples import Split
from engine.learners.chosen import learner_of

COUNT = 8
PICTURE = Path(__file__).parent.parent / "docs" / "augmentations.png"
# Flags, and what is asked for.
ROWS: dict[str, dict[str, Any]] = {
    "as they are": {}, "--flip": {"flip": True}, "--crop_padding 4": {"crop_padding": 4},
    "--rotation 15": {"rotation": 15.0},
    "--randaugment 2": {"randaugment": 2},
    "--brightness 0.4": {"brightness": 0.4}, "--contrast 0.8": {"contrast": 0.8},
    "--saturation 1": {"saturation": 1.0}, "--hue 0.2": {"hue": 0.2},
    "--cutout 12": {"cutout": 12.0}, "--erasing 1": {"erasing": 1.0},
    "--mixup 4": {"mixup": 4.0}, "--cutmix 1": {"cutmix": 1.0},
}


def changed(asked: dict[str, Any], images: np.ndarray, key: jax.Array) -> jax.Array:
    """The images as a step of a run would see them."""
    static = {f.name for f in dataclasses.fields(Config)}
    config = Config(**{name: value for name, value in asked.items() if name in static})
    hyper = Hyper(**{name: jnp.float32(v) for name, v in asked.items() if name not in static})
    learner, labels = learner_of(config, 10), jnp.arange(COUNT, dtype=jnp.int32)
    augmented = jax.jit(lambda key, batch: chain.augmented(learner, hyper, key, batch, labels >= 0))
    return augmented(key, Split(images, labels))[0]


def main() -> None:
    data = data_for(Config(dataset="cifar10"))
    images = np.asarray(data.train.split.inputs[:COUNT])
    figure, axes = plt.subplots(len(ROWS), 1, figsize=(5.2, 0.5 * len(ROWS)), dpi=100)
    for number, (axis, (flags, asked)) in enumerate(zip(axes, ROWS.items(), strict=True)):
        found = np.asarray(changed(asked, images, jax.random.key(number)))
        axis.imshow(np.concatenate([np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=1)
                                    for x in found], 1), interpolation="nearest")
        axis.set_ylabel(flags, rotation=0, ha="right", va="center", fontsize=8)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.subplots_adjust(0.25, 0.005, 0.995, 0.995, hspace=0.02)
    figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
