"""Several labels an example, or none.

    python examples/multilabel.py
"""

import flax.linen as nn
import numpy as np
from sklearn.datasets import load_digits

from flaxmill import Config, Hyper, Place, fit

x, digit = load_digits(return_X_y=True)
labels = np.stack([digit % 2 == 0, digit >= 5, np.isin(digit, (0, 6, 8, 9))], 1)  # [1797, 3]
network = nn.Sequential((nn.Dense(64), nn.relu, nn.Dense(3)))  # even, large, has a hole

run = fit(Config(task="multilabel", model=network, epochs=5), Hyper(learning_rate=3e-3),
          data=(x / 16, labels), place=Place(device="cpu"))
print(run, run.predict(x[:1] / 16).round(2))
