"""The body of a request → inputs of a run. What is wrong with it has a status and a sentence.

N: rows.
"""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.doors import handed
from engine.errors import RequestError, one_line
from engine.serve.model import Model
from engine.serve.refused import Refused
from engine.sets import image
from engine.sets.features import Number, Words, as_word
from engine.tables import dialect

MOST_BYTES = 16 << 20  # of a body
MOST_PIXELS = 16_000_000  # of a picture, which decodes in a second and within 300 MB
MOST_ROWS = 1024
_TAKEN = {  # by kind of inputs, what content types say so
    "pictures": ("image/*", "application/octet-stream"),
    "columns": ("application/json", "text/csv"), "numbers": ("application/json",),
    "named": ("application/json",),
}
_SHOWN = 40  # characters of a value


def read(model: Model, kind: str, body: bytes) -> tuple[np.ndarray, list[str]]:
    """Inputs [N, ...] of a `body` whose content type is `kind`, and what to say of them. Raises
    Refused: 415 for another kind of content, 413 for too much of it, 422 for a wrong one."""
    taken, word = _TAKEN[model.kind], kind.partition(";")[0].strip().lower()
    if word not in taken and f"{word.partition('/')[0]}/*" not in taken:
        raise Refused(415, f"the content type is {word[:_SHOWN]!r}: send {' or '.join(taken)}.")
    if model.kind == "pictures":
        return _picture(model, body), []
    try:
        text = body.decode("utf-8-sig")
        content = json.loads(text) if word == "application/json" else None
    except (ValueError, RecursionError) as error:
        raise Refused(422, f"the body can't be read: {one_line(error)}.") from None
    if model.kind in ("numbers", "named"):
        made = (_numbers if model.kind == "numbers" else _named)(model, content)
        try:
            handed.check(model.run.learner, made)
        except RequestError as error:
            raise Refused(422, str(error)) from None
        return made, []
    return _rows(model, *(_table(text) if content is None else (content, dialect.Marks())))


def _picture(model: Model, body: bytes) -> np.ndarray:
    """uint8 [1, H, W, C]"""
    height, width, depth = model.run.input_shape
    background = model.run.learner.config.background
    try:
        sides = image.sides(io.BytesIO(body))
    except image.Outsized as error:
        raise Refused(413, f"the picture can't be taken: {error}.") from None
    except image.Undecodable as error:
        raise Refused(415, f"the body is no picture: {error}.") from None
    if math.prod(sides) > MOST_PIXELS:
        raise Refused(413, f"the picture has {math.prod(sides):,} pixels: shrink it to "
                           f"{MOST_PIXELS:,}.")
    try:
        return image.decode(io.BytesIO(body), image.MODES[depth], (width, height), background)[None]
    except image.Undecodable as error:
        raise Refused(422, f"the picture can't be read: {error}.") from None


def _why(error: Exception) -> str:
    """In words: of a missing name Python says the name alone, of a list its own types."""
    said = {KeyError: f"{error} is missing", TypeError: "these have another form"}
    return said.get(type(error), one_line(error))


def _numbers(model: Model, content: Any) -> np.ndarray:
    """Of {"inputs": [...]}, of the run's shape and dtype."""
    wanted = ", ".join(map(str, ("N", *model.run.input_shape)))
    try:
        found = np.array(content["inputs"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(422, f'send {{"inputs": [...]}}, numbers of shape ({wanted}): '
                           f"{_why(error)}.") from None
    if found.shape[1:] != model.run.input_shape or not len(found):
        raise Refused(422, f"the inputs are of shape {found.shape}: send ({wanted}).")
    _check_count(len(found))
    made = found.astype(model.run.input_dtype)
    if not np.isfinite(made).all() or made.dtype == np.uint8 and (made != found).any():
        raise Refused(422, f"the inputs aren't all {model.run.input_dtype}.")
    return made


def _named(model: Model, content: Any) -> np.ndarray:
    """Of {"inputs": {"text": [...], "image": [...]}}, arrays [N, ...] by the names of the run's."""
    bundle: Any = model.run.columns
    try:
        given = {field.name: np.array(content["inputs"][field.name], np.float64)
                 for field in bundle.columns}
        made = {field.name: given[field.name].astype(field.dtype) for field in bundle.columns}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Refused(422, f'send {{"inputs": {{...}}}}, arrays of {bundle}: '
                           f"{_why(error)}.") from None
    for field in bundle.columns:
        if field.dtype != "float32" and (made[field.name] != given[field.name]).any():
            raise Refused(422, f"the inputs {field.name} aren't all {field.dtype}.")
    try:
        packed = bundle.encode(made)
    except RequestError as error:
        raise Refused(422, str(error)) from None
    if not len(packed):
        raise Refused(422, "the inputs are of no example: send some.")
    _check_count(len(packed))
    return packed


def _check_count(count: int) -> None:
    if count > MOST_ROWS:
        raise Refused(413, f"{count:,} rows are more than {MOST_ROWS:,} a request: send fewer.")


def _table(text: str) -> tuple[list[dict[str, Any]], dialect.Marks]:
    """The rows of a CSV with a header, written as a file's may be, and its numbers' marks. Each row
    has as many cells as the header: in another place they would be another column's."""
    between, head = dialect.separated(text[: text.find("\n") + dialect.HEAD])
    try:
        written = csv.reader(io.StringIO(text), delimiter=between, skipinitialspace=True)
        names, *rows = [row for row in written if row] or [[]]
    except csv.Error as error:
        raise Refused(422, f"the table can't be read: {error}.") from None
    for at, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise Refused(422, f"row {at} has {len(row)} cells, and the header {len(names)}: send "
                               "as many; an empty cell is a value that is missing.")
    return ([dict(zip(map(str.strip, names), row, strict=True)) for row in rows],
            dialect.marks(dialect.turned(head[1:]), between))


def _rows(model: Model, content: Any, marks: dialect.Marks) -> tuple[np.ndarray, list[str]]:
    """Features float32 [N, F], of rows or {"rows": rows}, each a value a column."""
    import pandas as pd

    rows = content.get("rows") if isinstance(content, dict) else content
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        raise Refused(422, 'send {"rows": [{"column": value, ...}]}, or a CSV with a header.')
    _check_count(len(rows))
    columns: Any = model.run.columns
    notes = [f"the table is read {marks.said}"] if marks.grouped else []
    made = {}
    for column in columns.columns:
        if lacking := [at for at, row in enumerate(rows, 1) if column.name not in row]:
            raise Refused(422, f"row {lacking[0]} lacks the column {column.name!r}; null, or an "
                               "empty cell, is a value that is missing.")
        known = column.values if isinstance(column, Words) else ()
        cells = [_cell(row[column.name], known) for row in rows]
        made[column.name] = _series(column, cells, marks)
        if isinstance(column, Words):
            said = dict.fromkeys(as_word(cell) for cell in cells if cell is not None)
            notes += [f"{column.name}: {each[:_SHOWN]!r} was not in training, and counts as unknown"
                      for each in said if each not in column.values]
        if None in cells and not column.missing:
            notes.append(f"{column.name}: none was missing in training; " + (
                "its median stands for it" if isinstance(column, Number) else "it is unknown"))
    try:
        return columns.features_of(pd.DataFrame(made), told=False), notes
    except RequestError as error:
        raise Refused(422, str(error)) from None


def _cell(value: Any, known: Sequence[str]) -> Any:
    """Text without spaces around it; None where there is none, as a table's cell says it, unless
    that is a word `known` from training."""
    if isinstance(value, str):
        text = value.strip()
        return None if text in dialect.MISSING and text not in known else text
    if isinstance(value, list | dict):
        raise Refused(422, f"{json.dumps(value)[:_SHOWN]} is no value of a column: send text or a "
                           "number.")
    return None if isinstance(value, float) and math.isnan(value) else value


def _iso(date: str) -> str:
    """A date as ISO 8601 has it, of 2024/12/31 or 31.12.2024 too, as tables have them."""
    date = re.sub(r"^(\d{4})/(\d\d)/(\d\d)(?!\d)", r"\1-\2-\3", date)
    return re.sub(r"^(\d\d)\.(\d\d)\.(\d{4})(?!\d)", r"\3-\2-\1", date)


def _number(cell: Any, marks: dialect.Marks) -> Any:
    """A truth as 1 or 0, and text with a point."""
    written = marks.pointed(cell) if isinstance(cell, str) else cell
    return _TRUTHS.get(str(cell).lower(), written)


_TRUTHS = {"true": 1.0, "false": 0.0}


def _series(column: Number | Words, cells: list[Any], marks: dialect.Marks) -> Any:
    """A column's cells as it was fitted to them. Raises Refused for what is none."""
    import pandas as pd

    if isinstance(column, Words):
        return pd.Series([cell if cell is None else as_word(cell) for cell in cells], dtype=object)
    try:
        if column.kind == "date":
            days = [_iso(cell) if isinstance(cell, str) else cell for cell in cells]
            return pd.to_datetime(pd.Series(days, dtype=object), utc=True, format="ISO8601")
        return pd.Series([np.nan if cell is None else _number(cell, marks) for cell in cells],
                         dtype=object).astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        what = "dates such as 2024-05-31" if column.kind == "date" else "numbers"
        said = one_line(error).partition(". You might")[0]  # want other arguments of pandas'
        raise Refused(422, f"column {column.name!r} is of {what}: {said.rstrip('.')}.") from None
