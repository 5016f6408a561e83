"""Numbers to predict: MSE, MAE and R².

    python examples/regression.py
"""

import flax.linen as nn
from sklearn.datasets import load_diabetes

from flaxmill import Config, Hyper, Place, fit

x, y = load_diabetes(return_X_y=True)  # float64 [442, 10] and [442]
x, y = x / x.std(0), (y - y.mean()) / y.std()  # the number to predict may have any scale
network = nn.Sequential((nn.Dense(16), nn.tanh, nn.Dense(1)))

run = fit(Config(task="regression", loss="huber", model=network, epochs=20),
          Hyper(learning_rate=3e-3), data=(x, y), place=Place(device="cpu"))
print(run, run.predict(x[:3]))
