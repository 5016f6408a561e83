"""Words → values, by file name: `cnn` is models/cnn.py, FILE.py:NAME is the user's own.

A user's file is the user's code, and runs as such. Nothing is registered anywhere.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config import MODELS, TASKS, Config
from engine.errors import RequestError, one_line, unknown

MOST_WRITTEN = 300  # characters
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
    """What a file of the user's defines. Raises RequestError where it raises."""
    found = digest(file)
    try:
        return vars(_loaded(str(file.absolute()), found))
    except _Raised as error:
        raise RequestError(f"{flag} {file}: {error}.") from None


class _Raised(Exception):
    """In words, what a user's file raised."""


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


@functools.cache  # the same file stands for the same objects, however its path was typed
def _loaded(path: str, _digest: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"user_file_{Path(path).stem}", path)
    assert spec and spec.loader  # of a file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    sys.path.insert(0, str(Path(path).parent))  # as `python FILE` would
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _Raised(raised(error, path)) from None
    finally:
        sys.path.remove(str(Path(path).parent))
    return module


def raised(error: BaseException, path: str = "") -> str:
    """What a user's code raised, in a line: where in their file, and their error's own words."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename == path or not path and _is_a_users(f.filename)]
    said = one_line(next(iter(str(error).strip().splitlines()), "")).rstrip(".")
    place = f"{own[-1].filename}, line {own[-1].lineno}: " if own else f"{path}: " if path else ""
    return f"{place}{type(error).__name__}: {said}"


def _is_a_users(file: str) -> bool:
    """Whether a file is neither ours, nor Python's or a package's."""
    path, own = Path(file), Path(__file__).parents[1]  # engine/
    library = Path(inspect.__file__).parent
    return not ({"site-packages", "dist-packages"} & {*path.parts} or file.startswith("<")
                or own in path.parents or own.with_name("models") == path.parent
                or library in path.parents)


def parameters(function: Callable) -> dict[str, inspect.Parameter]:
    """Of a function or of a class's __init__, which a metaclass may hide; {} of what tells none."""
    try:
        if isinstance(function, type):
            own = inspect.signature(function.__init__)  # type: ignore[misc]
            return dict(list(own.parameters.items())[1:])
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


def check_call(what: str, function: Any, *handed: str) -> None:
    """Raise RequestError for what can't be called with so many."""
    if not callable(function):
        raise RequestError(f"{what} is a {type(function).__name__}: give a function of "
                           f"({', '.join(handed)}).")
    try:
        inspect.signature(function).bind(*handed)
    except ValueError:  # it tells none
        pass
    except TypeError:
        found = ", ".join(map(str, parameters(function).values()))
        raise RequestError(f"{what} wants ({found}), and is called with "
                           f"({', '.join(handed)}): give it these.") from None


def task(config: Config) -> Any:
    """The task of a Config. Raises RequestError for a loss that it doesn't have."""
    made = value("task", config.task)
    object_itself = not isinstance(made, type)  # has its loss and threshold already
    if not object_itself:
        handed = {"loss_name": config.loss, "threshold": config.threshold}
        made = called(f"task {short(config.task)}", made, handed)
    from engine.task import KINDS, Task

    what = f"task {short(config.task)}"
    if not isinstance(made, Task):
        raise RequestError(f"{what} is a {type(made).__name__}: give a subclass of flaxmill.Task.")
    if made.kind not in KINDS:
        raise unknown(f"kind of {what}", str(made.kind), KINDS)
    if type(made).loss is Task.loss:
        raise RequestError(f"{what} has no loss: give it loss(self, outputs, targets, hyper), of "
                           "each example, [B].")
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
    if isinstance(word, str):  # a value is written as <MyNet(features = 3)>
        return word.strip("<>").partition("(")[0].rpartition(":")[2]
    return getattr(word, "__name__", type(word).__name__)


def written(word: Any) -> Any:
    """How config.json keeps a field that may be a value: a word as it is, a class or function by
    its name, else its repr without addresses, which another process would have others of."""
    if word is None or isinstance(word, str | int | float | bool):
        return word
    told = getattr(word, "__qualname__", "") or re.sub(" at 0x[0-9a-f]+", "", repr(word))
    text = " ".join(told.split())
    if len(text) > MOST_WRITTEN:  # an NNX module's has its weights
        text = f"{type(word).__qualname__} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text if text.startswith("<") else f"<{text}>"


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
