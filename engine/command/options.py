"""Commands, and flags that only some of them follow."""

from typing import Any, NamedTuple

from engine.sweep.space import SEARCH_HELP, Search

COMMANDS = {
    "train": "train, evaluate and report (the default)",
    "sweep": "train a population: --sweep learning_rate=log:1e-4:1e-1:16 --seeds 4",
    "lr-find": "train briefly at 32 learning rates at once; draw and suggest",
    "eval": "evaluate a run's checkpoint again: eval --run_dir R",
    "predict": "what a run says of pictures or of a table: predict --run_dir R image.png ...",
    "doctor": "check that the accelerator really computes",
    "list": "what there is by name: list models, tasks, optimizers, schedules, augmentations or "
            "datasets",
}

LOGGED = "train", "sweep"  # whose epochs are told to trackers
MODELS = "eval", "predict"  # which take the folder of a run, or of a sweep's


class Option(NamedTuple):
    """A flag that only some commands follow."""

    default: Any
    help: str
    commands: tuple[str, ...]


OPTIONS = {
    "resume": Option("", "go on with the run in this folder", ("train", "sweep")),
    "checkpoint": Option("best", "for eval and predict: best (by validation) or last; default best",
                         ("eval", "predict")),
    "tta": Option("", "eval and predict: average over views of each picture: flip, shift or both",
                  ("eval", "predict")),
    "top": Option(0, "predict: the so many likeliest classes of each", ("predict",)),
    "best_of": Option(0, "eval and predict of a sweep's folder: average the so many best runs by "
                      "validation; default all", ("eval", "predict")),
    "output": Option("", "predict: all probabilities, too, into this file.csv or file.json",
                     ("predict",)),
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
