"""Names of --init_from and --init_map: another's arrays as our own, a JSON file of theirs → ours.

An object has exact names, {"backbone.conv1": "Conv_0/kernel"}; a list of pairs has regular
expressions, each replaced in turn in every name: [["^backbone/", ""], ["layer", "Conv_"]].
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.disk import files
from engine.errors import RequestError, repeated, some, unknown


def place_of(word: str) -> tuple[Path, int | None]:
    """The run's folder that --init_from names, and the step of RUN/checkpoints/STEP. Raises
    RequestError where there is none."""
    path, step = Path(word).expanduser(), None
    if path.name.isdecimal() and path.parent.name == "checkpoints":
        path, step = path.parents[1], int(path.name)
    if path.suffix == ".npz" and path.is_file():
        raise RequestError(f"--init_from {word}: a .npz is no .safetensors file; make one: from "
                           "safetensors.numpy import save_file; save_file(dict(numpy.load("
                           f"{word!r})), '{path.stem}.safetensors').")
    if not (path / "config.json").is_file():
        raise RequestError(f"--init_from {word}: no run's folder and no .safetensors file: type "
                           "runs/..., runs/.../checkpoints/STEP or FILE.safetensors.")
    return path, step


def written(words: str) -> str:
    """--init_map as config.json keeps it: a file's content stands for the file. Raises RequestError
    where there is none."""
    if not words or words.lstrip().startswith(("{", "[")):
        return words
    try:
        return json.dumps(files.parsed(files.read(Path(words).expanduser())))
    except FileNotFoundError:
        reason: Any = "no such file"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is no JSON ({error})"
    raise _refused(words, reason)


def _refused(words: str, reason: Any) -> RequestError:
    return RequestError(f"--init_map {words:.80}: {reason}; write theirs and ours, "
                        '{"conv1/weight": "Conv_0/kernel"}, or a list of pairs of a regular '
                        "expression and its replacement.")


def renamed(words: str, theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Our name of each of `theirs`. Raises RequestError for a map that is none, for a name that is
    on neither side, a pattern that is in no name, and two that become one."""
    theirs, ours = list(theirs), list(ours)
    found = {name: name for name in theirs}
    if words:
        asked = files.parsed(words.encode()) if words.lstrip()[:1] in ("{", "[") else None
        if isinstance(asked, dict) and all(isinstance(v, str) for v in asked.values()):
            found |= _exact(asked, theirs, ours)
        elif isinstance(asked, list) and all(
                isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair)
                for pair in asked):
            found = _by_patterns(asked, theirs)
        else:
            raise _refused(words, "it is neither an object of texts nor a list of pairs of them")
    if twice := repeated(found.values()):
        raise RequestError(f"--init_map gives several arrays the name {some(sorted(twice))}: map "
                           "one to each.")
    return found


def _exact(asked: dict[str, str], theirs: list[str], ours: list[str]) -> dict[str, str]:
    slashed = {name.replace(".", "/"): own for name, own in asked.items()}
    for name, own in slashed.items():
        if name not in theirs:
            raise unknown("array of --init_from in --init_map", name, theirs)
        if own not in ours:
            raise unknown("parameter of this network in --init_map", own, ours)
    return slashed


def _by_patterns(pairs: list[list[str]], theirs: list[str]) -> dict[str, str]:
    found = {name: name for name in theirs}
    for pattern, instead in pairs:
        try:
            after = {name: re.sub(pattern, instead, now) for name, now in found.items()}
        except (re.error, IndexError) as error:
            raise _refused(pattern, f"it is no regular expression, or {instead!r} none's "
                           f"replacement ({error})") from None
        if after == found:
            raise RequestError(f"--init_map: {pattern!r} is in none of the names "
                               f"{some(sorted(found.values()))}: leave it out.")
        found = after
    return found
