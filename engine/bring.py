"""Words → values, by file name: `cnn` is models/cnn.py, FILE.py:NAME is the user's own.

A user's file is the user's code, and runs as such. Nothing is registered anywhere.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config import MODELS, TASKS, Config
from engine.errors import RequestError, one_line, unknown

_OURS = {"model": (MODELS, "models"), "task": (TASKS, "engine.tasks")}


def is_file(word: Any) -> bool:
    """Whether it is FILE.py:NAME."""
    return isinstance(word, str) and ".py:" in word


def value(kind: str, word: Any) -> Any:
    """What a word of the flag --`kind` stands for; anything but a word is a value already.

    Raises RequestError: no such file, no such name in it, a file that raises.
    """
    if not isinstance(word, str) or not word:
        return word
    if is_file(word):
        file, _, name = word.rpartition(":")
        return _named(kind, Path(file).expanduser(), name)
    if word.startswith("<"):
        raise RequestError(f"{kind} {word} was an object in Python: go on there, giving it again: "
                           "fit(config, resume=path), load(path, config).")
    names, package = _OURS.get(kind, ((), ""))
    if word not in names:
        raise RequestError(f"--{kind} {word}: {unknown(kind, word, names)} Your own is "
                           f"--{kind} FILE.py:NAME." if names else
                           f"--{kind} {word}: type FILE.py:NAME.")
    module = importlib.import_module(f"{package}.{word}")
    return next(v for k, v in vars(module).items() if k.lower() == word.replace("_", ""))


def names(flag: str, file: Path) -> dict[str, Any]:
    """What a file of the user's defines."""
    return vars(_loaded(f"{flag} {file}", str(file.absolute()), digest(file)))


def _named(kind: str, file: Path, name: str) -> Any:
    module = names(f"--{kind}", file)
    if name not in module:
        own = [k for k, v in module.items() if not k.startswith("_")
               and getattr(v, "__module__", module["__name__"]) == module["__name__"]]
        raise unknown(f"name in {file}", name, own)
    return module[name]


def digest(file: Path) -> str:
    """The file's SHA-256. Raises RequestError where it can't be read."""
    try:
        if not file.is_file():
            raise RequestError(f"{file}: no such file.")
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise RequestError(f"{file} can't be read: {error.strerror}.") from None


@functools.cache  # equal words stand for the same objects, while the file is the same
def _loaded(flag: str, path: str, _digest: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"user_file_{Path(path).stem}", path)
    assert spec and spec.loader  # of a file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    sys.path.insert(0, str(Path(path).parent))  # as `python FILE` would
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RequestError(f"{flag}: {raised(error, path)}.") from None
    finally:
        sys.path.remove(str(Path(path).parent))
    return module


def raised(error: BaseException, path: str = "") -> str:
    """What a user's code raised, in a line: where in their file, and their error's own words."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if f.filename == path] if path else frames
        place = f"{own[-1].filename}, line {own[-1].lineno}" if own else path or "there"
    said = one_line(traceback.format_exception_only(error)[-1])
    return f"{place}: {said}"


def parameters(function: Callable) -> dict[str, inspect.Parameter]:
    """Of a function or of a class's __init__, which a metaclass may hide; {} of what tells none."""
    try:
        if isinstance(function, type):
            return dict(list(inspect.signature(function.__init__).parameters.items())[1:])
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def called(what: str, function: Callable, handed: dict[str, Any]) -> Any:
    """`function` of those of `handed` that its signature has. Raises RequestError where it wants
    others, or raises."""
    asked = parameters(function)
    lacking = [p.name for p in asked.values()
               if p.name not in handed and p.default is p.empty
               and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if lacking:
        found = ", ".join(map(str, asked.values()))
        raise RequestError(f"{what} wants ({found}), and is called with {', '.join(handed)}, those "
                           f"that it has: give {' and '.join(lacking)} a default.")
    try:
        return function(**{k: v for k, v in handed.items() if k in asked})
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(f"{what}: {raised(error)}.") from None


def task(config: Config) -> Any:
    """The task of a Config. Raises RequestError for a loss that it doesn't have."""
    made = value("task", config.task)
    object_itself = not isinstance(made, type)  # has its loss and threshold already
    if not object_itself:
        handed = {"loss_name": config.loss, "threshold": config.threshold}
        made = called(f"task {short(config.task)}", made, handed)
    losses = getattr(made, "losses", ())
    if config.loss and (object_itself or config.loss not in losses):
        if object_itself or not losses:
            raise RequestError(f"--loss {config.loss} has no effect with a task of your own, which "
                               "has its own: leave it out.")
        raise unknown(f"loss of --task {short(config.task)}", config.loss, losses)
    if config.threshold != Config.threshold and (object_itself or not hasattr(made, "threshold")):
        raise RequestError(f"--threshold {config.threshold} has no effect with --task "
                           f"{short(config.task)}: type --task multilabel, or leave it out.")
    return made


def first_type(word: Any, default: Any) -> Any:
    """The NamedTuple class that a user's function names as the type of its first parameter."""
    if isinstance(word, str) and not is_file(word):
        return default
    function = value("optimizer", word)
    if not callable(function):
        raise RequestError(f"optimizer {short(word)} is a {type(function).__name__}: give a "
                           "function of (hyper, durations) that returns an Optax chain.")
    try:
        first = next(iter(inspect.signature(function).parameters))
        hint = typing.get_type_hints(function).get(first)
    except (TypeError, ValueError, NameError, StopIteration):
        return default
    return hint if isinstance(hint, type) and hasattr(hint, "_fields") else default


def short(word: Any) -> str:
    """What to call a word or value: MyNet for my_net.py:MyNet."""
    if isinstance(word, str):
        return word.rpartition(":")[2]
    return getattr(word, "__name__", type(word).__name__)


def written(word: Any) -> Any:
    """How config.json keeps a field that may be a value: a word as it is, else its repr."""
    plain = word is None or isinstance(word, str | int | float | bool)
    return word if plain else f"<{' '.join(repr(word).split())}>"


def absolute(config: Config) -> Config:
    """The same with files named from the root, so that a run is found again from any folder."""
    changed: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        word = getattr(config, f.name)
        if f.metadata["brought"] and is_file(word):
            file, _, name = word.rpartition(":")
            changed[f.name] = f"{Path(file).expanduser().absolute()}:{name}"
    return dataclasses.replace(config, **changed) if changed else config


def digests(config: Config) -> dict[str, str]:
    """The SHA-256 of each file of the user's that a Config names, by its field."""
    words = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)
             if f.metadata["brought"]}
    return {name: digest(Path(word.rpartition(":")[0])) for name, word in words.items()
            if is_file(word)}
