"""Commands, and flags that only some of them follow."""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.command.usage import listed
from engine.config import Reading
from engine.errors import RequestError, unknown
from engine.export.formats import DEFAULT, OF_NETWORKS, TREES
from engine.place import Place
from engine.sweep.search import SEARCH_HELP, Search

if TYPE_CHECKING:
    from absl import flags

COMMANDS = {
    "train": "train, evaluate and report (the default)",
    "sweep": "train a population: --sweep learning_rate=log:1e-4:1e-1:16 --seeds 4",
    "lr-find": "train briefly at 32 learning rates at once; draw and suggest",
    "eval": "evaluate a run's checkpoint again: eval --run_dir R",
    "predict": "what a run says of pictures or of a table: predict --run_dir R image.png ...",
    "report": "compare runs, and write a page of it: report R1 R2 ...",
    "export": "a run's model as a file that others read: export --run_dir R --format onnx",
    "serve": "a page, and JSON, that predicts what is sent to it: serve R",
    "doctor": "check that the accelerator really computes",
    "list": "what there is by name: list models, tasks, losses, optimizers, schedules, "
            "augmentations or datasets",
    "completion": "a script that completes commands and flags: completion bash, zsh or fish",
}

WORDED = "predict", "report", "list", "completion"  # which take words
MODELS = "eval", "predict", "export", "serve"  # which take the folder of a run, or of a sweep's
LOGGED = "train", "sweep"  # whose epochs are told to trackers
# Of a request's flags, those that commands heed which train nothing: all others shaped the run.
_ANSWERING = {"precision", "convolution", "threshold", "choose_threshold",
              *(f.name for f in dataclasses.fields(Place))} - {"report", "save_seconds"}
_ROWS = {*Reading._fields} - {"image_size", "labels", "group"}  # how one is read that is asked of
_WHERE = {"device", "data_dir", "compile_cache"}
_HEEDED = {
    "eval": _ANSWERING | {*Reading._fields, "dataset", "train_split", "validation_split",
                          "drop_unlabelled", "loss", "class_weights"},
    "predict": _ANSWERING | _ROWS, "export": _ANSWERING, "serve": _ANSWERING,
    "report": _WHERE, "doctor": _WHERE, "list": _WHERE, "completion": _WHERE,
}


class Option(NamedTuple):
    """A flag that only some commands follow."""

    default: Any
    help: str
    commands: tuple[str, ...]


OPTIONS = {
    "resume": Option("", "go on with the run in this folder", ("train", "sweep")),
    "checkpoint": Option("best", "eval, predict, export and serve: best (by validation) or last; "
                         "default best", MODELS),
    "tta": Option("", "eval and predict: average over views of each picture: flip, shift or both",
                  ("eval", "predict")),
    "top": Option(0, "predict: the so many likeliest classes of each", ("predict",)),
    "best_of": Option(0, "eval, predict and serve of a sweep's folder: average the so many best "
                      "runs by validation; default all", ("eval", "predict", "serve")),
    "output": Option("", "predict: all probabilities, too, into this file.csv or file.json; "
                     "export: the file to write, default R/export/model.*; report: the page's "
                     "file, default comparison.html", ("predict", "export", "report")),
    "format": Option("", f"export: {listed(OF_NETWORKS, 'or')}, of which {DEFAULT} is the default; "
                     f"of XGBoost's trees {TREES}", ("export",)),
    "host": Option("127.0.0.1", "serve: the address to listen at; default 127.0.0.1, this machine "
                   "alone", ("serve",)),
    "port": Option(8000, "serve: its port, 0 for a free one; default 8000", ("serve",)),
    "request_rate": Option(1000, "serve: requests a second that one address may make; default "
                           "1000", ("serve",)),
    "plan": Option("", "tell what a run needs on such devices, and stop: 8xH100", ("train",)),
    "summary": Option(False, "print the model's layers and stop", ("train",)),
    "memory": Option(False, "print the compiled program's memory plan before it runs", ("train",)),
    "profile": Option(False, "trace some steps first, and print where their time goes", ("train",)),
    "importances": Option(False, "of a table: what shuffling each column costs, after training",
                          ("train",)),
    "json": Option(False, "doctor and eval: print for machines", ("doctor", "eval")),
}
SEARCH = {"sweep" if name == "axes" else name:
          Option(default, f"sweep: {SEARCH_HELP[name]}", ("sweep", "lr-find"))
          for name, default in Search._field_defaults.items()}


_OTHERS = {*OPTIONS, *SEARCH, "config", "help", "helpfull"}


def check_heeded(values: "flags.FlagValues", command: str) -> None:
    """Raise RequestError for flags of a request that a command doesn't heed. A network and the like
    may be named anew, as FILE.py:NAME, where the file lies elsewhere now."""
    for name in (name for name in values if values[name].present and name not in _OTHERS):
        moved = command in MODELS and ".py:" in str(values[name].value)
        if name not in _HEEDED.get(command, (name,)) and not moved:
            raise RequestError(f"--{name} has no effect with {command}{_why(name, command)}: leave "
                               "it out.")


def _why(name: str, command: str) -> str:
    """Why a command doesn't heed a flag of a request's."""
    if command == "report":
        return ", which takes the runs' folders as they are"
    if command not in MODELS:
        return ""
    set_apart = name in _HEEDED["eval"] - _HEEDED[command]
    return ", which takes the run as it learned" + (
        ", and reads no set, as eval does" if set_apart else "")


def check_followed(values: "flags.FlagValues", command: str) -> None:
    """Raise RequestError for flags that a command doesn't follow, or lacks."""
    for name, option in (OPTIONS | SEARCH).items():
        if not values[name].present:
            continue
        if command not in option.commands:
            raise RequestError(f"--{name} is for {listed(option.commands)}, not for {command}.")
        if name in SEARCH and values.resume:
            raise RequestError(f"--{name}: a sweep is resumed as it was begun; leave it out.")
    check_heeded(values, command)
    if command in MODELS and not values.run_dir:
        raise RequestError(f"{command} needs the run's folder: --run_dir runs/...")
    if values.checkpoint not in ("last", "best"):
        raise unknown("checkpoint", values.checkpoint, ("last", "best"))
    for name in ("top", "best_of"):
        if values[name].present and getattr(values, name) < 1:
            raise RequestError(f"--{name} {getattr(values, name)}: type 1 or more.")
    if values["log"].present and command not in LOGGED:
        raise RequestError(f"--log is for {' and '.join(LOGGED)}, not for {command}.")
    if values.resume and values["run_dir"].present:
        raise RequestError("--resume names the run's folder already: leave --run_dir out.")
