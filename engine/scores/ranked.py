"""Which score of a task ranks checkpoints and runs."""

import contextlib
import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from engine.errors import RequestError, unknown

T = TypeVar("T", bound="Ranked")


@dataclass(frozen=True, eq=False, repr=False)
class Ranked:
    """`score` names what ranks checkpoints and runs, of the task's row or "loss"; `higher` is
    whether more of it is better, as it is of `gains` and `ranks`; of `errors` less is. Those of
    `ranks` are in the row where they rank. `ranked_by` is another of them all in `score`'s place.
    """

    ranked_by: str = field(default="", kw_only=True)
    score: ClassVar[str] = "loss"
    higher: ClassVar[bool] = False
    gains: ClassVar[tuple[str, ...]] = ()
    ranks: ClassVar[tuple[str, ...]] = ()
    errors: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not (name := self.ranked_by) or name == self.score:
            return
        more, less = (*self.gains, *self.ranks), ("loss", *self.errors)
        if name not in (*more, *less):
            raise unknown(f"score of {type(self).__name__} to --rank_by", name,
                          dict.fromkeys((self.score, *more, *less)))
        object.__setattr__(self, "score", name)  # of this one; the class keeps its own
        object.__setattr__(self, "higher", name in more)

    # A task that is no dataclass of its own has what its __init__ gave it, too.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *sorted(vars(self).items())))

    def __repr__(self) -> str:
        own = (f"{name}={value!r}" for name, value in vars(self).items()
               if name not in ("score", "higher"))  # which follow from ranked_by
        return f"{type(self).__qualname__}({', '.join(own)})"

    @property
    def measure(self) -> str:
        """What ranks, in words: of losses which one, since numbers of two don't compare."""
        losses = filter(None, (getattr(self, "loss_name", ""), *getattr(self, "losses", ())))
        return f"loss {next(losses, '')}".rstrip() if self.score == "loss" else self.score

    def led(self, names: Collection[str], scores: dict[str, Any]) -> list[str]:
        """Those of the names that have a score, before them what `ranked_by` says, or ranks and is
        none of them."""
        first = [self.score] if self.ranked_by or self.score not in names else []
        return [*dict.fromkeys(name for name in (*first, *names) if name in scores)]

    def ranked(self: T, score: str) -> T:
        """The same task, ranked by `score`, if that names one. Raises RequestError for one that it
        doesn't have, and where a task of one's own can't be made again."""
        if not score:
            return self
        with contextlib.suppress(TypeError):
            made = dataclasses.replace(self, ranked_by=score)
            if made.score == score:
                return made
        raise RequestError(f"--rank_by {score} can't be told to {type(self).__name__}: give its "
                           "class a score and higher of its own instead.")
