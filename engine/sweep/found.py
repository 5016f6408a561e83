"""What a sweep found, in Python: a row a run, and the best setting."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import Config
from engine.disk import whereabouts
from engine.report import notebook


@dataclass(frozen=True, eq=False)
class Sweep:
    """`results` has a row a run, as results.jsonl: its number, status, seed, fold, swept values and
    scores. `best` are the config and hyper of the best setting, which `fit(*found.best)` trains.
    Each run's folder is its number in `path`."""

    path: Path
    results: list[dict[str, Any]]
    best: tuple[Config, Any] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.absolute())  # wherever the process goes
        object.__setattr__(self, "results", notebook.History(self.results))

    def __fspath__(self) -> str:
        """A sweep stands for its folder: load(found), evaluate(found)."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"Sweep({str(whereabouts.told(self.path))!r}: {len(self.results)} runs)"

    def _repr_html_(self) -> str:
        return notebook.table(repr(self), self.results)
