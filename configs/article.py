"""The run of the article "Using GPU in Machine Learning".

python launch.py --config configs/article.py --device gpu
CIFAR-10, the article's CNN, Adam at 1e-3, ten epochs of batch 32, validated on the test split.
The order of the examples is drawn once, as Keras's fit does after set_random_seed, so that seeded
runs of both compare; --shuffle every_epoch is what fit does without a seed, and gains four points.
Time and accuracy on named hardware: docs/results.md.
"""

from engine.config import Config, Hyper

config = Config(
    dataset="cifar10",
    validation_split="test",
    model="cnn",
    optimizer="adam",
    epochs=10,
    batch_size=32,
    shuffle="once",
)
hyper = Hyper(learning_rate=1e-3)
