"""A sweep's own flags."""

from typing import NamedTuple

from engine.errors import RequestError
from engine.store import record
from engine.store.record import Saved


class Search(NamedTuple):
    """A sweep's own flags."""

    axes: tuple[str, ...] = ()
    seeds: int = 1
    samples: int = 0
    folds: int = 0
    same_data_order: bool = False
    halving: int = 0
    pbt: bool = False
    study: str = ""
    sampler: str = ""
    median: bool = False


SEARCH_HELP = {
    "axes": "NAME=0.1,0.2 or NAME=log:1e-4:1e-1:16 or NAME=lin:0:1:5; more than one make a grid",
    "seeds": "runs of every setting, from --seed on",
    "samples": "draw so many settings from the axes' ranges instead of their grid",
    "folds": "k-fold cross-validation on the training split",
    "same_data_order": "every run meets the same batches",
    "halving": "keep one in so many settings at each rung (successive halving)",
    "pbt": "population-based training: every epoch the worst copy the best and move on from there",
    "study": "share the sweep with other processes: a journal file that all see, or a database URL",
    "sampler": "with --study and --samples: tpe chooses settings by the results so far",
    "median": "with --study: stop what is worse than the median of the finished at the same epoch",
}


def saved(sweep: Saved) -> Search:
    """The search of a sweep.json. Raises RequestError where there is none."""
    try:
        found = sweep.content["search"]
        return record.typed(Search, found | {"axes": tuple(found["axes"])})
    except (KeyError, TypeError) as error:
        file = sweep.folder / "sweep.json"
        raise RequestError(f"{file} is not a sweep's request: {error}.") from None
