"""A Linen network, with flax's own BatchNorm and Dropout.

    flaxmill --model examples/linen_network.py:Net --dataset digits --epochs 2 --device cpu
    flaxmill eval --run_dir runs/digits-Net-1 --checkpoint best
    flaxmill --resume runs/digits-Net-1 --epochs 3
    python examples/linen_network.py
"""

import flax.linen as nn

from flaxmill import Config, Place, fit


class Net(nn.Module):
    """`num_classes` and `train` are handed over, since it asks for them by name."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Conv(16, (3, 3), strides=3, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Dropout(0.1, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(self.num_classes)(x)


if __name__ == "__main__":
    run = fit(Config(dataset="digits", model=Net, epochs=2), place=Place(device="cpu"))
    print(run)
