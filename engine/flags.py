"""absl flags made from Config, Hyper and Search, in this one place: argv → Request."""

import dataclasses
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from engine.config import HYPER_HELP, Config, Hyper, check, read, typed
from engine.errors import RequestError, unknown
from engine.sweep.space import SEARCH_HELP, Search

COMMANDS = {
    "train": "train, evaluate and report (the default)",
    "sweep": "train a population: --sweep learning_rate=log:1e-4:1e-1:16 --seeds 4",
    "lr-find": "train briefly at 32 learning rates at once; draw and suggest",
    "eval": "evaluate a run's checkpoint again: eval --run_dir R",
    "predict": "classify image files: predict --run_dir R image.png ...",
    "doctor": "check that the accelerator really computes",
}

# Flags that only some commands follow.
BELONGS = {
    "summary": ("train",),
    "memory": ("train",),
    "profile": ("train",),
    "plan": ("train",),
    "resume": ("train", "sweep"),
    "checkpoint": ("eval", "predict"),
    "json": ("doctor",),
}

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


class Request(NamedTuple):
    """What the command line asked for."""

    command: str
    config: Config
    hyper: Hyper
    resume: str
    checkpoint: str
    summary: bool
    memory: bool
    profile: bool
    plan: str
    json: bool
    images: list[str]
    search: Search


def _definitions() -> flags.FlagValues:
    """Every flag, absent by default, so that a recipe's value stands unless one is typed."""
    values = flags.FlagValues()
    for f in dataclasses.fields(Config):
        choices = f.metadata["choices"]
        text = f.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        default = "" if f.default == "" else f"; default {f.default}"
        _DEFINE[type(f.default)](f.name, None, text + default, flag_values=values)
    for name, default in Hyper()._asdict().items():
        text = HYPER_HELP[name] + ("" if default is None else f"; default {default}")
        flags.DEFINE_float(name, None, text, flag_values=values)
    for name, text in (("config", "a recipe, such as configs/article.py; flags override it"),
                       ("resume", "go on with the run in this folder"),
                       ("checkpoint", "for eval and predict: last or best; default last"),
                       ("plan", "tell what a run needs on such devices, and stop: 8xH100")):
        flags.DEFINE_string(name, None, text, flag_values=values)
    for name, text in (("summary", "print the model's layers and stop"),
                       ("memory", "print the compiled program's memory plan before it runs"),
                       ("profile", "trace some steps first, and print where their time goes"),
                       ("json", "doctor: print for machines")):
        flags.DEFINE_boolean(name, False, text, flag_values=values)
    for name, default in Search._field_defaults.items():
        text = f"sweep: {SEARCH_HELP[name]}"
        if name == "axes":
            flags.DEFINE_multi_string("sweep", None, text, flag_values=values)
        else:
            _DEFINE[type(default)](name, None, text, flag_values=values)
    flags.DEFINE_boolean("help", False, "show this", short_name="h", flag_values=values)
    return values


def usage() -> str:
    values = _definitions()
    commands = "\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items())
    rows = "\n".join(f"  --{n:17} {values[n].help}" for n in values if len(n) > 1)
    return f"python launch.py [command] [flags]\n\ncommands:\n{commands}\n\nflags:\n{rows}"


def _recipe(path: str) -> tuple[Config, Hyper]:
    """`config` and `hyper` of a Python file such as configs/article.py."""
    if not Path(path).is_file():
        raise RequestError(f"--config {path}: no such recipe; try --config configs/article.py.")
    try:
        found = runpy.run_path(path)
        return typed(Config, vars(found["config"])), typed(Hyper, found["hyper"]._asdict())
    except Exception as error:
        raise RequestError(f"--config {path}: {type(error).__name__}: {error}.") from None


def _base(values: flags.FlagValues, command: str) -> tuple[Config, Hyper, Search]:
    """What typed flags override: a saved run, a recipe, or the defaults."""
    saved = values.resume or (values.run_dir if command in ("eval", "predict") else None)
    config, hyper, search = Config(), Hyper(), Search()
    if saved:
        file = Path(saved) / ("sweep.json" if command == "sweep" else "config.json")
        config, hyper, content = read(file)
        if command == "sweep":
            search = _saved_search(file, content)
    if values.config:
        config, hyper = _recipe(values.config)
    return (dataclasses.replace(config, run_dir=saved) if saved else config), hyper, search


def _saved_search(file: Path, content: dict[str, Any]) -> Search:
    try:
        search = content["search"]
        return typed(Search, search | {"axes": tuple(search["axes"])})
    except (KeyError, TypeError) as error:
        raise RequestError(f"{file} is not a sweep's request: {error}.") from None


def _search(values: flags.FlagValues, command: str, saved: Search) -> Search:
    """The typed search over the saved one. Raises RequestError where it can't be followed."""
    names = {name: "sweep" if name == "axes" else name for name in Search._fields}
    typed: dict[str, Any] = {
        n: values[flag].value for n, flag in names.items() if values[flag].present
    }
    if typed and command not in ("sweep", "lr-find"):
        flag = names[next(iter(typed))]
        raise RequestError(f"--{flag} is for sweeps: type python launch.py sweep --{flag} ...")
    if typed and values.resume:
        raise RequestError(f"--{names[next(iter(typed))]}: a sweep is resumed as it was begun; "
                           "leave it out.")
    if "axes" in typed:
        typed["axes"] = tuple(typed["axes"])
    return saved._replace(**typed)


def parse(argv: list[str]) -> Request | None:
    """The request of `argv` (without the program's name), or None where it asks for help.

    Raises RequestError for anything that can't be meant.
    """
    values = _definitions()
    try:
        for word in argv:
            word.encode()  # another encoding's file name could be neither printed nor saved
        words = values(["launch.py", *argv])[1:]
    except (flags.Error, OSError, ValueError) as error:
        raise RequestError(f"{error} (python launch.py --help lists them)") from None
    if values.help:
        return None
    command = words[0] if words else "train"
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    if words[1:] and command != "predict":
        raise RequestError(f"{command} takes flags only, but got {' '.join(words[1:])!r}.")
    if command in ("eval", "predict") and not values.run_dir:
        raise RequestError(f"{command} needs the run's folder: --run_dir runs/...")
    for name, commands in BELONGS.items():
        if values[name].present and command not in commands:
            raise RequestError(f"--{name} is for {' and '.join(commands)}, not for {command}.")
    if values.checkpoint not in (None, "last", "best"):
        raise unknown("checkpoint", values.checkpoint, ("last", "best"))

    def typed(names) -> dict[str, Any]:
        return {n: values[n].value for n in names if values[n].present}

    config, hyper, search = _base(values, command)
    search = _search(values, command, search)
    config = dataclasses.replace(config, **typed(f.name for f in dataclasses.fields(Config)))
    hyper = hyper._replace(**typed(Hyper._fields))
    if values.resume and values["run_dir"].present:
        raise RequestError("--resume names the run's folder already: leave --run_dir out.")
    check(config, hyper)
    return Request(command, config, hyper, values.resume or "", values.checkpoint or "last",
                   values.summary, values.memory, values.profile, values.plan or "", values.json,
                   words[1:], search)
