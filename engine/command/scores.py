"""Scores of a model in words: for a person, or as JSON for machines."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from engine.console.number import number
from engine.errors import visible
from engine.evaluation import evaluate
from engine.job import processes
from engine.learners import threshold
from engine.request import Request
from engine.sweep import ensembles
from engine.task import numbers
from engine.width import fitted

WIDEST = 80  # cells of a line
MOST_ROWS = 50  # classes of a table
MOST_CONFUSED = 10  # classes of a confusion matrix
_NAMES = 8, 30  # cells of a row's name, at least and at most
_BETWEEN = 2


def tell(
    request: Request, checkpoint: str, as_json: bool, tta: str = "", best_of: int = 0
) -> None:
    """`evaluate` the run in the request's folder, by the views of `tta`, or of a sweep's the
    `best_of` so many best, and print its scores."""
    config, _, place, data = request
    scores = evaluate(place.run_dir, data, checkpoint, config, place, tta, best_of)
    if processes.first_process():
        print(json.dumps(scores, indent=2) if as_json
              else fitted("\n".join(lines(scores)), sys.stdout))


def lines(scores: dict[str, Any]) -> list[str]:
    """The scores, those of each class, and which class was taken for which where they are few: of
    at most WIDEST cells each."""
    weights = f"{scores['weights']} weights of the " if "weights" in scores else ""
    by = ensembles.told(scores["runs"]) if "runs" in scores else (
        f"the {weights}{scores['checkpoint']} checkpoint, of step {scores['step']:,}")
    found = [f"{scores['num_examples']:,} examples of {visible(scores['split'], '')}, by {by}"
             + (f", --tta {scores['tta']}" if "tta" in scores else ""), ""]
    if chosen := threshold.told(scores):
        found[1:] = [visible(chosen, ""), ""]
    values = {name: value for name, value in numbers(scores).items() if name != "zero_division"}
    spread = scores.get("interval", {})
    found += table(["score", "value", "95% from", "to"] if spread else ["score", "value"],
                    [(name, value, *spread.get(name, (None, None))[: 2 * bool(spread)])
                     for name, value in values.items()])
    there, every = scores.get("classes_there"), len(scores.get("per_class", {}))
    if there and there < every:
        found[-1:] = [f"balanced accuracy, ROC-AUC and average precision are over the {there:,} of "
                      f"{every:,} classes that have examples", ""]
    if left_out := scores.get("classes_left_out"):
        found[-1:] = [f"macro means are without {left_out:,} neither there nor predicted", ""]
    for key, rows in scores.items():
        if key.startswith("per_") and rows:
            heads = [key.removeprefix("per_"), *next(iter(rows.values()))]
            found += table(heads, [(name, *row.values()) for name, row in rows.items()])
    names = list(scores.get("per_class", {}))
    if "confusion" in scores and len(names) <= MOST_CONFUSED:
        cells = zip(names, scores["confusion"], strict=True)
        found += table(["true, then predicted", *names], [(name, *row) for name, row in cells])
    return found[:-1]


def table(heads: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Its lines, and an empty one: names on the left, numbers on the right. A name is cut where it
    is too long; a number never, whatever the width."""
    heads = [visible(head, "") for head in heads]
    texts = [[visible(row[0], ""), *map(number, row[1:])] for row in rows[:MOST_ROWS]]
    digits = [max(cell_len(row[at]) for row in texts) for at in range(1, len(heads))]
    longest = max(cell_len(row[0]) for row in [heads, *texts])
    left = WIDEST - sum(digits) - _BETWEEN * len(digits)
    name = min(longest, max(_NAMES[0], min(left, _NAMES[1])))
    room = (WIDEST - name) // len(digits) - _BETWEEN
    widths = [max(width, min(cell_len(head), room))
              for width, head in zip(digits, heads[1:], strict=True)]
    found = []
    for first, *others in [heads, *texts]:
        cells = [" " * (_BETWEEN + width - cell_len(text)) + text
                 for width, text in zip(widths, map(_cut, others, widths), strict=True)]
        found.append(_cut(first, name) + " " * (name - cell_len(first)) + "".join(cells))
    if len(rows) > MOST_ROWS:
        found.append(f"the first {MOST_ROWS} of {len(rows):,}; --json has all")
    return [line.rstrip() for line in found] + [""]


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
