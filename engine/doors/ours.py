"""What a word of ours stands for: cnn is CNN in models/cnn.py, of our models and nobody else's."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from engine.errors import RequestError

ROOT = Path(__file__).parents[2]


def found(package: str, word: str) -> Any:
    """The network or task of the file `word`. Raises RequestError where a file or folder of the
    user's is found first by the name of our package, and where the file has none of its name."""
    top = package.partition(".")[0]
    spec = importlib.util.find_spec(top)
    where = next(iter(spec.submodule_search_locations or [spec.origin or ""])) if spec else ""
    if where and os.path.realpath(where) != os.path.realpath(ROOT / top):
        raise RequestError(f"{word}: {where} is found before flaxmill's own {top}: rename it, or "
                           "start from another folder.")
    module = importlib.import_module(f"{package}.{word}")
    plain = word.replace("_", "")
    found = [value for name, value in vars(module).items() if name.lower() == plain]
    if not found:
        raise RequestError(f"{package.replace('.', '/')}/{word}.py has no class "
                           f"{word.title().replace('_', '')}: call its class so, in any case.")
    return found[0]
