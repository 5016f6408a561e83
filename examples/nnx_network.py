r"""A network in NNX.

    flaxmill --model examples/nnx_network.py:Net --dataset digits --epochs 2 --device cpu
    flaxmill sweep --model examples/nnx_network.py:Net --dataset digits --epochs 1 \
        --sweep learning_rate=1e-4,1e-3 --device cpu
    python examples/nnx_network.py
"""

import jax
from flax import nnx

from flaxmill import Config, Place, fit


class Net(nnx.Module):
    """`num_outputs` and `rngs` are handed over, since it asks for them by name."""

    def __init__(self, num_outputs: int, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(32 * 32, 64, rngs=rngs)
        self.norm = nnx.BatchNorm(64, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.out = nnx.Linear(64, num_outputs, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.norm(self.hidden(x.reshape(x.shape[0], -1))))
        return self.out(self.dropout(x))


if __name__ == "__main__":
    run = fit(Config(dataset="digits", model=Net, epochs=2), place=Place(device="cpu"))
    print(run)
