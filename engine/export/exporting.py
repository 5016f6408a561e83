"""The command `export`: a run's model into a file, compared with the run's own predictions, and a
card beside it."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from engine.devices import choose
from engine.errors import RequestError, RunError, unknown, visible
from engine.export import card, formats, program
from engine.export.formats import DEFAULT, FORMATS, OF_NETWORKS, TREES
from engine.job.host import compute_on
from engine.loaded import load
from engine.request import Request
from engine.store import target
from engine.sweep import ensembles

CLOSE = {"float32": 1e-5, "bf16": 2e-2}  # of what two compilers say of the same


def tell(request: Request, checkpoint: str, asked: str, output: str) -> None:
    """Write the run as the format `asked` for, "" is the first or what trees have, to `output` or
    into its folder's export/, and print where. Raises RequestError, and RunError where the file
    says something else than the run, in which case nothing is left."""
    path = Path(request.place.run_dir)
    if ensembles.of(path):
        raise RequestError(f"export is of one run, and {path} is a sweep's folder: name one of its "
                           f"runs, such as {path / '0'}.")
    if asked and asked not in FORMATS:
        raise unknown("format", asked, FORMATS)
    # Whatever the run learned on: a GPU's products have fewer digits, and the readers run here.
    compute_on(choose.choose("cpu").device, request.place.compile_cache)
    run = load(path, request.config, checkpoint)
    word = _format(run, asked)
    file = _target(path, word, output)
    how = formats.how(word)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
        draft = Path(folder, file.name)
        how.write(run, draft)
        apart = _apart(run, how, draft)
        told = card.content(run, word, file.name, checkpoint)
        Path(folder, "model.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
        Path(folder, "model.md").write_text(card.page(told), "utf-8")
        made = [draft.name, "model.json", "model.md"]
        if told["inputs"]["kind"] != "numbers":
            shutil.copyfile(card.READER, Path(folder, "inputs.py"))
            made.append("inputs.py")
        for name in made:
            _put(Path(folder, name), file.parent / name)
    print(f"{visible(file, '')}: {_size(file):,} bytes, within {apart:.0e} of the run's own "
          f"predictions; beside it {' and '.join(made[1:])}")


def _format(run: Any, asked: str) -> str:
    """Raises RequestError for a format that the run's model can't have."""
    traced = run.learner.traced
    if (asked or TREES) != TREES and not traced:
        raise RequestError(f"--format {asked} is a network's, and the run's model is trees by "
                           f"XGBoost: type --format {TREES}, XGBoost's own file.")
    if asked == TREES and traced:
        raise RequestError(f"--format {TREES} is XGBoost's own, and the run's model is a network: "
                           f"type one of {', '.join(OF_NETWORKS)}.")
    return asked or (DEFAULT if traced else TREES)


def _target(run: Path, word: str, output: str) -> Path:
    """Where to write. Raises RequestError where that can't be."""
    own = run / "export" / f"model.{word}"
    try:
        if not output:
            own.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise RequestError(f"{own.parent}: {error.strerror}; type --output FILE.") from None
    holds = "saved_model.pb" if word == "saved_model" else ""
    return target.of(output or str(own), f".{word}", holds=holds)


def _apart(run: Any, how: Any, draft: Path) -> float:
    """How far the file's predictions are from the run's at most. Raises RunError where that is more
    than rounding."""
    inputs = program.probe(run)
    wanted, found = run.predicted(inputs), how.said(run, draft, inputs)
    same = found.shape == wanted.shape
    apart = float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())) if same else np.inf
    if not apart <= CLOSE.get(run.learner.config.precision, CLOSE["float32"]):
        by = f"by {apart:.1e}" if same else f"{list(found.shape)} for {list(wanted.shape)}"
        raise RunError(f"the exported file predicts otherwise than the run, {by}: it was "
                       "not kept. A network that draws at random, or whose examples see each "
                       "other, can't be exported.")
    return apart


def _put(draft: Path, path: Path) -> None:
    if path.is_dir():  # another SavedModel
        shutil.rmtree(path)
    os.replace(draft, path)


def _size(path: Path) -> int:
    each = [path] if path.is_file() else path.rglob("*")
    return sum(one.stat().st_size for one in each if one.is_file())
