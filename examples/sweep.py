"""Many trainings as one compiled program: learning rates, two seeds of each, of a network of yours.

    python examples/sweep.py
"""

from linen_network import Net
from sklearn.datasets import load_digits

from flaxmill import Config, Place, fit, load, sweep

digits = load_digits()
x, y = digits.images[..., None] / 16, digits.target
config = Config(model=Net, epochs=3)

found = sweep(config, {"learning_rate": "log:1e-4:1e-1:4"}, data=(x, y), seeds=2,
              place=Place(device="cpu"))
for row in found.results:
    print(row["learning_rate"], row["seed"], row["val_accuracy"])
print("the mean of all:", load(found, config).predict(x[:3]).argmax(axis=1), "for", y[:3])
print(fit(*found.best, data=(x, y), place=Place(device="cpu")))
