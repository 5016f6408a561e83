"""A run in one file: config, hyper, data and place; a flag overrides what is in it.

    flaxmill --config examples/recipe.py
    flaxmill --config examples/recipe.py --learning_rate 3e-3 --epochs 10
    flaxmill sweep --config examples/recipe.py --sweep learning_rate=1e-3,1e-2 --seeds 2
"""

import flax.linen as nn
from sklearn.datasets import load_wine

from flaxmill import Config, Hyper, Place

x, y = load_wine(return_X_y=True)

config = Config(
    model=nn.Sequential((nn.Dense(16), nn.relu, nn.Dense(3))), epochs=20, batch_size=16,
)
hyper = Hyper(learning_rate=1e-2)
data = (x - x.mean(0)) / x.std(0), y
place = Place(device="cpu")
