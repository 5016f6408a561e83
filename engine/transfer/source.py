"""Arrays by name, of a run's checkpoint or of a .safetensors file, verified before they are used.

A parameter's name is its path, Conv_0/kernel; what a network keeps besides has its collection's
before it, batch_stats/BatchNorm_0/mean.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from engine.doors import bring
from engine.doors.names import place_of
from engine.errors import RequestError, one_line, some
from engine.job import extras
from engine.store import folder, record
from engine.store.checkpoint import Checkpoints
from engine.store.digests import leaf, read_record

_KEYS = re.compile(r"\['([^']*)'\]|\[(\d+)\]|\.(\w+)")  # of a path as a checkpoint's record has it
MEANT = "classes", "columns", "input_dtype"
_KEPT = "params", "batch_stats", "collections", "average"  # of a State, the network's


class Source(NamedTuple):
    """`arrays` by name; `told` says where they are from, `digest` is a SHA-256 of all of it;
    `facts` are those of a run's config.json that tell what its inputs and outputs meant."""

    told: str
    digest: str
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


def name_of(keys: list[str]) -> str:
    """Of an array by its keys in a State, or in a network's variables."""
    own = keys[1:] if keys[0] in ("params", "collections") else keys
    return "/".join(own or keys)  # params may be a single array


class Variables(Checkpoints):
    """A run's checkpoints, of which only the network's arrays are read, whatever the network: a
    `restore` gives ((step, digest, arrays by name), seconds)."""

    def _verified(self, step: int, shapes: Any, any_count: bool) -> tuple[Any, float]:
        path = self.folder / str(step)
        record = read_record(path)
        keys = {name: ["".join(key) for key in _KEYS.findall(name)] for name in record.leaves}
        tree = self._manager.read(path)
        read = {jax.tree_util.keystr(at, simple=True, separator="/"): x
                for at, x in jax.tree_util.tree_leaves_with_path(tree)}
        arrays = {}
        for name, parts in sorted(keys.items(), key=lambda found: found[1][0] == "average"):
            if parts[0] in _KEPT:
                # Averaged weights take the place of the trained ones, as in predictions.
                own = parts[1:] if parts[0] == "average" else parts
                arrays[name_of(own)] = found = read["/".join(parts)]
                if leaf(found) != record.leaves[name]:
                    raise ValueError(f"the checksum of {name} differs")
        return (step, record.digest(), arrays), record.seconds

    def at(self, step: int) -> tuple[int, str, dict[str, np.ndarray]]:
        """Of that step alone. Raises RequestError where it is damaged, or not there."""
        if step not in (there := sorted(self._manager.steps())):
            raise RequestError(f"{self.folder} has no step {step}: it has "
                               f"{some([*map(str, there)]) or 'none'}.")
        try:
            return self._verified(step, None, False)[0]
        except Exception as error:  # Orbax and what is below it raise what they like
            raise RequestError(f"{self.folder}/{step} is no whole checkpoint: {one_line(error)}."
                               ) from None


def source_of(word: str) -> Source:
    """What --init_from names. Raises RequestError where it is neither a run with a whole checkpoint
    nor a whole .safetensors file."""
    return _of_file(Path(word)) if word.endswith(".safetensors") else _of_run(word)


def _of_run(word: str) -> Source:
    path, step = place_of(word)
    saved = record.read(path / "config.json")
    if step is None and "task" in record.objects(saved.request.config):
        step = _best(path)
    higher = step is None and bring.task(saved.request.config).higher
    kept = Variables(path / "checkpoints", higher, read_only=True)
    with kept:
        if step is None:
            (found, digest, arrays), _ = kept.restore(None, "best")
        else:
            found, digest, arrays = kept.at(step)
    which = "" if step is not None else ", the best of its checkpoints"
    facts = {name: saved.content[name] for name in MEANT if name in saved.content}
    return Source(f"{path}, step {found}{which}", digest, facts, arrays)


def _best(path: Path) -> int:
    """The step of the best checkpoint of a run whose task, an object in Python, would say which one
    it is. Raises RequestError where nobody says."""
    scored = folder.metrics(path)
    if scored.get("checkpoint") == "best":
        return scored["step"]
    raise RequestError(f"--init_from {path}: its task was an object in Python, and it isn't "
                       f"finished, so that nobody says which checkpoint is the best: name one, "
                       f"{path}/checkpoints/STEP.")


def _of_file(path: Path) -> Source:
    extras.need(f"--init_from {path}", "safetensors", "safetensors")
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise RequestError(f"--init_from {path}: no such file.")
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:
        raise RequestError(f"--init_from {path} is no whole .safetensors file: "
                           f"{one_line(error)}.") from None
    named = {name_of(name.replace(".", "/").split("/")): x for name, x in arrays.items()}
    return Source(str(path), digest, {}, named)
