"""A run's config.json: what was asked for, written, read again and compared."""

import collections
import dataclasses
import math
import os
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from engine.config import BROUGHT, DURATIONS, Config
from engine.disk import files
from engine.disk.files import is_count, is_text
from engine.doors import bring, hypers
from engine.doors.checks import without_idle
from engine.errors import RequestError, tell
from engine.fields import fits
from engine.optim import lengths, trees
from engine.place import ADDRESS, Place
from engine.request import Request
from engine.store import generator

FILE = "config.json"
MOST_NUMBERS = 1 << 28  # of an input: a picture of 9,459 × 9,459 in colour
GONE = ("model_parallel",)  # fields of before, which never decided what was computed
# What runs of before computed where their config.json doesn't say, as Config's defaults were.
_BEFORE = {"task": "classification", "validation_split": "test"}
_FIRST_LOSS = "softmax_cross_entropy"  # a config of before names it; now it is the task's first


class Saved(NamedTuple):
    """A config.json, or a sweep's, in its `folder`: the request, and all else that it holds."""

    folder: Path
    request: Request
    content: dict[str, Any]

    def own(self, given: Config | None) -> Config:
        """The config to predict by: the run's own, or where it was made of objects in Python, which
        `given` has, with these, but no augmentation. What `given` says besides, other than a
        default, holds, and whether a threshold is chosen. Raises RequestError where an object is
        called otherwise than the run's; of a network with other values it is told."""
        config, plain = self.request.config, Config()
        if "augment" in (had := objects(config)):  # which training alone has
            config = dataclasses.replace(config, augment="")
        if given is None or not had:
            return given or config
        for name, text in (were := objects(config)).items():
            now = bring.written(getattr(given, name))
            if (was := _called(text)) != (other := _called(now)):
                state = " whose state is in its checkpoints" * (name == "optimizer")
                now = "none is given now" if now == getattr(plain, name) else f"now it is {other}"
                raise RequestError(f"the {name} of the run in {self.folder} was {was}, an object "
                                   f"in Python{state}, and {now}: give that one, "
                                   f"config=Config({name}=...).")
            if name == "model" and "(" in text and _wherever(text) != _wherever(now):
                tell(f"the model of the run in {self.folder} was {text}, and now it is {now}: what "
                     "it says is wrong unless both compute the same")
        kept = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)
                if f.name not in (*were, "choose_threshold")
                and getattr(given, f.name) == getattr(plain, f.name)}
        return dataclasses.replace(given, **kept)

    def same_files(self, config: Config) -> None:
        """Raises RequestError where a file of the user's has changed since the run began."""
        before = self.content.get("files") or {}
        for name, found in bring.digests(config).items():
            if before.get(name) != found:
                file = getattr(config, name).rpartition(":")[0]
                raise RequestError(f"{file} has changed since the run in {self.folder} began: put "
                                   "it back, or start a new run in another --run_dir.")

    def same_draw(self, text: str) -> None:
        """Raises RequestError where the share `text` was held out in another way than it is now."""
        from engine.sets import splits  # late: it imports NumPy, and --help has no use for it

        drawn = isinstance(splits.held_out(text), float)
        if drawn and self.content.get("held_out") != splits.DRAWN:
            raise RequestError(f"{self.folder} is a run of an older flaxmill, which drew "
                               f"--validation_split {text} otherwise, so that what it was trained "
                               "on would be among what judges it: judge it on a split by its name, "
                               "such as --validation_split test, or start a new run.")

    @property
    def inputs(self) -> tuple[tuple[str, ...], tuple[int, ...], str]:
        """The class names, the shape of an input and its dtype. Raises RequestError."""
        classes, shape = self.content.get("classes"), self.content.get("image_shape")
        dtype = self.content.get("input_dtype", "uint8")
        if not (isinstance(classes, list) and classes and all(map(is_text, classes))):
            raise _not_ours(self.folder / FILE, f"its classes are {classes!r}")
        if not (isinstance(shape, list) and 1 <= len(shape) <= 4
                and all(map(is_count, shape)) and 0 < math.prod(shape) <= MOST_NUMBERS):
            raise _not_ours(self.folder / FILE, f"its image_shape is {shape!r}")
        if dtype not in ("uint8", "float32"):
            raise _not_ours(self.folder / FILE, f"its input_dtype is {dtype!r}")
        return tuple(classes), tuple(shape), dtype

    def names(self, what: str) -> tuple[str, ...]:
        """The columns of a table that a run calls its `pixels`, in whose order its pictures are,
        where no numbers of their names tell it, or its `target`; () of no table, or of a run of
        before. Raises RequestError."""
        found = self.content.get(what, [])
        if not (isinstance(found, list) and all(map(is_text, found))):
            raise _not_ours(self.folder / FILE, f"its {what} is {found!r:.40}")
        return tuple(found)


def typed(kind: Any, values: dict[str, Any]) -> Any:
    """A `kind` (Config, Place, Hyper or Search) of values that came from a file.

    Raises TypeError for an unknown field, and for a value of another type than its default's.
    """
    made, plain = kind(**values), kind()
    for name, value in values.items():
        in_steps = kind is Config and name in DURATIONS and lengths.is_steps(value)
        if not (in_steps or fits(value, getattr(plain, name))):
            raise TypeError(f"{name} can't be {value!r}")
    return made


def to_json(request: Request) -> dict[str, Any]:
    """What `read` reads; without the address of this process, which is no part of the run."""
    config = request.config
    asked = {f.name: bring.written(getattr(config, f.name)) for f in dataclasses.fields(config)}
    where = {k: v for k, v in dataclasses.asdict(request.place).items() if k not in ADDRESS}
    return {"config": asked | where, "hyper": request.hyper._asdict()}


def read(path: Path, given: Config | None = None) -> Saved:
    """`given` tells the optimizer where the file can't, since it was an object in Python; without
    it that one's values have their names alone. Raises RequestError where the file is absent or not
    one of ours."""
    try:
        content = files.parsed(files.read(path))
        if not (isinstance(content, dict) and isinstance(content.get("config"), dict)
                and isinstance(content.get("hyper"), dict)):
            raise ValueError('it has no "config" and "hyper" (a recipe of your own is a .py file)')
        both = {k: v for k, v in dict(content["config"]).items() if k not in (*GONE, *ADDRESS)}
        places = {f.name for f in dataclasses.fields(Place)}
        config = typed(Config, _BEFORE | {k: v for k, v in both.items() if k not in places})
        place = typed(Place, {k: v for k, v in both.items() if k in places})
        if config.loss == _FIRST_LOSS:
            config = dataclasses.replace(config, loss="")
        hyper = typed(_kind(config, given, content["hyper"]), content["hyper"])
        if "search" not in content:  # a sweep's other settings may use what this optimizer ignores
            config, hyper = without_idle(config, hyper)
        return Saved(path.parent, Request(config, hyper, place), content)
    except FileNotFoundError:
        raise RequestError(f"no run in {path.parent}: it holds no {path.name}.") from None
    except OSError as error:
        raise RequestError(f"{path} can't be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _not_ours(path, error) from None


def _kind(own: Config, given: Config | None, values: dict[str, Any]) -> Any:
    """The class of a run's values: by `given`, else by its `own` config, else of their names alone,
    since its optimizer was an object in Python."""
    for each in (given, own):
        if each and {*values} <= {*(kind := hypers.kind_of(each))._fields}:
            return kind
    if "optimizer" not in objects(own):
        return kind
    named: Any = collections.namedtuple
    return named("Hyper", values, defaults=[None] * len(values))


def objects(config: Config) -> dict[str, str]:
    """What was an object in Python, which no file holds, and what it was."""
    texts = {name: bring.written(getattr(config, name)) for name in BROUGHT}
    return {name: text for name, text in texts.items() if text.startswith("<")}


def _wherever(written: str) -> str:
    """An object as it was written, without the modules of classes: a script's is __main__."""
    return re.sub(r"\b[A-Za-z_]\w*\.(?=[A-Za-z_])", "", written)


def _called(written: Any) -> str:
    """The name of an object's class or function, as it was written."""
    return (str(written).strip("<>").partition("(")[0].split() or [""])[0].rpartition(".")[2]


def identity(request: Request) -> dict[str, Any]:
    """The fields that decide what a run computes, flat: two runs with equal ones are the same. Of
    what the user named by its path, that is the name: what a file or a set holds has a fingerprint.
    """
    def named(value: Any) -> Any:
        if not bring.is_file(value):
            return bring.written(value)
        file, _, name = value.rpartition(":")
        return f"{os.path.basename(file)}:{name}"

    config = request.config
    static = {f.name: named(getattr(config, f.name)) for f in dataclasses.fields(config)}
    static["dataset"] = config.dataset.partition(":")[0]
    return static | request.hyper._asdict()


def flag(name: str, value: Any) -> str:
    """A field as it would be typed."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name} {shlex.quote(str(value))}"


def read_otherwise(before: Request, now: Request) -> str:
    """The flags by which a set is read otherwise `now`, with another fingerprint; "" for none."""
    was, found = ({**request.config.reading._asdict(), "stream": request.place.stream}
                  for request in (before, now))
    return " ".join(flag(name, value) for name, value in found.items() if value != was[name])


def compare(path: Path, request: Request, facts: dict[str, Any], file: str = FILE,
            may_differ: tuple[str, ...] = ()) -> Saved:
    """The saved run of the folder `path`. Raises RequestError naming every field in which it
    differs from this one, and where its data or a file of the user's do."""
    saved = read(path / file, request.config)
    was, now = identity(saved.request), identity(request)
    differing = [k for k in now if was.get(k) != now[k] and k not in may_differ]
    if differing:
        told = "; ".join(f"{k} was {was.get(k)!r}, now {now[k]!r}" for k in differing)
        typed = " ".join(flag(k, now[k]) for k in differing if k != "init_from")
        taken = file == FILE and not trees.values_of(request.config.model)
        another = f"begin a new run from what it has learned: --init_from {path} {typed}".rstrip() \
            if taken else "start a new one in another --run_dir"
        raise RequestError(f"{path} holds a run with another configuration: {told}. "
                           f"Leave these flags out to resume it, or {another}.")
    before = saved.content.get("fingerprint")
    if before != facts["fingerprint"]:
        if flags := read_otherwise(saved.request, request):
            raise RequestError(f"{request.config.dataset} is read by {flags}, which is not how the "
                               f"run in {path} read it: leave that out to resume it.")
        raise RequestError(f"{path} holds a run on other data: {request.config.dataset} has "
                           f"changed since (fingerprint {before}, now {facts['fingerprint']}). Put "
                           "it back to resume, or start a new run in another --run_dir.")
    if saved.content.get("columns") != facts.get("columns"):
        raise RequestError(f"{path} holds a run whose table became other features: resume it with "
                           "the versions that its config.json names, or start a new run in another "
                           "--run_dir.")
    generator.check(path, saved.content, facts)
    saved.same_files(request.config)
    saved.same_draw(request.config.validation_split)
    return saved


def _not_ours(file: Path, why: object) -> RequestError:
    return RequestError(f"{file} is not a run's configuration: {why}. Put back what the run wrote, "
                        "or name another.")
