"""What a run computes, but for the traced Hyper: Config, which is static: changing it recompiles.

Imports nothing heavy, so that `launch.py --help` and a mistyped flag answer at once.
"""

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from engine.fields import made_plain, option, plain
from engine.hyper import Hyper as Hyper  # recipes import both from here
from engine.optim import groups, lengths, schedules
from engine.optim.lengths import LENGTH, Duration
from engine.optim.optimizers import OPTIMIZERS
from engine.optim.schedules import SCHEDULES
from engine.optim.trees import TREES

AUTO = "auto"
_HERE = Path(__file__).parent
NETWORKS = tuple(sorted(p.stem for p in _HERE.with_name("models").glob("[!_]*.py")))
MODELS = tuple(sorted((*NETWORKS, *TREES)))
TASKS = tuple(sorted(p.stem for p in (_HERE / "tasks").glob("[!_]*.py")))


@dataclass(frozen=True)
class Config:
    """Values, sizes and durations: all that shapes the compiled program, and what it learns from.

    Equal ones share a program; `dataset`, its parts and the seeds don't enter it, and don't count.
    `seed` is what `fit` makes its key of: fit's run is train(config, hyper, key(seed), data), and
    with an `order_seed` that of `order=key(order_seed)`.
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
    target: str = option("", "the table's column to learn, or columns by commas; by default label, "
                         "target, class or y, else the last", traced=False)
    group: str = option("", "the table's column of groups that a held-out part doesn't divide",
                        traced=False)
    weight: str = option("", "the table's column that multiplies training losses", traced=False)
    embed: bool = option(False, "learn an embedding of a column's words where there are many",
                         traced=False)
    leave_out: str = option("", "the table's columns that are not learned from: id,name",
                            traced=False)
    pixels: bool = option(False, "the table's columns are the pixels of pictures", traced=False)
    drop_unlabelled: bool = option(False, "leave examples without a label out, counted",
                                   traced=False)
    train_split: str = option("train", "the split to train on, or a part: train[:10000]",
                              traced=False)
    validation_split: str = option(AUTO, "a split's name, the share of the training split to hold "
                                   "out (0.1), or a fold (2/5); auto is the split validation, "
                                   "else 0.1", traced=False)
    model: Any = option("cnn", "the network, or trees", MODELS, brought=True)
    init_from: str = option("", "begin with the parameters and statistics of a run: its folder, "
                            "RUN/checkpoints/STEP, or a FILE.safetensors", traced=False)
    init_map: Any = option("", "its arrays' names as this network's: a JSON file of theirs → ours, "
                           "or of pairs of patterns", traced=False)
    task: Any = option(AUTO, "what is learned; auto is regression where targets are numbers, else "
                       "classification", (AUTO, *TASKS), brought=True)
    loss: str = option("", "the loss; by default the task's first")
    class_weights: Any = option("", "weigh the classes' losses: balanced, a number for each, or a "
                                "file of class and weight (JSON, CSV); a dictionary in Python")
    sampling: str = option("shuffled", "the examples of an epoch: each once, or balanced, drawn "
                           "with replacement, every class as often", ("shuffled", "balanced"))
    threshold: float = option(0.5, "the probability from which a label counts, for multilabel, or "
                              "the second of two classes")
    choose_threshold: str = option("off", "of two classes, choose on the validation from which "
                                   "probability the second is said, for the best of this score",
                                   ("off", "f1", "balanced_accuracy", "youden"), traced=False)
    rank_by: str = option("", "the score that ranks checkpoints and runs, such as f1_macro")
    optimizer: Any = option("adam", "the optimizer", tuple(OPTIMIZERS), brought=True)
    freeze: str = option("", "parameters that stay as they are, by path: 'Conv_*,Dense_0/bias'")
    unfreeze: str = option("", "parameters that begin to learn later: 'Conv_1=2ep,Conv_0=300st'")
    rate: str = option("", "learning rates by path, a multiple or a rate of its own: "
                       "'Conv_*=0.1x,Dense_1=0.001'")
    nesterov: bool = option(False, "Nesterov's momentum")
    schedule: str = option("constant", "the learning rate over time", tuple(SCHEDULES))
    warmup_epochs: Duration = option(1.0, "the warm-up, in a line to the peak", duration=True)
    milestones: str = option("", "when the rate drops, such as 30,60 or 300st,600st")
    period: Duration = option(0.0, "from drop to drop, or the first cosine", duration=True)
    plateau_patience: Duration = option(5.0, "without a better score until a drop", duration=True)
    patience: Duration = option(0.0, "stop after so long without a better score; 0 never does",
                                duration=True)
    min_delta: float = option(0.0, "by how much a score has to be better, for --patience")
    monitor: str = option("", "what --patience and --plateau_patience watch, such as val_loss; by "
                          "default the score that ranks checkpoints")
    average_from: Duration = option(0.0, "judge the mean of the weights after every update from "
                                    "there on; 0 keeps none", duration=True)
    epochs: int = option(10, "passes over the training examples", least=1)
    batch_size: int = option(32, "examples an update, over all devices and processes", least=1)
    shuffle: str = option("every_epoch", "when to draw an order of the examples; once is Keras's "
                          "fit after set_random_seed", ("every_epoch", "once"))
    order_seed: int = option(-1, "the seed of the examples' order; -1 takes the run's seed",
                             least=-1, traced=False)
    convolution: str = option("auto", "how to compute convolutions; auto is product, over image "
                              "patches, on a CPU, else direct; native is a kernel that this "
                              "machine's C++ compiler makes for its CPU",
                              ("auto", "product", "direct", "native"))
    precision: str = option("float32", "of products and activations; parameters, statistics and "
                            "loss are float32 always", ("float32", "bf16"))
    microbatch: int = option(0, "examples computed at once within an update; 0 chooses")
    flip: bool = option(False, "augment by random horizontal flips")
    crop_padding: int = option(0, "augment by random crops of images padded by so many pixels")
    randaugment: int = option(0, "augment by so many operations of RandAugment")
    augment: Any = option("", "augment by a function (key, float32 inputs) → inputs, or of (key, "
                          "inputs, targets) → both", brought=True)
    seed: int = option(0, "the root of every random number of the run", traced=False)

    @property
    def watches(self) -> bool:
        """Whether a run looks at its validation's score while it trains."""
        return bool(self.patience) or self.schedule == "plateau"

    @property
    def reading(self) -> "Reading":
        """How its set is to be read."""
        return Reading(*(getattr(self, name) for name in Reading._fields))

    @property
    def durations(self) -> list[tuple[str, Duration]]:
        """Of its durations, those that are asked for and used, each with its flag's name."""
        named = [(name, getattr(self, name)) for name in DURATIONS]
        named += [("milestones", value) for value in lengths.listed(self.milestones)]
        used = [(name, value) for name, value in named if value and self.schedule in (
            schedules.users(LENGTH.get(name, name)) or [self.schedule])]  # or every one may have it
        asked = groups.asked(self.freeze, self.unfreeze, self.rate)
        return used + [("unfreeze", rule.value) for rule in (asked.late if asked else ())]

    @property
    def parts(self) -> "Parts":
        """Which parts of its set are learnt from and validated on."""
        return Parts(self.train_split, self.validation_split, self.drop_unlabelled)

    def __post_init__(self) -> None:
        """NumPy's numbers become Python's, and durations have one form; a Linen module's lists, as
        in nn.Sequential([...]), become tuples, which have a hash; a dictionary becomes the text
        that config.json keeps."""
        made_plain(self)
        for name in DURATIONS:
            with contextlib.suppress(ValueError, TypeError):  # which check_fields tells
                object.__setattr__(self, name, lengths.duration(getattr(self, name)))
        for name in ("class_weights", "init_map"):
            if not isinstance(value := getattr(self, name), str):
                own = {str(k): plain(v) for k, v in value.items()} \
                    if isinstance(value, dict) else value
                text = "" if own is None else json.dumps(own, default=str)  # scikit-learn's None
                object.__setattr__(self, name, text)
        if dataclasses.is_dataclass(self.model) and hasattr(self.model, "clone"):
            lists = {f.name: tuple(value) for f in dataclasses.fields(self.model)
                     if isinstance(value := getattr(self.model, f.name, None), list)}
            if lists and not isinstance(self.model, type):
                object.__setattr__(self, "model", self.model.clone(**lists))


BROUGHT = tuple(f.name for f in dataclasses.fields(Config) if f.metadata["brought"])
DURATIONS = tuple(f.name for f in dataclasses.fields(Config) if f.metadata["duration"])


class Reading(NamedTuple):
    """How a set is to be read: fields of Config, which say what each is."""

    image_size: int = 0
    background: str = "white"
    labels: str = ""
    skip_bad: bool = False
    target: str = ""
    group: str = ""
    weight: str = ""
    embed: bool = False
    pixels: bool = False
    leave_out: str = ""


class Parts(NamedTuple):
    """train_split, validation_split and drop_unlabelled of a Config, which says what each is."""

    train: str = "train"
    validation: str = AUTO
    drop_unlabelled: bool = False


def is_ours(value: Any) -> bool:
    """Whether it is a word: no object, nor one as a run's record has it, nor a file's name."""
    return isinstance(value, str) and ".py:" not in value and not value.startswith("<")
