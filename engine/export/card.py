"""What an exported model takes and says: model.json for machines, model.md for people."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from engine.doors import bring
from engine.export import formats, program
from engine.sets import image
from engine.sets.bundle import Bundle
from engine.store import folder
from engine.tables.dialect import MISSING
from engine.task import numbers
from engine.trained import Run

READER = Path(__file__).parent / "beside" / "inputs.py"


def about(run: Run) -> dict[str, Any]:
    """What a page or a program has to know of it, for JSON."""
    task, config = run.learner.task, run.learner.config
    return {
        "run": run.path.name, "model": bring.short(config.model), "task": bring.short(config.task),
        "kind": task.kind, "inputs": inputs(run), "outputs": outputs(run),
        "scores": {name: value for name, value in numbers(run.metrics).items()
                   if math.isfinite(value)},
    }


def content(run: Run, word: str, file: str, checkpoint: str) -> dict[str, Any]:
    """Of model.json, for a run exported as `word` into a file of that name."""
    arrays = program.named(run.state.model) if getattr(formats.how(word), "NAMED", False) else {}
    return about(run) | {
        "format": word, "file": file, "checkpoint": checkpoint, "step": int(run.state.step),
        "arrays": {name: {"shape": x.shape, "dtype": str(x.dtype)} for name, x in arrays.items()},
        "versions": {name: version for name, version in folder.versions().items() if version},
    }


def inputs(run: Run) -> dict[str, Any]:
    """What the run takes."""
    shape = (program.BATCH, *run.input_shape)
    told: dict[str, Any] = {"name": program.INPUTS, "dtype": run.input_dtype, "shape": shape}
    if isinstance(run.columns, Bundle):
        return told | {"kind": "named", "fields": [
            field._asdict() | {"first": place.start} for field, place in run.columns.parts()]}
    if run.columns:
        columns = json.loads(run.columns.text)["columns"]
        return told | {"kind": "columns", "features": run.columns.names, "columns": columns,
                       "missing": MISSING}
    if run.input_dtype == "uint8" and len(run.input_shape) == 3 and \
            run.input_shape[2] in image.MODES:
        return told | {"kind": "pictures", "mode": image.MODES[run.input_shape[2]],
                       "background": run.learner.config.background, "resize": "bilinear"}
    return told | {"kind": "numbers"}


def outputs(run: Run) -> dict[str, Any]:
    """What it says, in which order."""
    task: Any = run.learner.task
    told: dict[str, Any] = {"name": program.PREDICTIONS, "dtype": "float32",
                            "shape": (program.BATCH, len(run.classes)), "names": run.classes,
                            "meaning": "numbers" if task.kind == "numbers" else "probabilities"}
    if task.any_outputs:
        one = run.predicted(np.zeros((1, *run.input_shape), run.input_dtype))
        told |= {"dtype": str(one.dtype), "shape": (program.BATCH, *one.shape[1:])}
        if task.kind == "positions":
            told["meaning"] = "probabilities" if one.dtype == np.float32 else "numbers of classes"
        elif one.shape[1:] != (len(run.classes),):
            told |= {"names": (), "meaning": "numbers"}
    if getattr(task, "by_threshold", task.kind == "labels"):
        told["threshold"] = float(task.threshold)
    if getattr(task, "caution", ""):
        told["caution"] = task.caution
    return told


def page(told: dict[str, Any]) -> str:
    """model.md."""
    given, out = told["inputs"], told["outputs"]
    scores = "\n".join(f"| {name} | {value:.4f} |" for name, value in told["scores"].items())
    names = ", ".join(map(json.dumps, out["names"][:100])) + ", …" * (len(out["names"]) > 100)
    parts = [
        f"# {told['run']}\n\nThe {told['checkpoint']} checkpoint (step {told['step']:,}) of the "
        f"model {told['model']}, exported by flaxmill as {told['format']}; [model.json](model.json)"
        " says the same for machines.",
        f"## Inputs\n\n`{given['name']}`: {given['dtype']} {_sides(given['shape'])}.\n\n"
        + _MADE[given["kind"]].format(**given, listed=", ".join(
            f"`{field['name']}` {field['dtype']} {_sides(field['shape'])} from number "
            f"{field['first']} on" for field in given.get("fields", ()))),
        f"## Outputs\n\n`{out['name']}`: {out['dtype']} {_sides(out['shape'])}, {out['meaning']}"
        + f" of, in this order: {names}" * bool(names) + "." + _said(told["kind"], out),
        "## Loading\n\n```python\n"
        + formats.how(told["format"]).LOADED.format(file=told["file"]) + "\n```",
    ]
    if told["arrays"]:
        parts.append("## Arrays\n\nA parameter's name is its path in the network; what is kept "
                     "besides has its collection's before it.\n\n| name | shape | dtype |\n"
                     "|---|---|---|\n" + "\n".join(
                         f"| `{name}` | {_sides(x['shape'])} | {x['dtype']} |"
                         for name, x in told["arrays"].items()))
    if scores:
        parts.append(f"## Scores\n\n| score | value |\n|---|---|\n{scores}")
    return "\n\n".join(parts) + "\n"


_PICTURES = """Pictures as they are decoded, whole numbers of 0 to 255: the division by 255 is in
the model. Each is turned upright by its EXIF orientation, has 16 bits a channel brought to 8
(x / 257, rounded), lies on {background} where it is transparent and the model sees no alpha, is
converted to Pillow's mode {mode}, and brought to the size by Pillow's bilinear filter (which
averages where it shrinks). [inputs.py](inputs.py) does that, with NumPy and Pillow alone:

```python
import inputs
x = inputs.pictures(["cat.jpg"])
```"""
_COLUMNS = """Features of a table's columns, which model.json lists: a number is
(value - mean) / scale, the median standing for one that is missing (another feature says so); a
date counts days since 1970; a word is a one among zeros, or a code where there are many. Embeddings
and what standardised the targets are in the model. [inputs.py](inputs.py) makes them, with NumPy
alone:

```python
import inputs
x = inputs.rows([{{"column": "value", ...}}])
```"""
_NUMBERS = "Arrays as the run was given them; uint8 is divided by 255 in the model."
_NAMED = """Several arrays of an example, one behind the other, each flattened in row-major order;
numbers of uint8 divided by 255 before, whole numbers as they are: {listed}."""
_MADE = {"pictures": _PICTURES, "columns": _COLUMNS, "numbers": _NUMBERS, "named": _NAMED}


def _said(kind: str, out: dict[str, Any]) -> str:
    told = ""
    if "threshold" in out:
        told += f"\n\n{out['names'][-1] if kind == 'classes' else 'Each'} is said from the " \
                f"probability {out['threshold']:.4g} on."
    if "caution" in out:
        told += f"\n\nOf these, {out['caution']}."
    return told


def _sides(shape: Any) -> str:
    return f"[{', '.join(map(str, shape))}]"
