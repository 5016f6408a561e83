"""absl flags made from Config, Hyper, Place and Search, in this one place: argv → Command."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from engine.command import recipe
from engine.command.options import (
    COMMANDS,
    LOGGED,
    MODELS,
    OPTIONS,
    SEARCH,
    WORDED,
    check_followed,
    check_heeded,
)
from engine.command.usage import listed, usage
from engine.config import Config, Hyper, Reading
from engine.doors import bring, hypers, trackers
from engine.doors.checks import check, check_fields
from engine.doors.names import place_of
from engine.errors import RequestError, check_utf8, unknown
from engine.hyper import HYPER_HELP
from engine.optim import lengths, optimizers, schedules, trees
from engine.place import Place
from engine.request import Request
from engine.store import record
from engine.sweep import search as searches
from engine.sweep import space
from engine.sweep.search import Search

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_multi_string,
}
_PARAMETERS = lengths.LENGTH | {"weight_decay": "decay"}  # others are called as their flags


class Command(NamedTuple):
    """What the command line asked for."""

    name: str
    request: Request
    search: Search
    inputs: list[str]
    resume: str
    checkpoint: str
    tta: str
    top: int
    best_of: int
    output: str
    format: str
    host: str
    port: int
    request_rate: int
    plan: str
    summary: bool
    memory: bool
    profile: bool
    importances: bool
    json: bool


def definitions(hyper: Any = Hyper) -> flags.FlagValues:
    """Every flag; those of a request are absent by default, so that a recipe's value stands unless
    one is typed. Those of the traced values are the fields of `hyper`."""
    values = flags.FlagValues()

    def told(default: Any) -> str:
        return "" if default is False or default in (None, "") else f"; default {default}"

    own = Hyper()._asdict() | hyper()._asdict()
    for f in (*dataclasses.fields(Config), *dataclasses.fields(Place)):
        if f.name in own:  # a value of the user's optimizer has its name
            continue
        choices = (*f.metadata["choices"], *["FILE.py:NAME"] * f.metadata["brought"])
        text = f.metadata["help"] + _whose(f.name) + f" ({', '.join(choices)})" * bool(choices)
        kind = str if f.metadata["duration"] else type(f.default)
        _DEFINE[kind](f.name, None, text + told(f.default), flag_values=values)
    for name, default in own.items():
        text = HYPER_HELP[name] + _whose(name) if name in HYPER_HELP else "of the optimizer"
        flags.DEFINE_float(name, None, text + told(default), flag_values=values)
    for name, option in OPTIONS.items():
        _DEFINE[type(option.default)](name, option.default, option.help, flag_values=values)
    for name, option in SEARCH.items():
        _DEFINE[type(option.default)](name, None, option.help, flag_values=values)
    flags.DEFINE_string("config", None, "a recipe, such as configs/article.py; flags override it",
                        flag_values=values)
    flags.DEFINE_boolean("help", False, "show this", short_name="h", flag_values=values)
    flags.DEFINE_boolean("helpfull", False, "show every flag", flag_values=values)
    return values


def _whose(flag: str) -> str:
    """Of its help: the optimizers or schedules that use it, where not all do; the words it takes.
    """
    if flag == "log":
        return f": {', '.join(trackers.TRACKERS)}"
    name = _PARAMETERS.get(flag, flag)
    using = optimizers.users(name) or schedules.users(name)
    return f", for {listed(using)}" if using and {*using} != {*optimizers.OPTIMIZERS} else ""


def _base(values: flags.FlagValues, command: str) -> tuple[Request, Search]:
    """What typed flags override: a saved run, a recipe, or the defaults."""
    saved = values.resume or (values.run_dir if command in MODELS else None)
    request, search = Request(), Search()
    if saved:
        folder = Path(saved)
        several = command == "sweep" or command in MODELS and (folder / "sweep.json").exists()
        found = record.read(folder / ("sweep.json" if several else "config.json"))
        request = found.request
        if command == "sweep":
            search = searches.saved(found)
    if values.config:
        request = recipe.read(values.config)
    elif values.init_from and not saved:
        request = _begun_from(values)
    elif command == "eval" and values.dataset not in (None, request.config.dataset):
        # The run's table of labels is of its own pictures; there others may have their names.
        request = request._replace(config=dataclasses.replace(request.config, labels=""))
    if saved:
        request = request._replace(place=dataclasses.replace(request.place, run_dir=saved))
    return request, search


def _begun_from(values: flags.FlagValues) -> Request:
    """What a run that begins with another's parameters does where nothing is typed: as it did,
    apart from how it began itself; on another set its parts and columns are forgotten."""
    if values.init_from.endswith(".safetensors"):
        return Request()
    request, plain = recipe.read(str(place_of(values.init_from)[0] / "config.json")), Config()
    forgotten = ["init_from", "init_map", "freeze", "unfreeze", "rate"]
    if values["dataset"].present:
        forgotten += ["train_split", "validation_split", "drop_unlabelled", *Reading._fields]
    return request._replace(config=dataclasses.replace(
        request.config, **{name: getattr(plain, name) for name in forgotten}))


def _parsed(argv: list[str], hyper: Any, known: bool) -> tuple[flags.FlagValues, list[str]]:
    """The flags, and the words that are none; with `known`, those of no known flag among them."""
    values = definitions(hyper)
    try:
        for word in argv:
            check_utf8(word)
        return values, values(["launch.py", *argv], known_only=known)[1:]
    except flags.IllegalFlagValueError as error:
        raise _of_another_type(error, values) from None
    except (flags.Error, OSError, ValueError) as error:
        raise RequestError(f"{error} (python launch.py --help lists them)") from None


def _of_another_type(
    error: flags.IllegalFlagValueError, values: flags.FlagValues
) -> RequestError:
    """Of absl's error, which ends with its cause in Python's words."""
    said = str(error).removeprefix("flag ").removesuffix(f": {error.__context__}")
    name = said.partition("=")[0].removeprefix("--")
    wanted = {"bool": f"--{name} or --no{name}", "int": "a whole number", "float": "a number"}
    return RequestError(f"{said}: type {wanted.get(values[name].flag_type(), error)}.")


def parse(argv: list[str]) -> Command | str:
    """The command of `argv` (without the program's name), or the help that it asks for.

    Raises RequestError for anything that can't be meant.
    """
    values, words = _parsed(argv, Hyper, known=True)
    if values.help or values.helpfull:
        texts = {name: values[name].help for name in values if len(name) > 1}
        return usage(COMMANDS, texts, values.helpfull)
    command = next((word for word in words if word in COMMANDS), "train")
    taken = 2 if command == "serve" else 1  # words: serve R is serve --run_dir R
    if words[1:taken] and values.run_dir:
        raise RequestError(f"serve got both {words[1]} and --run_dir: leave one out.")
    if words[1:taken]:
        values["run_dir"].value = words[1]
    check_followed(values, command)
    base, search = _base(values, command)
    # Again, now that it is known whose traced values have flags: an optimizer may bring its own.
    kind = hypers.kind_by(values.optimizer) if ".py:" in (values.optimizer or "") \
        else trees.values_of(values.model or base.config.model) or type(base.hyper)
    values, words = _parsed(argv, kind, known=False)
    if words and words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS)
    if words[taken:] and command not in WORDED:
        raise RequestError(f"{command} takes flags only, but got {' '.join(words[taken:])!r}.")

    def typed(names: Iterable[str]) -> dict[str, Any]:
        return {n: values[n].value for n in names if values[n].present}

    check_heeded(values, command)  # of an optimizer's own values too
    config = dataclasses.replace(base.config, **typed(
        f.name for f in dataclasses.fields(Config) if f.name not in kind._fields))
    place = dataclasses.replace(base.place, **typed(f.name for f in dataclasses.fields(Place)))
    kind = hypers.kind_of(config)
    hyper, left = hypers.carried(base.hyper, kind)
    for name in (*typed(name for name in Hyper._fields if name not in kind._fields),
                 *(left if values.config else ())):
        what = config.model if trees.values_of(config.model) else config.optimizer
        raise RequestError(f"--{name} has no effect with {bring.short(what)}, "
                           f"whose values are {', '.join(kind._fields)}: leave it out.")
    hyper = hyper._replace(**typed(kind._fields))
    asked = typed(SEARCH)
    if "sweep" in asked:
        asked["axes"] = tuple(asked.pop("sweep"))
    search = search._replace(**asked)
    config = bring.absolute(config)
    check(config, hyper)
    check_fields(place)
    if command in LOGGED:
        trackers.check(place.log)
    whole = [command] * (command == "lr-find")
    for what in (*whole, *(f"--{n}" for n in ("plan", "summary") if values[n].value)):
        trees.refuse(config.model, what)
    request = Request(config, hyper, place, base.data)
    if command in ("sweep", "lr-find"):
        space.refuse_threshold(request.config.choose_threshold)
    options: dict[str, Any] = {name: values[name].value for name in OPTIONS}
    return Command(command, request, search, words[1:], **options)
