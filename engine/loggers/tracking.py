"""A run in its trackers: each row once, whatever was interrupted; none that fails stops a run."""

import contextlib
import dataclasses
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from engine.disk import files
from engine.doors import trackers
from engine.errors import one_line, tell
from engine.job import processes
from engine.place import Place
from engine.store import folder
from engine.task import numbers

FILE = "tracked.json"  # of each tracker: its run's id, the last epoch told, that of the scores
EXPERIMENT = "flaxmill"


class Told(NamedTuple):
    """What a tracker is told of a run: its folder, a name, that of what it is part of; its values,
    flat; the `id` that the tracker gave it before, or ""."""

    path: Path
    name: str
    experiment: str
    values: dict[str, str | int | float]
    id: str


class Tracker(Protocol):
    """Made of a Told. May raise whatever it likes."""

    known: dict[str, Any]  # what FILE is to have of it: the run's id, or what its own file holds

    def row(self, row: dict[str, float]) -> None:
        """The scores of an epoch, whose number is row["epoch"]."""

    def score(self, epoch: int, scores: dict[str, float], artefacts: list[Path]) -> None:
        """Of a run that is done: the scores of its best epoch, its report and pictures."""

    def close(self, done: bool) -> None:
        """Nothing more comes; `done` is false where the run was interrupted, or failed."""


def _told(path: Path, id: str) -> Told:
    """Of the run in `path`, as its config.json has it; a sweep's runs are its experiment's."""
    content, places = folder.config(path), {f.name for f in dataclasses.fields(Place)}
    asked = content["config"] | content["hyper"]
    values = {k: v for k, v in asked.items() if k not in places and v not in (None, "")}
    if (path.parent / folder.HOLDS["sweep"]).exists():
        return Told(path, f"{path.parent.name}/{path.name}", path.parent.name, values, id)
    return Told(path, path.name, EXPERIMENT, values, id)


class Tracking:
    """Of the run in `path`, in the trackers that `log` names, in a job's first process: a logger of
    `fit`. What they haven't been told of its history they are told at once, so that a run may be
    resumed with a tracker it had not, or had lost. One that fails is left out, in a line."""

    def __init__(self, path: Path, log: str):
        self._path, self._open = path, dict[str, Tracker]()
        self._kept: dict[str, dict[str, Any]] = {}
        for name in trackers.named(log) if processes.first_process() else ():
            with self._spared(name):
                self._kept = self._kept or self._read()
                module = importlib.import_module(f"engine.loggers.{name}")
                before = self._kept.setdefault(name, {"id": "", "epoch": 0, "scored": 0})
                self._open[name] = module.Tracker(_told(path, before["id"]))
                self._keep(name, **self._open[name].known)
                for row in folder.history(path):
                    self._row(name, row)

    def __enter__(self) -> "Tracking":
        return self

    def __call__(self, row: dict[str, Any]) -> None:
        for name in [*self._open]:
            with self._spared(name):
                self._row(name, row)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, tracker in [*self._open.items()]:
            with self._spared(name):
                if kind is None:
                    self._score(name)
                tracker.close(kind is None)

    def _row(self, name: str, row: dict[str, Any]) -> None:
        if row["epoch"] <= self._kept[name]["epoch"]:
            return  # told before the run was interrupted, to the same bits
        self._keep(name, epoch=row["epoch"])
        self._open[name].row({k: v for k, v in row.items() if v is not None})

    def _score(self, name: str) -> None:
        epoch = self._kept[name]["epoch"]
        if epoch > self._kept[name]["scored"]:
            pictures = sorted(self._path.glob("*.png"))
            pages = [self._path / page for page in ("report.html", "config.json")]
            there = [file for file in (*pages, *pictures) if file.is_file()]
            self._open[name].score(epoch, numbers(folder.metrics(self._path)), there)
            self._keep(name, scored=epoch)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            return files.parsed(files.read(self._path / FILE))
        except FileNotFoundError:
            return {}

    def _keep(self, name: str, **known: Any) -> None:
        self._kept[name] |= known
        files.replace(self._path / FILE, json.dumps(self._kept, indent=2) + "\n")

    @contextlib.contextmanager
    def _spared(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._open.pop(name, None)
            tell(f"--log {name}: {one_line(error)}: the run goes on without it")


class Tracked:
    """The runs of a sweep, each a Tracking from its first row on."""

    def __init__(self, log: str):
        self._log, self._runs = log, dict[Path, Tracking]()

    def __enter__(self) -> "Tracked":
        return self

    def row(self, path: Path, row: dict[str, Any]) -> None:
        """An epoch of the run in `path`, whose history has it."""
        if path in self._runs:
            self._runs[path](row)
        elif self._log:
            self._runs[path] = Tracking(path, self._log)

    def __exit__(self, *left: Any) -> None:
        for run in self._runs.values():
            run.__exit__(*left)
