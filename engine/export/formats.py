"""The words of --format, each a file's ending too: the files here that write one, which say in
LOADED how it is read, for its card. Found by their text, so that --help imports nothing heavy."""

import importlib
import re
from pathlib import Path
from typing import Any

FORMATS = tuple(sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py")
                       if re.search(r"^LOADED = ", file.read_text("utf-8"), re.MULTILINE)))
DEFAULT, TREES = "stablehlo", "ubj"  # of networks, and what trees have
OF_NETWORKS = (DEFAULT, *(word for word in FORMATS if word not in (DEFAULT, TREES)))


def how(word: str) -> Any:
    """The module of one, which has `write`, `said`, LOADED and, of arrays by their names, NAMED."""
    return importlib.import_module(f"engine.export.{word}")
