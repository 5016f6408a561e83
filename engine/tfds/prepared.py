"""Sets that are prepared in a folder as tensorflow-datasets lays them out, by their names."""

import re
from pathlib import Path

from engine.errors import RequestError
from engine.tables.dialect import TABLES

_NAME = re.compile(r"([a-zA-Z]\w*)(?:/([\w.+-]+))?(?::(\d+\.\d+\.\d+))?", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_ARRAYS = ".npz", ".npy"


def parts(name: str) -> tuple[str, str | None, str | None]:
    """Name, config and version. Raises RequestError for what is none, such as a file's name."""
    here = Path(name).expanduser()
    ending, there = here.suffix.lower(), here.is_file()
    if (match := _NAME.fullmatch(name)) and not (
            ending in (*TABLES, *_ARRAYS) or there and "/" in name):
        return match[1], match[2], match[3]
    if ending in _ARRAYS:
        raise RequestError(f"data set {name!r} is no name: arrays come by a recipe, --config "
                           "FILE.py, which has data = (x, y) of numpy.load.")
    meant = "table" if there or ending in TABLES else "image_folder" if here.is_dir() else ""
    where = "to learn from what lies there" if here.exists() else "of a file"
    raise RequestError(f"data set {name!r} is no name: " + (
        f"{where}, type {meant}:{name}" if meant else "type digits, cifar10, image_folder:PATH, "
        "table:PATH, or a tfds set as name, name/config or name:1.0.0"))


def find(name: str, root: Path) -> Path | None:
    """The prepared folder of `name` in `root` (the newest version unless one is named), or None.
    Raises RequestError where several configs are prepared and none is named."""
    base, config, version = parts(name)
    direct = _newest(root / base / (config or ""), version)
    if direct or config:
        return direct
    configs = [found for child in _children(root / base) if (found := _newest(child, version))]
    if len(configs) > 1:
        named = ", ".join(f"{base}/{found.parent.name}" for found in configs)
        raise RequestError(f"data set {base} has several configs: name one of {named}")
    return configs[0] if configs else None


def prepared(root: Path) -> list[str]:
    """The names of `root`'s prepared sets, `name/config` where a set has configs."""
    below = [sub for child in _children(root) for sub in (child, *_children(child))]
    return [path.relative_to(root).as_posix() for path in below if _newest(path)]


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _newest(folder: Path, version: str | None = None) -> Path | None:
    """The version folder asked for, else the newest that is complete."""
    # tfds writes dataset_info.json last, into a folder of another name that it then renames.
    complete = [path for path in _children(folder) if _VERSION.fullmatch(path.name)
                and version in (None, path.name) and (path / "dataset_info.json").is_file()]
    return max(complete, key=lambda path: [int(n) for n in path.name.split(".")], default=None)
