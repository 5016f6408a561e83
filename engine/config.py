"""What a run computes: Config (static: changing it recompiles) and Hyper (traced: it never does).

Imports nothing heavy, so that `launch.py --help` and a mistyped flag answer at once.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engine import optim
from engine.errors import RequestError, one_line, unknown

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
                          "image_folder:PATH or csv:PATH", traced=False)
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
    optimizer: Any = option("adam", "the optimizer", tuple(optim.OPTIMIZERS), brought=True)
    nesterov: bool = option(False, "Nesterov's momentum, for sgd and rmsprop")
    schedule: str = option("constant", "the learning rate over time", tuple(optim.SCHEDULES))
    warmup_epochs: float = option(1.0, "epochs of linear warm-up, for warmup_cosine")
    epochs: int = option(10, "passes over the training examples", least=1)
    batch_size: int = option(32, "examples an update, over all devices and processes", least=1)
    shuffle: str = option("every_epoch", "when to draw an order of the examples; once is Keras's "
                          "fit after set_random_seed", ("every_epoch", "once"))
    order_seed: int = option(-1, "the seed of the examples' order; -1 takes the run's seed",
                             least=-1, traced=False)
    convolution: str = option("auto", "how to compute convolutions; auto is product, over image "
                              "patches, on a CPU, else direct", ("auto", "product", "direct"))
    microbatch: int = option(0, "examples computed at once within an update; 0 chooses")
    flip: bool = option(False, "augment by random horizontal flips")
    crop_padding: int = option(0, "augment by random crops of images padded by so many pixels")
    augment: Any = option("", "augment by a function (key, float32 inputs) → inputs", brought=True)
    seed: int = option(0, "the root of every random number of the run", traced=False)

    @property
    def reading(self) -> "Reading":
        """How its set is to be read."""
        return Reading(*(getattr(self, name) for name in Reading._fields))

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


def check_fields(asked: Any) -> None:
    """Raise RequestError for a field of a Config or Place whose value is wrong by itself."""
    for f in dataclasses.fields(asked):
        value, choices, least = getattr(asked, f.name), f.metadata["choices"], f.metadata["least"]
        if f.metadata["brought"] and not is_ours(value):
            continue
        if choices and value not in choices:
            raise unknown(f.name, value, choices)
        bits = 32 if f.name.endswith("seed") else 31
        if not (isinstance(value, str | bool) or least <= value < 2**bits):  # nor NaN
            bound = f"less than {2**bits}" if value >= 2**bits else f"{least} or more"
            raise RequestError(f"--{f.name} {value}: type {bound}.")


def check(config: Config, hyper: Any) -> None:
    """Raise RequestError for what is wrong whatever the data, or has no effect. The command line,
    `fit` and `train` all ask it; a traced value of `hyper` is taken as it is."""
    check_fields(config)
    for name, value in vars(config).items():
        try:
            hash(value)
        except TypeError as error:
            raise RequestError(
                f"{name}: this {type(value).__name__} can't be hashed ({one_line(error)}), and "
                "equal Configs share a program by their hash: use tuples for lists, and frozen "
                "dataclasses."
            ) from None
    for said in (*_impossible(config, hyper), *_without_effect(config, hyper)):
        raise RequestError(said)


def _impossible(config: Config, hyper: Any) -> Iterator[str]:
    """What can't be meant, in words."""
    for name, value in (*hyper._asdict().items(), ("threshold", config.threshold)):
        if not isinstance(value, float | int):
            continue
        if not (math.isfinite(value) and value >= 0):
            yield f"--{name} {value}: type a finite number of 0 or more."
        if name in (*BELOW_ONE, "threshold") and value >= 1:
            yield f"--{name} {value}: type a number below 1."
        if name == "clip_norm" and not value:
            yield "--clip_norm 0 would train nothing: type a norm above 0, such as 1."
    if config.microbatch and config.batch_size % config.microbatch:
        yield f"--microbatch {config.microbatch} does not divide --batch_size {config.batch_size}."
    if config.schedule == "warmup_cosine" and config.warmup_epochs >= config.epochs:
        yield (f"--warmup_epochs {config.warmup_epochs} is as long as the run of {config.epochs} "
               "epochs: type less, or more --epochs.")


def _without_effect(config: Config, hyper: Any) -> Iterator[str]:
    """What nothing would use, naming what would."""
    if config.schedule != "warmup_cosine" and config.warmup_epochs != Config.warmup_epochs:
        yield (f"--warmup_epochs {config.warmup_epochs} has no effect with --schedule "
               f"{config.schedule}: type --schedule warmup_cosine, or leave it out.")
    if not optim.is_ours(config.optimizer):
        if config.schedule != Config.schedule or config.nesterov:
            what = "--nesterov" if config.nesterov else f"--schedule {config.schedule}"
            yield f"{what} has no effect with an optimizer of your own: leave it out."
        return
    given = hyper._asdict() | {"nesterov": config.nesterov or None}
    for name in _idle(config.optimizer):
        if given.get(name) is not None:
            shown = "" if name == "nesterov" else f" {given[name]}"
            yield (f"--{name}{shown} has no effect with --optimizer {config.optimizer}: "
                   f"{' and '.join(optim.users(name))} would use it; leave it out.")
    if config.nesterov and not hyper.momentum:
        yield (f"--nesterov has no effect with --optimizer {config.optimizer} without momentum: "
               "type --momentum 0.9.")


def _idle(optimizer: str) -> list[str]:
    """The values that the named optimizer doesn't use, and another one would."""
    return [name for name in (*Hyper._fields, "nesterov")
            if (users := optim.users(name)) and optimizer not in users]


def without_idle(config: Config, hyper: Any) -> tuple[Config, Any]:
    """Both without values that nothing uses, which runs of before were free to name."""
    if optim.is_ours(config.optimizer):
        idle = _idle(config.optimizer)
        hyper = hyper._replace(**{name: None for name in idle if name != "nesterov"})
        if "nesterov" in idle or not hyper.momentum:
            config = dataclasses.replace(config, nesterov=False)
    if config.schedule != "warmup_cosine":
        config = dataclasses.replace(config, warmup_epochs=Config.warmup_epochs)
    return config, hyper
