"""Words → values, by file name: `cnn` is models/cnn.py, FILE.py:NAME is the user's own, whose code
runs as such. Nothing is registered anywhere.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from engine.config import AUTO, BROUGHT, NETWORKS, TASKS, Config, is_ours
from engine.doors import ours
from engine.errors import RequestError, one_line, unknown
from engine.optim.trees import values_of

MOST_WRITTEN = 300  # characters
importing = ContextVar("importing", default="")  # the user's file that runs now, in this thread
_OURS = {"model": (NETWORKS, "models"), "task": (TASKS, "engine.tasks")}


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
        found = names(f"--{kind}", Path(file).expanduser())
        if name not in found:
            own = [k for k, v in found.items() if not k.startswith("_")
                   and getattr(v, "__module__", found["__name__"]) == found["__name__"]]
            raise unknown(f"name in {file}", name, own)
        return found[name]
    if not is_ours(word):
        raise RequestError(f"{kind} {word} was an object in Python: go on there, giving it again: "
                           "fit(config, resume=path), load(path, config).")
    words, package = _OURS.get(kind, ((), ""))
    if word not in words:
        hint = f"{unknown(kind, word, words)} Your own is --{kind}" if words else "type"
        raise RequestError(f"--{kind} {word}: {hint} FILE.py:NAME.")
    return ours.found(package, word)


def names(flag: str, file: Path) -> dict[str, Any]:
    """What a file of the user's defines. Raises RequestError where it raises."""
    with telling(f"{flag} {file}"):
        return vars(_loaded(str(file.absolute()), digest(file)))


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
    outer = importing.set(path)
    try:
        spec.loader.exec_module(module)
    finally:
        importing.reset(outer)
        sys.path.remove(str(Path(path).parent))
    return module


@contextlib.contextmanager
def telling(what: str, instead: str = "") -> Iterator[None]:
    """What a user's code raises becomes a RequestError: in a line, with the file and line where it
    was theirs, and their error's own words."""
    try:
        yield
    except RequestError:
        raise
    except (Exception, SystemExit) as error:  # it raises what it likes
        said = one_line(str(error).strip().partition("\n")[0] or error)
        said = said.partition(" (https://flax")[0].rstrip(".")
        own = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)
               if _is_a_users(f.filename)]
        if isinstance(error, SyntaxError):
            own, said = [(error.filename or "", error.lineno)], error.msg
        place = f"{own[-1][0]}, line {own[-1][1]}: " if own else ""
        raise RequestError(f"{what}: {place}{type(error).__name__}: {said}.{instead}") from None


def _is_a_users(file: str) -> bool:
    """Whether a file is neither ours, nor Python's or a package's."""
    path, engine = Path(file), Path(__file__).parents[1]
    others = engine, engine.with_name("models"), Path(inspect.__file__).parent
    return not (file.startswith("<") or {"site-packages", "dist-packages"} & {*path.parts}
                or any(map(path.is_relative_to, others)))


def parameters(function: Callable) -> list[str]:
    """Of a function or of a class's __init__, which a metaclass may hide; [] of what tells none."""
    if isinstance(function, functools.partial) and isinstance(made := function.func, type):
        if made.__init__ is not object.__init__:  # type: ignore[misc]
            return parameters(made)[1 + len(function.args):]  # what follows self and its own
    own: Any = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    with contextlib.suppress(TypeError, ValueError):
        return [*inspect.signature(own).parameters]
    return []


def called(what: str, function: Callable, handed: dict[str, Any]) -> Any:
    """`function` of those of `handed` that it names. Raises RequestError where it raises."""
    with telling(what, f" It is called with what it asks for of {', '.join(handed)}."):
        return function(**{name: handed[name] for name in parameters(function) if name in handed})


def losses_of(model: Any) -> tuple[str, ...]:
    """The losses that make a network of ours what it is, the default first: svm's; else ()."""
    network = is_ours(model) and not values_of(model)
    return getattr(value("model", model), "losses", ()) if network else ()


def task(config: Config) -> Any:
    """The task of a Config, classification where no data has decided, with the loss that a network
    is learned by. Raises RequestError for a loss that it doesn't have."""
    from engine.task import KINDS, Task  # late: flags are read without jax

    word = "classification" if config.task == AUTO else config.task
    name, made = short(word), value("task", word)
    of_class = isinstance(made, type)  # an object has its loss and threshold already
    own = losses_of(config.model)
    if of_class:
        loss = config.loss or next(iter(own), "")
        made = called(f"task {name}", made, {"loss_name": loss, "threshold": config.threshold})
    if not isinstance(made, Task):
        raise RequestError(f"task {name} is a {type(made).__name__}: give a subclass of "
                           "flaxmill.Task.")
    if made.kind not in KINDS:
        raise unknown(f"kind of task {name}", str(made.kind), KINDS)
    losses = getattr(made, "losses", ()) if of_class else ()
    if config.loss and not losses:
        raise RequestError(f"--loss {config.loss} has no effect with your own task: leave it out.")
    if config.loss and config.loss not in losses:
        raise unknown(f"loss of --task {name}", config.loss, losses)
    if own and not {*own} & {*losses}:
        raise RequestError(f"--model {config.model} is learned by the loss {' or '.join(own)}, "
                           f"which task {name} doesn't have: type --model linear.")
    if own and config.loss and config.loss not in own:
        raise RequestError(f"--loss {config.loss} would make --model {config.model} the model "
                           f"linear: type --model linear, or --loss {' or '.join(own)}.")
    if config.threshold != Config.threshold and not (of_class and hasattr(made, "threshold")):
        raise RequestError(f"--threshold {config.threshold} has no effect with --task {name}: type "
                           "--task multilabel, or leave it out.")
    if config.sampling == "balanced" and made.kind != "classes":
        raise RequestError(f"--sampling balanced has no effect with --task {name}, whose targets "
                           "are no classes: leave it out.")
    return made.ranked(config.rank_by)


def first_type(word: Any, default: Any) -> Any:
    """The NamedTuple class that a user's function names as the type of its first parameter."""
    if isinstance(word, str) and not is_file(word):
        return default
    function = value("optimizer", word)
    if not callable(function):
        raise RequestError(f"optimizer {short(word)} is a {type(function).__name__}: give a "
                           "function of (hyper, durations) that returns an Optax chain.")
    try:
        hint = typing.get_type_hints(function).get(parameters(function)[0])
    except (TypeError, NameError, IndexError):
        return default
    return hint if isinstance(hint, type) and hasattr(hint, "_fields") else default


def short(word: Any) -> str:
    """What to call a word or value: MyNet for my_net.py:MyNet, and for a partial of it."""
    word = word.func if isinstance(word, functools.partial) else word
    if isinstance(word, str):  # a value is written as <MyNet(features = 3)>
        return word.strip("<>").partition("(")[0].rpartition(":")[2]
    return getattr(word, "__name__", type(word).__name__)


def written(word: Any) -> Any:
    """How config.json keeps a field that may be a value: a word as it is, a class or function by
    its name, else its repr without addresses, which another process would have others of."""
    if word is None or isinstance(word, str | int | float | bool):
        return word
    told = getattr(word, "__qualname__", "") or re.sub(" at 0x[0-9a-f]+", "", _repr(word))
    text = " ".join(told.split())
    if len(text) > MOST_WRITTEN:  # an NNX module's has its weights
        text = f"{type(word).__qualname__} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text if text.startswith("<") else f"<{text}>"


def _repr(word: Any) -> str:
    """Its repr without keyword-only fields that are at their defaults, so that one that a task gets
    later leaves the records of older runs equal."""
    text = repr(word)
    for f in dataclasses.fields(word) if dataclasses.is_dataclass(word) else ():
        if f.kw_only and getattr(word, f.name, None) == f.default:
            told = re.escape(f"{f.name}={f.default!r}")
            text = re.sub(rf"{told}, |(, )?{told}(?=\))", "", text)
    return text


def _files(config: Config) -> dict[str, tuple[Path, str]]:
    """The user's files that a Config names, by its field, and the name in each."""
    parts = {k: word.rpartition(":") for k in BROUGHT if is_file(word := getattr(config, k))}
    return {field: (Path(file).expanduser(), name) for field, (file, _, name) in parts.items()}


def absolute(config: Config) -> Config:
    """The same with files named from the root, so that a run is found again from any folder; and
    with the content of a file of weights or names in its place."""
    found: dict[str, Any] = {field: f"{file.absolute()}:{name}"
                             for field, (file, name) in _files(config).items()}
    if config.class_weights:
        from engine.doors import weights  # late: it imports NumPy

        found["class_weights"] = weights.written(config.class_weights)
    if config.init_from:
        from engine.doors import names  # late too

        found["init_from"] = str(Path(config.init_from).expanduser().absolute())
        found["init_map"] = names.written(config.init_map)
    return dataclasses.replace(config, **found)


def digests(config: Config) -> dict[str, str]:
    """The SHA-256 of each file of the user's that a Config names, by its field."""
    return {field: digest(file) for field, (file, _) in _files(config).items()}
