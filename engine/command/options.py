"""Commands, and flags that only some of them follow."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.config import Reading
from engine.errors import RequestError, unknown
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
    "list": "what there is by name: list models, tasks, optimizers, schedules, augmentations or "
            "datasets",
    "completion": "a script that completes commands and flags: completion bash, zsh or fish",
}

COMPARED = "device", "data_dir", "compile_cache", "output"  # flags that report follows
# Which say what set is learned from or judged on, and how it is read: nothing to one that answers.
OF_SETS = ("dataset", "train_split", "validation_split", "drop_unlabelled", "image_size", "labels",
           "group")
# And which say how it is asked; a network and the like where its file lies now.
OF_ANSWERS = (*OF_SETS, *Reading._fields, "loss", "threshold", "choose_threshold", "precision",
              "convolution")
ANSWERING = "predict", "export", "serve"
WORDED = "predict", "report", "list", "completion"  # which take words
MODELS = "eval", "predict", "export", "serve"  # which take the folder of a run, or of a sweep's
LOGGED = "train", "sweep"  # whose epochs are told to trackers


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
    "format": Option("", "export: stablehlo (the default), onnx, safetensors or saved_model; of "
                     "XGBoost's trees ubj", ("export",)),
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


def check_followed(values: "flags.FlagValues", command: str) -> None:
    """Raise RequestError for flags that a command doesn't follow, or lacks."""
    for name, option in (OPTIONS | SEARCH).items():
        if not values[name].present:
            continue
        if command not in option.commands:
            users = " and ".join(option.commands[-2:])
            users = ", ".join((*option.commands[:-2], users))
            raise RequestError(f"--{name} is for {users}, not for {command}.")
        if name in SEARCH and values.resume:
            raise RequestError(f"--{name}: a sweep is resumed as it was begun; leave it out.")
    if command == "report":
        for name in (name for name in values if values[name].present and name not in COMPARED):
            raise RequestError(f"--{name} has no effect with report, which takes the runs' folders "
                               "as they are: leave it out.")
    for name in (name for name in OF_SETS if command in ANSWERING and values[name].present):
        raise RequestError(f"--{name} has no effect with {command}, which takes the run as it "
                           "learned, and reads no set: leave it out, or type eval to judge the "
                           "run on a set.")
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


def check_learned(values: "flags.FlagValues", command: str, learning: Iterable[str]) -> None:
    """Raise RequestError for flags that say how a run learns, of those in `learning`, where it has:
    `eval` and the like take it as it did."""
    if command not in MODELS:
        return
    vain = [f"--{name}" for name in learning if values[name].present and name not in OF_ANSWERS
            and ".py:" not in str(values[name].value)]
    if vain:
        raise RequestError(f"{' and '.join(vain)} {'have' if vain[1:] else 'has'} no effect with "
                           f"{command}, which takes the run as it learned: leave "
                           f"{'them' if vain[1:] else 'it'} out.")
