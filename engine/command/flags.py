"""absl flags made from Config, Hyper, Place and Search, in this one place: argv → Command."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from engine.config import HYPER_HELP, Config, Hyper, check, check_fields
from engine.doors import bring
from engine.errors import RequestError, unknown
from engine.place import Place
from engine.request import Request
from engine.store import record
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


class Command(NamedTuple):
    """What the command line asked for."""

    name: str
    request: Request
    resume: str
    checkpoint: str
    summary: bool
    memory: bool
    profile: bool
    plan: str
    json: bool
    images: list[str]
    search: Search


def _definitions(hyper: Any = Hyper) -> flags.FlagValues:
    """Every flag, absent by default, so that a recipe's value stands unless one is typed; those of
    the traced values are the fields of `hyper`."""
    values = flags.FlagValues()
    for f in (*dataclasses.fields(Config), *dataclasses.fields(Place)):
        choices = (*f.metadata["choices"], *["FILE.py:NAME"] * f.metadata["brought"])
        text = f.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        default = "" if f.default == "" else f"; default {f.default}"
        _DEFINE[type(f.default)](f.name, None, text + default, flag_values=values)
    for name, default in (Hyper()._asdict() | hyper()._asdict()).items():
        text = HYPER_HELP.get(name, "of the optimizer")
        text += "" if default is None else f"; default {default}"
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


def _recipe(path: str) -> Request:
    """`config`, `hyper` and `data` of a Python file such as configs/article.py, or a run's own
    config.json."""
    file = Path(path)
    if not file.is_file():
        raise RequestError(f"--config {path}: no such recipe; try --config configs/article.py.")
    if file.suffix == ".json":
        saved = record.read(file).request
        return saved._replace(place=dataclasses.replace(saved.place, run_dir=""))
    found = bring.names("--config", file)
    config = found.get("config", Config())
    if not isinstance(config, Config):
        raise RequestError(f"--config {path}: its config is a {type(config).__name__}: give "
                           "config = Config(...).")
    hyper = found.get("hyper", record.hyper_type(config)())
    place = found.get("place", Place())
    if not hasattr(hyper, "_asdict") or not isinstance(place, Place):
        raise RequestError(f"--config {path}: give hyper = Hyper(...) and place = Place(...).")
    return Request(config, hyper, place, found.get("data"))


def _base(values: flags.FlagValues, command: str) -> tuple[Request, Search]:
    """What typed flags override: a saved run, a recipe, or the defaults."""
    saved = values.resume or (values.run_dir if command in ("eval", "predict") else None)
    request, search = Request(), Search()
    if saved:
        file = Path(saved) / ("sweep.json" if command == "sweep" else "config.json")
        found = record.read(file)
        request = found.request
        if command == "sweep":
            search = _saved_search(file, found.content)
    if values.config:
        request = _recipe(values.config)
    if saved:
        request = request._replace(place=dataclasses.replace(request.place, run_dir=saved))
    return request, search


def _saved_search(file: Path, content: dict[str, Any]) -> Search:
    try:
        search = content["search"]
        return record.typed(Search, search | {"axes": tuple(search["axes"])})
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


def _parsed(argv: list[str], hyper: Any) -> tuple[flags.FlagValues, list[str]]:
    values = _definitions(hyper)
    try:
        for word in argv:
            word.encode()  # another encoding's file name could be neither printed nor saved
        return values, values(["launch.py", *argv])[1:]
    except (flags.Error, OSError, ValueError) as error:
        raise RequestError(f"{error} (python launch.py --help lists them)") from None


def _own_hyper(argv: list[str]) -> Any:
    """The class of traced values that an optimizer of the user's own brings, which has flags too:
    of the recipe, run or word that `argv` names."""
    given = {}
    for at, word in enumerate(argv):
        name, equals, text = word.lstrip("-").partition("=")
        if word.startswith("-") and name in ("optimizer", "config", "resume", "run_dir"):
            given[name] = text if equals else next(iter(argv[at + 1 :]), "")
    if ".py:" in given.get("optimizer", ""):
        return bring.first_type(given["optimizer"], Hyper)
    if given.get("config", "").endswith(".py") and Path(given["config"]).is_file():
        return type(_recipe(given["config"]).hyper)
    folder = given.get("resume") or ("predict" in argv or "eval" in argv) and given.get("run_dir")
    files = [Path(folder) / name for name in ("config.json", "sweep.json")] if folder else []
    if given.get("config", "").endswith(".json"):
        files.insert(0, Path(given["config"]))
    found = next((file for file in files if file.is_file()), None)
    return type(record.read(found).request.hyper) if found else Hyper


def parse(argv: list[str]) -> Command | None:
    """The command of `argv` (without the program's name), or None where it asks for help.

    Raises RequestError for anything that can't be meant.
    """
    values, words = _parsed(argv, _own_hyper(argv))
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

    def typed(names: Iterable[str]) -> dict[str, Any]:
        return {n: values[n].value for n in names if values[n].present}

    base, search = _base(values, command)
    config = dataclasses.replace(base.config, **typed(f.name for f in dataclasses.fields(Config)))
    place = dataclasses.replace(base.place, **typed(f.name for f in dataclasses.fields(Place)))
    kind = record.hyper_type(config)
    hyper = base.hyper if isinstance(base.hyper, kind) else kind()
    for name in typed(name for name in Hyper._fields if name not in kind._fields):
        raise RequestError(f"--{name} has no effect with {bring.short(config.optimizer)}, "
                           f"whose values are {', '.join(kind._fields)}: leave it out.")
    hyper = hyper._replace(**typed(kind._fields))
    search = _search(values, command, search)
    if values.resume and values["run_dir"].present:
        raise RequestError("--resume names the run's folder already: leave --run_dir out.")
    config = bring.absolute(config)
    check(config, hyper)
    check_fields(place)
    return Command(command, Request(config, hyper, place, base.data), values.resume or "",
                   values.checkpoint or "last", values.summary, values.memory, values.profile,
                   values.plan or "", values.json, words[1:], search)
