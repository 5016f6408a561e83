"""A sequence of examples: a PyTorch Dataset, a tfds data_source, a Hugging Face dataset, a list.

    python examples/sequence.py
"""

import flax.linen as nn
import numpy as np
from sklearn.datasets import load_digits

from flaxmill import Config, Place, fit


class Digits:
    """Whatever has a length, and gives a pair (input, target) or a mapping for a number."""

    classes = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

    def __init__(self):
        self.images, self.labels = load_digits(return_X_y=True)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        pixels = np.uint8(self.images[index].reshape(8, 8, 1) * 15.9)
        return {"image": pixels, "label": self.labels[index]}


network = nn.Sequential((lambda x: x.reshape(len(x), -1), nn.Dense(64), nn.relu, nn.Dense(10)))
run = fit(Config(model=network, epochs=5), data=Digits(), place=Place(device="cpu"))
print(run, run.classes)
