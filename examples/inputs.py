"""Several inputs by their names: numbers beside a code to embed.

    python examples/inputs.py
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_diabetes

from flaxmill import Config, Hyper, Place, fit

x, y = load_diabetes(return_X_y=True, scaled=False)
measured = {
    "numbers": (x - x.mean(0)) / x.std(0),  # float32 in the network, [B, 10]
    "decade": (x[:, 0] // 10).astype(int),  # int32, [B]
}


class Network(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, x, train: bool):
        both = jnp.concatenate([x["numbers"], nn.Embed(10, 4)(x["decade"])], axis=-1)
        hidden = nn.Dropout(0.1, deterministic=not train)(nn.relu(nn.Dense(64)(both)))
        return nn.Dense(self.num_outputs)(hidden)


scaled = (y - y.mean()) / y.std()
run = fit(Config(model=Network, task="regression", epochs=30), Hyper(learning_rate=3e-3),
          Place(device="cpu"), data=(measured, scaled))
print(run.predict({name: values[:2] for name, values in measured.items()}), np.float32(scaled[:2]))
