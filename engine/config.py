"""What a run is: Config (static: changing it recompiles) and Hyper (traced: it never does).

Imports nothing heavy, so that `launch.py --help` and a mistyped flag answer at once.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import RequestError, unknown


def _option(
    default: Any, help: str, choices: tuple[str, ...] = (), least: int = 0, local: bool = False
) -> Any:
    """A Config field. `least` bounds a number; `local` ones say where a run happens, not what it
    computes."""
    metadata = {"help": help, "choices": choices, "least": least, "local": local}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Names, sizes and durations: all that shapes the compiled program, and where it runs."""

    dataset: str = _option(
        "cifar10",
        "a tensorflow-datasets name, the embedded 'digits', image_folder:PATH or csv:PATH",
    )
    image_size: int = _option(0, "resize images to this side in pixels; 0 keeps the set's own")
    train_split: str = _option("train", "the split to train on, or a part: train[:10000]")
    validation_split: str = _option(
        "test", "a split's name, the share of the training split to hold out (0.1), or a fold (2/5)"
    )
    model: str = _option("cnn", "the network", ("cnn", "resnet20"))
    loss: str = _option("softmax_cross_entropy", "the loss", ("softmax_cross_entropy",))
    optimizer: str = _option(
        "adam", "the optimizer", ("adam", "adamw", "sgd", "rmsprop", "lion", "muon")
    )
    nesterov: bool = _option(False, "Nesterov's momentum, for sgd and rmsprop")
    schedule: str = _option(
        "constant",
        "the learning rate over time",
        ("constant", "cosine", "linear", "warmup_cosine"),
    )
    warmup_epochs: float = _option(1.0, "epochs of linear warm-up, for warmup_cosine")
    epochs: int = _option(10, "passes over the training examples", least=1)
    batch_size: int = _option(32, "examples an update, over all devices and processes", least=1)
    shuffle: str = _option(
        "every_epoch",
        "when to draw an order of the examples; once is Keras's fit after set_random_seed",
        ("every_epoch", "once"),
    )
    order_seed: int = _option(
        -1, "the seed of the examples' order; -1 takes the run's seed", least=-1
    )
    convolution: str = _option(
        "auto",
        "how to compute convolutions; auto is product, over image patches, on a CPU, else direct",
        ("auto", "product", "direct"),
    )
    microbatch: int = _option(0, "examples computed at once within an update; 0 chooses")
    flip: bool = _option(False, "augment by random horizontal flips")
    crop_padding: int = _option(0, "augment by random crops of images padded by so many pixels")
    fsdp: bool = _option(
        False, "split parameters and optimizer state over the devices, for models that outgrow one",
        local=True,
    )
    seed: int = _option(0, "the root of every random number of the run")
    device: str = _option("auto", "where to run", ("auto", "cpu", "gpu", "tpu"), local=True)
    data_dir: str = _option("", "tensorflow-datasets' folder (default: $TFDS_DATA_DIR)", local=True)
    compile_cache: bool = _option(
        True, "keep compiled programs on disk, so that the next start is quick", local=True
    )
    run_dir: str = _option("", "the run's folder (default: runs/<dataset>-<model>-<n>)", local=True)
    save_seconds: int = _option(
        600, "save within an epoch too, after so many seconds", least=1, local=True
    )
    stuck_seconds: int = _option(
        0, "give up on a segment that takes longer; 0 is 600 among several processes, else never",
        local=True,
    )
    coordinator: str = _option("", "HOST:PORT of process 0, in a run of many processes", local=True)
    num_processes: int = _option(0, "how many processes; 0 asks Slurm, Open MPI, Kubernetes",
                                 local=True)
    process_id: int = _option(-1, "which of them this one is, from 0", least=-1, local=True)
    join_seconds: int = _option(
        300, "how long to wait for the other processes", least=1, local=True
    )
    heartbeat_seconds: int = _option(
        30, "how long a process may be silent before the others stop", least=1, local=True
    )


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


ADDRESS = ("coordinator", "num_processes", "process_id")
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


def _fits(value: Any, default: Any) -> bool:
    """Whether `value` may stand where `default` does; None stands for a number left out."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(isinstance(text, str) for text in value)
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if default is None or isinstance(default, float):
        return isinstance(value, float | int) or (default is value is None)
    return isinstance(value, type(default))


def typed(kind: Any, values: dict[str, Any]) -> Any:
    """A `kind` (Config, Hyper or Search) of values that came from a file.

    Raises TypeError for an unknown field, and for a value of another type than its default's.
    """
    made, plain = kind(**values), kind()
    for name, value in values.items():
        if not _fits(value, getattr(plain, name)):
            raise TypeError(f"{name} can't be {value!r}")
    return made


def check(config: Config, hyper: Hyper) -> None:
    """Raise RequestError for values that are wrong whatever the data."""
    for f in dataclasses.fields(config):
        name, value = f.name, getattr(config, f.name)
        choices, least = f.metadata["choices"], f.metadata["least"]
        if choices and value not in choices:
            raise unknown(name, value, choices)
        if isinstance(value, str | bool):
            continue
        if not value >= least:  # nor NaN
            raise RequestError(f"--{name} {value}: type {least} or more.")
        most, shown = (2**32, "2³²") if name.endswith("seed") else (2**31, "2³¹")
        if value >= most:
            raise RequestError(f"--{name} {value}: type less than {shown}.")
    if config.microbatch and config.batch_size % config.microbatch:
        raise RequestError(
            f"--microbatch {config.microbatch} does not divide --batch_size {config.batch_size}."
        )
    for name, value in hyper._asdict().items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise RequestError(f"--{name} {value}: type a finite number of 0 or more.")
    for name in BELOW_ONE:
        if (getattr(hyper, name) or 0) >= 1:
            raise RequestError(f"--{name} {getattr(hyper, name)}: type a number below 1.")


class Fold(NamedTuple):
    """The `number`th of `count` parts, from 1."""

    number: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls


def held_out(config: Config) -> float | Fold | None:
    """What `validation_split` takes from the training split; None where it names a split."""
    text = config.validation_split
    value: float | Fold
    try:
        if "/" in text:
            value = Fold(*map(int, text.split("/")))
            sound = 1 <= value.number <= value.count >= 2
        else:
            value = float(text)
            sound = 0 < value < 1
    except (ValueError, TypeError):
        return None
    if not sound:
        raise RequestError(
            f"--validation_split {text}: type a fraction between 0 and 1, such as 0.1, a fold, "
            "such as 2/5, or a split's name, such as test."
        )
    return value


def identity(config: Config, hyper: Hyper) -> dict[str, Any]:
    """The fields that decide what a run computes, flat: two runs with equal ones are the same.

    Of a set that the user named by its path, that is the kind: what it holds has a fingerprint.
    """
    static = {
        f.name: getattr(config, f.name)
        for f in dataclasses.fields(config)
        if not f.metadata["local"]
    }
    static["dataset"] = config.dataset.partition(":")[0]
    return static | hyper._asdict()


def to_json(config: Config, hyper: Hyper) -> dict[str, Any]:
    """What `read` reads; without the address of this process, which is no part of the run."""
    kept = {k: v for k, v in dataclasses.asdict(config).items() if k not in ADDRESS}
    return {"config": kept, "hyper": hyper._asdict()}


def read(path: Path) -> tuple[Config, Hyper, dict[str, Any]]:
    """A run's config.json. Raises RequestError where it is absent or not one of ours."""
    try:
        saved = json.loads(path.read_bytes())
        return typed(Config, saved["config"]), typed(Hyper, saved["hyper"]), saved
    except FileNotFoundError:
        raise RequestError(f"no run in {path.parent}: it holds no {path.name}.") from None
    except OSError as error:
        raise RequestError(f"{path} can't be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(f"{path} is not a run's configuration: {error}.") from None
