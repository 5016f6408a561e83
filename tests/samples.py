"""Small examples and networks, under strict dtype promotion; whoever runs tests imports it."""

import gc

import flax.linen as nn
import jax
import numpy as np

from engine.data import whole
from engine.examples import Split
from engine.feed import Data

jax.config.update("jax_numpy_dtype_promotion", "strict")
gc.freeze()  # what is imported stays: no collection need look at it again
gc.set_threshold(20_000, 20, 20)  # tracing leaves many objects, of which nearly all live on


def random_split(count: int, classes: int = 4, side: int = 18, seed: int = 0) -> Split:
    """Images whose brightness tells their class, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count).astype(np.int32)
    noise = rng.integers(0, 60, (count, side, side, 1))
    return Split((noise + 45 * labels[:, None, None, None]).astype(np.uint8), labels)


def data_of(train: Split, validation: Split, num_classes: int = 4) -> Data:
    """Two whole splits on the device."""
    return jax.device_put(Data(whole(train), whole(validation), num_classes))


class Tiny(nn.Module):
    """A network that compiles in no time: for tests of what is around it."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_classes)(x)


class Normed(nn.Module):
    """One that keeps batch statistics. A bias before them would have a gradient of rounding only,
    which Adam enlarges: there is none."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(16, use_bias=False)(x.reshape(x.shape[0], -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(self.num_classes)(x)
