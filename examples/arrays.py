"""Arrays in memory: uint8 pictures are scaled to 0..1, floats are taken as they are.

    python examples/arrays.py
"""

import flax.linen as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from flaxmill import Config, Place, fit, load

x, y = load_digits(return_X_y=True)  # float64 [1797, 64] and int64 [1797]
x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.2, random_state=0)
network = nn.Sequential((nn.Dense(64), nn.relu, nn.Dense(10)))

run = fit(Config(model=network, epochs=5),
          data={"train": (x_train, y_train), "test": (x_test, y_test)}, place=Place(device="cpu"))
print(run, run.predict(x_test[:1]).round(2))

again = load(run.path, run.learner.config)  # in any process; a network in a file needs no config
assert (again.predict(x_test) == run.predict(x_test)).all()
