"""A class of each pixel, and pixels without one: squares and discs in noise.

    python examples/segmentation.py
"""

import flax.linen as nn
import jax
import numpy as np

from flaxmill import Config, Hyper, Place, fit

rng, side, count = np.random.default_rng(0), 24, 256
down, right = np.mgrid[:side, :side]
pictures = rng.integers(0, 70, (count, side, side, 1)).astype(np.uint8)
classes = np.zeros((count, side, side), np.int32)
for picture, mask in zip(pictures, classes, strict=True):
    for kind in 1, 2:
        y, x, size = *rng.integers(5, side - 5, 2), rng.integers(3, 6)
        away = abs(down - y), abs(right - x)
        inside = np.maximum(*away) < size if kind == 1 else np.hypot(*away) < size
        picture[inside], mask[inside] = picture[inside] + 60 * kind, kind
classes[:, 0] = classes[:, -1] = -1  # neither learned nor scored


class Network(nn.Module):
    """Half as large inside, with a shortcut, as a U-Net has it."""

    num_classes: int

    @nn.compact
    def __call__(self, x):
        fine = nn.relu(nn.Conv(16, (3, 3))(x))
        coarse = nn.relu(nn.Conv(32, (3, 3), strides=2)(fine))
        coarse = nn.relu(nn.Conv(32, (5, 5))(coarse))
        wide = jax.image.resize(coarse, (*fine.shape[:3], 32), "nearest")
        both = jax.numpy.concatenate([fine, wide], axis=-1)
        return nn.Conv(self.num_classes, (1, 1))(nn.relu(nn.Conv(16, (3, 3))(both)))


run = fit(Config(model=Network, task="positions", epochs=6, flip=True, class_weights="balanced"),
          Hyper(learning_rate=1e-2), Place(device="cpu"), data=(pictures, classes))
print(run.predict(pictures[:1]).shape)  # [1, 24, 24], int32
for name, row in run.metrics["per_class"].items():
    print(name, row)
