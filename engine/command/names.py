"""`launch.py list KIND`: what there is by name, a line each, told by its own docstring."""

import ast
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.command.usage import listed
from engine.config import NETWORKS, TASKS
from engine.errors import RequestError, unknown, visible
from engine.optim.optimizers import OPTIMIZERS
from engine.optim.schedules import SCHEDULES
from engine.optim.trees import TREES
from engine.width import fitted

_ENGINE = Path(__file__).parents[1]
KINDS = "models", "tasks", "losses", "optimizers", "schedules", "augmentations", "datasets"
SETS = {
    "digits": "1,797 handwritten digits of 8 × 8 pixels, enlarged to 32 × 32, of 10 classes.",
    "iris": "150 flowers by 4 lengths, of 3 classes.",
    "wine": "178 wines by 13 measurements, of 3 classes.",
    "breast_cancer": "569 tumours by 30 measurements, of 2 classes.",
    "diabetes": "442 patients by 10 measurements, and a number to predict.",
    "cifar10": "60,000 pictures of 32 × 32 in colour, of 10 classes; downloaded, 170 MB.",
    "cifar100": "60,000 pictures of 32 × 32 in colour, of 100 classes; downloaded, 169 MB.",
    "mnist": "70,000 handwritten digits of 28 × 28, of 10 classes; downloaded, 12 MB.",
    "fashion_mnist": "70,000 pictures of clothes of 28 × 28, of 10 classes; downloaded, 31 MB.",
    "image_folder:PATH": "your pictures, in a folder for each class, or with a table of labels.",
    "table:PATH": "your CSV or Parquet file, a row an example.",
}


def told(words: Sequence[str], data_dir: str) -> str:
    """The lines of the one kind that `words` name; sets prepared in `data_dir` are among the
    datasets. Raises RequestError for another."""
    if len(words) != 1:
        raise RequestError(f"list takes one kind: type list {listed(KINDS, 'or')}.")
    kind = words[0]
    if kind not in KINDS:
        raise unknown("kind to list", kind, KINDS)
    found = {
        "models": lambda: _files(_ENGINE.with_name("models"), NETWORKS) | _functions(TREES),
        "tasks": lambda: _files(_ENGINE / "tasks", TASKS),
        "losses": _losses,
        "optimizers": lambda: _functions(OPTIMIZERS),
        "schedules": lambda: _functions(SCHEDULES),
        "augmentations": _augmentations,
        "datasets": lambda: SETS | _prepared(data_dir),
    }[kind]()
    wide = max(map(len, found))
    return "\n".join(fitted(f"{name:{wide}}  {text}".rstrip(), sys.stdout, " " * (wide + 2))
                     for name, text in found.items())


def sentence(text: str | None) -> str:
    """The first one of a docstring, in a line; et al. ends none."""
    line = " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())
    ended = re.match(r".*?(?<!\bal)\.(?= |$)", line)
    return ended[0] if ended else line


def _docstring(file: Path) -> str | None:
    return ast.get_docstring(ast.parse(file.read_text()))


def _files(folder: Path, names: Sequence[str]) -> dict[str, str]:
    return {name: sentence(_docstring(folder / f"{name}.py")) for name in names}


def _functions(named: Mapping[str, object]) -> dict[str, str]:
    return {name: sentence(getattr(made, "__doc__", None)) for name, made in named.items()}


def _losses() -> dict[str, str]:
    """Of each task, as its class says in `losses`."""
    def said(task: str) -> str:
        tree = ast.parse((_ENGINE / "tasks" / f"{task}.py").read_text())
        (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)
                    and isinstance(node.target, ast.Name) and node.target.id == "losses")
        first, *others = ast.literal_eval(found.value or found)
        return ", ".join((f"{first} (the default)", *others)) + "."

    return {task: said(task) for task in TASKS}


def _augmentations() -> dict[str, str]:
    """Of their wing, the files that say how one is done, in a function `apply`."""
    wing = _ENGINE / "augmentations"
    named = [file.stem for file in sorted(wing.glob("[!_]*.py")) if _has_apply(file)]
    return _files(wing, named)


def _has_apply(file: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "apply"
               for node in ast.parse(file.read_text()).body)


def _prepared(data_dir: str) -> dict[str, str]:
    from engine import sources  # late: it imports NumPy

    root = sources.data_dir(data_dir)
    there = (visible(name, "") for name in sources.prepared(root))
    return {name: f"prepared in {root}." for name in there if name not in SETS}
