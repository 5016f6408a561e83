"""What a run computes: Config (static: changing it recompiles) and Hyper (traced: it never does).

Imports nothing heavy, so that `launch.py --help` and a mistyped flag answer at once.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engine.optim.optimizers import OPTIMIZERS
from engine.optim.schedules import SCHEDULES

AUTO = "auto"
_HERE = Path(__file__).parent
MODELS = tuple(sorted(p.stem for p in _HERE.with_name("models").glob("[!_]*.py")))
TASKS = tuple(sorted(p.stem for p in (_HERE / "tasks").glob("[!_]*.py")))


def option(
    default: Any, help: str, choices: tuple[str, ...] = (), least: int = 0, brought: bool = False,
    traced: bool = True,
) -> Any:
    """A field of Config or Place. `least` bounds a number; a `brought` one may be FILE.py:NAME or,
    in Python, an object; one that is not `traced` never enters a program, so that two Configs that
    differ in it alone are equal, and compile once."""
    metadata = {"help": help, "choices": choices, "least": least, "brought": brought}
    return field(default=default, metadata=metadata, compare=traced)


@dataclass(frozen=True)
class Config:
    """Values, sizes and durations: all that shapes the compiled program, and what it learns from.

    Equal ones share a program; `dataset`, its parts and the seeds don't enter it, and don't count.
    `seed` is what `fit` makes its key of: fit's run is train(config, hyper, key(seed), data).
    """

    dataset: str = option("cifar10", "a tensorflow-datasets name, the embedded 'digits', "
                          "'iris', 'wine', 'breast_cancer' or 'diabetes', image_folder:PATH or "
                          "table:PATH", traced=False)
    image_size: int = option(0, "resize images to this side in pixels; 0 keeps the set's own",
                             traced=False)
    background: str = option("white", "the colour behind transparent pictures", traced=False)
    labels: str = option("", "a table of a folder's pictures: file, label and, optionally, split",
                         traced=False)
    skip_bad: bool = option(False, "leave damaged files out, counted", traced=False)
    target: str = option("", "the table's column to learn; by default label, target, class or y, "
                         "else the last", traced=False)
    group: str = option("", "the table's column of groups that a held-out part doesn't divide",
                        traced=False)
    embed: bool = option(False, "learn an embedding of a column's words where there are many",
                         traced=False)
    pixels: bool = option(False, "the table's columns are the pixels of pictures", traced=False)
    drop_unlabelled: bool = option(False, "leave examples without a label out, counted",
                                   traced=False)
    train_split: str = option("train", "the split to train on, or a part: train[:10000]",
                              traced=False)
    validation_split: str = option(AUTO, "a split's name, the share of the training split to hold "
                                   "out (0.1), or a fold (2/5); auto is the split validation, "
                                   "else 0.1", traced=False)
    model: Any = option("cnn", "the network", MODELS, brought=True)
    task: Any = option(AUTO, "what is learned; auto is regression where targets are numbers, else "
                       "classification", (AUTO, *TASKS), brought=True)
    loss: str = option("", "the loss; by default the task's first")
    threshold: float = option(0.5, "the probability from which a label counts, for multilabel")
    optimizer: Any = option("adam", "the optimizer", tuple(OPTIMIZERS), brought=True)
    nesterov: bool = option(False, "Nesterov's momentum, for sgd and rmsprop")
    schedule: str = option("constant", "the learning rate over time", tuple(SCHEDULES))
    warmup_epochs: float = option(1.0, "epochs of linear warm-up, for warmup_cosine")
    epochs: int = option(10, "passes over the training examples", least=1)
    batch_size: int = option(32, "examples an update, over all devices and processes", least=1)
    shuffle: str = option("every_epoch", "when to draw an order of the examples; once is Keras's "
                          "fit after set_random_seed", ("every_epoch", "once"))
    order_seed: int = option(-1, "the seed of the examples' order; -1 takes the run's seed",
                             least=-1, traced=False)
    convolution: str = option("auto", "how to compute convolutions; auto is product, over image "
                              "patches, on a CPU, else direct", ("auto", "product", "direct"))
    precision: str = option("float32", "of products and activations; parameters, statistics and "
                            "loss are float32 always", ("float32", "bf16"))
    microbatch: int = option(0, "examples computed at once within an update; 0 chooses")
    flip: bool = option(False, "augment by random horizontal flips")
    crop_padding: int = option(0, "augment by random crops of images padded by so many pixels")
    augment: Any = option("", "augment by a function (key, float32 inputs) → inputs", brought=True)
    seed: int = option(0, "the root of every random number of the run", traced=False)

    @property
    def reading(self) -> "Reading":
        """How its set is to be read."""
        return Reading(*(getattr(self, name) for name in Reading._fields))

    @property
    def parts(self) -> "Parts":
        """Which parts of its set are learnt from and validated on."""
        return Parts(self.train_split, self.validation_split, self.drop_unlabelled)

    def __post_init__(self) -> None:
        """A Linen module's lists, as in nn.Sequential([...]), become tuples, which have a hash."""
        if dataclasses.is_dataclass(self.model) and hasattr(self.model, "clone"):
            lists = {f.name: tuple(value) for f in dataclasses.fields(self.model)
                     if isinstance(value := getattr(self.model, f.name, None), list)}
            if lists and not isinstance(self.model, type):
                object.__setattr__(self, "model", self.model.clone(**lists))


class Reading(NamedTuple):
    """How a set is to be read: fields of Config, which say what each is."""

    image_size: int = 0
    background: str = "white"
    labels: str = ""
    skip_bad: bool = False
    target: str = ""
    group: str = ""
    embed: bool = False
    pixels: bool = False


class Parts(NamedTuple):
    """train_split, validation_split and drop_unlabelled of a Config, which says what each is."""

    train: str = "train"
    validation: str = AUTO
    drop_unlabelled: bool = False


class Hyper(NamedTuple):
    """Traced scalars, float32 on the device; None leaves the term out of the program."""

    learning_rate: float = 1e-3
    weight_decay: float | None = None
    momentum: float | None = None
    b1: float | None = None
    b2: float | None = None
    eps_root: float | None = None
    clip_norm: float | None = None
    label_smoothing: float | None = None


BELOW_ONE = ("momentum", "b1", "b2", "label_smoothing")
HYPER_HELP = {
    "learning_rate": "the peak learning rate",
    "weight_decay": "decoupled for adamw, lion and muon, else added to the gradient; kernels only",
    "momentum": "for sgd and rmsprop",
    "b1": "the first moment's decay, for adam, adamw and lion",
    "b2": "the second moment's decay, for adam, adamw, rmsprop and lion",
    "eps_root": "under the root of adam and adamw; 1e-8 lets a gradient pass through a whole run",
    "clip_norm": "clip the gradient to this global norm",
    "label_smoothing": "probability spread evenly over all classes",
}


class Durations(NamedTuple):
    """The run's lengths in update steps."""

    epoch: int
    warmup: int
    total: int


def durations(config: Config, num_train: int) -> Durations:
    """Epochs as steps: the only place where one becomes the other."""
    epoch = math.ceil(num_train / config.batch_size)
    return Durations(epoch, round(config.warmup_epochs * epoch), config.epochs * epoch)


def is_ours(value: Any) -> bool:
    """Whether it is a word: no object, nor one as a run's record has it, nor a file's name."""
    return isinstance(value, str) and ".py:" not in value and not value.startswith("<")
