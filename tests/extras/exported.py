"""Runs to export and to serve, as they are after training, made without it."""

import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import nnx
from sklearn.datasets import load_sample_image

from engine import Config
from engine.config import Reading
from engine.learners.chosen import learner_of
from engine.sets.columns import Columns
from engine.state import State, sorted_out
from engine.tasks.positions import Positions
from engine.trained import Run
from models.convnext import ConvNeXt
from models.unet import UNet
from models.vit import ViT
from models.wideresnet import WideResNet


class ByLength(nn.Module):
    """A user's that takes its batch's size for a number, and draws in training."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes)(nn.Dropout(0.5, deterministic=not train)(x))


class Nnx(nnx.Module):
    """A user's that keeps batch statistics."""

    def __init__(self, rngs: nnx.Rngs, num_outputs: int):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.out = nnx.Linear(4, num_outputs, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.norm(self.conv(x))).mean((1, 2)))


PICTURES = {
    **dict.fromkeys(("cnn", "resnet20", "resnet18", "linear", "svm", "mlp", "soft_tree")),
    "wideresnet": functools.partial(WideResNet, depth=10, width=1),
    "vit": functools.partial(ViT, width=24, depth=2),
    "convnext": functools.partial(ConvNeXt, depths=(1, 1), widths=(8, 16)),
    "unet": functools.partial(UNet, widths=(4, 6)), "linen": ByLength, "nnx": Nnx,
}
TABLES = {"classes": ("mlp", "classification"), "numbers": ("mlp", "regression"),
          "labels": ("mlp", "multilabel")}
SHAPE = 20, 20, 3


def photographs() -> np.ndarray:
    """uint8 [6, *SHAPE], parts of a real one."""
    china = load_sample_image("china.jpg")
    return np.stack([china[at : at + 200 : 10, 200 + at : 400 + at : 10]
                     for at in range(0, 226, 40)])


def table(count: int = 200) -> pd.DataFrame:
    """Numbers, some missing; dates; few words, some missing; many words."""
    rng = np.random.default_rng(0)
    found = pd.DataFrame({
        "age": rng.integers(1, 80, count).astype(float), "fare": rng.uniform(5, 90, count).round(2),
        "sex": rng.choice(["f", "m"], count).astype(object),
        "town": rng.choice([f"t{i}" for i in range(60)], count),
        "born": pd.date_range("1990-01-01", periods=count, freq="13D")})
    found.loc[::7, "age"] = np.nan
    found.loc[::9, "sex"] = None
    return found


def drawn(array: jax.ShapeDtypeStruct) -> np.ndarray:
    """Weights that keep a sum's size, and moments, scales and biases that are no beginner's."""
    rng, rows = np.random.default_rng(array.size), np.prod(array.shape[:-1])
    found = rng.standard_normal(array.shape) / np.sqrt(rows) if len(array.shape) > 1 else \
        rng.uniform(0.3, 1, array.shape)
    return found.astype(array.dtype)


def made(name: str, folder: Path = Path("nowhere")) -> Run:
    """The run of a name of PICTURES or TABLES; its parameters and statistics are no beginner's."""
    columns, classes = None, ("cat", "dog", "eel")
    if name in TABLES:
        model, task = TABLES[name]
        classes = ("y",) if task == "regression" else classes
        targets = 50 + 9 * np.random.default_rng(1).standard_normal((200, 1))
        columns = Columns.fit(table(), Reading(embed=True),
                              targets if task == "regression" else None)
        shape, dtype = (len(columns.names),), "float32"
    else:
        model = PICTURES[name] or name
        task = Positions(probabilities=True) if name == "unet" else "classification"
        shape, dtype = SHAPE, "uint8"
    convolution = "direct" if name in ("resnet18", "wideresnet") else "auto"  # compiles sooner
    learner = learner_of(Config(model=model, task=task, convolution=convolution), len(classes),
                         columns=columns)
    variables = jax.eval_shape(learner.network.init, jax.random.key(0), jnp.zeros((1, *shape)))
    variables = jax.tree.map(drawn, variables)
    state = State(jnp.int32(7), variables["params"], opt_state=(), tally=(),
                  diverged_at=jnp.int32(-1), **sorted_out(variables))
    return Run(folder / name, [], {"accuracy": 0.75}, state, learner, classes, shape, dtype,
               columns)
