"""Predictions in a file: CSV, or JSON as a list of records. All probabilities, or numbers; B: rows.

An example is called by its key: its file, or its id or row in a table.
"""

import contextlib
import csv
import io
import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from engine.disk import files
from engine.errors import RequestError, sides, tell, visible
from engine.store import target
from engine.task import Task
from engine.trained import Run

Teller = Callable[[Sequence[str], np.ndarray], None]  # of keys [B] and predictions [B, C]
FILE = "file"  # the key of pictures


def named(run: Run, predicted: np.ndarray) -> np.ndarray:
    """Predictions [N, K], as they are, or the class of each position [N, ...]. Raises RequestError
    where the names aren't of the K."""
    if run.learner.task.kind == "positions":
        return run.learner.task.said(predicted)
    if predicted.shape[1:] == (len(run.classes),):
        return predicted
    told = sides(predicted.shape[1:]) or "one number"
    raise RequestError(f"{run.path} predicts {told} of each example, which the names of its "
                       f"{len(run.classes)} targets aren't of: predict in Python, "
                       "load(path).predict(inputs).")


def check(path: str, inputs: Sequence[str]) -> None:
    """Raise RequestError where `path` can't be written, before anything is computed."""
    found = target.of(path, *_KINDS)
    if found.exists() and any(found.samefile(file) for file in inputs):
        raise RequestError(f"--output {visible(path, '')} is what is to be predicted: name another "
                           "file.")


@contextlib.contextmanager
def writer(path: str, task: Task, key: str, names: tuple[str, ...]) -> Iterator[Teller]:
    """What adds rows to the file `path`, which is there, whole, once all are added: the column
    `key`, that of the likeliest class where there are classes, and one for each of `names`."""
    first = [key, "predicted"] if task.kind == "classes" else [key]
    while not set(first).isdisjoint(names):
        first = [f"{name}_" for name in first]
    with files.replacing(Path(path)) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        kind = _KINDS[Path(path).suffix.lower()]
        rows = kind(text, [*first, *names])
        called = _path if key == FILE and kind is _Csv else str

        def add(keys: Sequence[str], predicted: np.ndarray) -> None:
            # As text, the shortest that reads as the same float32.
            for name, chosen, numbers in zip(keys, task.said(predicted).tolist(),
                                             predicted.astype(str).tolist(), strict=True):
                rows.add([called(name), names[chosen]][: len(first)], numbers)

        yield add
        rows.end()
        text.detach()


class _Csv:
    """Names that come from files make neither a line nor a formula of a spreadsheet's."""

    def __init__(self, file: TextIO, head: list[str]):
        self._rows, self._file, self._formula = csv.writer(file, lineterminator="\n"), file, ""
        self.add(head, [])

    def add(self, texts: list[str], numbers: list[str]) -> None:
        shown = [visible(text, "") for text in texts]
        self._formula = self._formula or next(filter(_is_formula, shown), "")
        self._rows.writerow([f"'{text}" if _is_formula(text) else text for text in shown] + numbers)

    def end(self) -> None:
        self._file.flush()
        if self._formula:
            tell("in the CSV an apostrophe stands before what a spreadsheet would compute, such as "
                 f"{self._formula!r}: --output FILE.json has it as it is")


class _Json:
    """A record a line, all in one list."""

    def __init__(self, file: TextIO, head: list[str]):
        self._head, self._file, self._before = head, file, "[\n"

    def add(self, texts: list[str], numbers: list[str]) -> None:
        record = dict(zip(self._head, [*texts, *map(float, numbers)], strict=True))
        self._file.write(self._before + json.dumps(record))
        self._before = ",\n"

    def end(self) -> None:
        self._file.write("\n]\n")
        self._file.flush()


_KINDS: dict[str, type[_Csv] | type[_Json]] = {".csv": _Csv, ".json": _Json}


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet might compute it: it begins as a formula does, and is no number."""
    try:
        float(text)
    except ValueError:
        return unicodedata.normalize("NFKC", text[:1]) in ("=", "+", "-", "@")
    return False


def _path(name: str) -> str:
    """Another path of the same file, which is no formula."""
    return f"./{name}" if _is_formula(name) else name
