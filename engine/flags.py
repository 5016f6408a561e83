"""absl flags made from Config and Hyper, in this one place: argv → Request."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from engine.config import HYPER_HELP, Config, Hyper, check, read
from engine.errors import RequestError, unknown

COMMANDS = {
    "train": "train, evaluate and report (the default)",
    "eval": "evaluate a run's checkpoint again: eval --run_dir R",
    "predict": "classify image files: predict --run_dir R image.png ...",
    "doctor": "check that the accelerator really computes",
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
    json: bool
    images: list[str]


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
                       ("checkpoint", "for eval and predict: last or best; default last")):
        flags.DEFINE_string(name, None, text, flag_values=values)
    for name, text in (("summary", "print the model's layers and stop"),
                       ("memory", "print the compiled program's memory plan before it runs"),
                       ("profile", "trace some steps first, and print where their time goes"),
                       ("json", "doctor: print for machines")):
        flags.DEFINE_boolean(name, False, text, flag_values=values)
    flags.DEFINE_boolean("help", False, "show this", short_name="h", flag_values=values)
    return values


def usage() -> str:
    values = _definitions()
    commands = "\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items())
    rows = "\n".join(f"  --{n:17} {values[n].help}" for n in values if len(n) > 1)
    return f"python launch.py [command] [flags]\n\ncommands:\n{commands}\n\nflags:\n{rows}"


def _recipe(path: str) -> tuple[Config, Hyper]:
    """`config` and `hyper` of a Python file such as configs/article.py."""
    spec = importlib.util.spec_from_file_location("recipe", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise RequestError(f"--config {path}: no such recipe; try --config configs/article.py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.config, module.hyper
    except Exception as error:
        raise RequestError(f"--config {path}: {type(error).__name__}: {error}.") from None


def _base(values: flags.FlagValues, command: str) -> tuple[Config, Hyper]:
    """What typed flags override: a saved run, a recipe, or the defaults."""
    saved = values.resume or (values.run_dir if command in ("eval", "predict") else None)
    if values.config:
        config, hyper = _recipe(values.config)
    elif saved:
        config, hyper, _ = read(Path(saved) / "config.json")
    else:
        return Config(), Hyper()
    return (dataclasses.replace(config, run_dir=saved), hyper) if saved else (config, hyper)


def parse(argv: list[str]) -> Request | None:
    """The request of `argv` (without the program's name), or None where it asks for help.

    Raises RequestError for anything that can't be meant.
    """
    values = _definitions()
    try:
        words = values(["launch.py", *argv])[1:]
    except flags.Error as error:
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
    if values.checkpoint not in (None, "last", "best"):
        raise unknown("checkpoint", values.checkpoint, ("last", "best"))

    def typed(names) -> dict[str, Any]:
        return {n: values[n].value for n in names if values[n].present}

    config, hyper = _base(values, command)
    config = dataclasses.replace(config, **typed(f.name for f in dataclasses.fields(Config)))
    hyper = hyper._replace(**typed(Hyper._fields))
    if values.resume and values["run_dir"].present:
        raise RequestError("--resume names the run's folder already: leave --run_dir out.")
    check(config, hyper)
    return Request(command, config, hyper, values.resume or "", values.checkpoint or "last",
                   values.summary, values.memory, values.profile, values.json, words[1:])
