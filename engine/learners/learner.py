"""What a run asks of whatever learns, and what the host has to know of it."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, ClassVar, Protocol

import jax

from engine.config import Config
from engine.devices.mesh import Spread
from engine.devices.program import hasty
from engine.examples import Subset
from engine.feed import Data
from engine.optim import patience
from engine.optim.lengths import Durations
from engine.optim.patience import Monitor
from engine.state import State
from engine.task import Task


class Learner(Protocol):
    """Frozen and hashable. `hyper` are the run's values, `root` its key, `order` that of its
    shuffles. The functions of a `traced` learner are pure, and compiled by jax; of another
    they are called as they are, on the host: equal arguments give equal results all the same.
    """

    traced: ClassVar[bool]
    config: Config
    task: Task

    @property
    def spread(self) -> Spread:
        """How it lies on devices."""

    @property
    def coupled(self) -> bool:
        """Whether an example's loss or prediction depends on the others of its batch."""
        return False

    @property
    def mixes(self) -> bool:
        """Whether its prediction does."""
        return False

    def lengths(self, examples: int) -> Durations:
        """Of a run on so many training examples, in updates."""

    def settled(
        self, hyper: Any, data: Data, platform: str, say: Callable[[str], Any]
    ) -> "Learner":
        """The same, tried with `data` on the host and fit for the platform; choices are told.
        Raises RequestError for what can't learn them, before a folder is made."""

    def shapes(self, hyper: Any, input_shape: tuple[int, ...]) -> State:
        """A state's arrays, by shape and dtype; an axis of -1 is as long as it was saved."""

    def create(self, hyper: Any, root: Any, data: Data) -> State:
        """The state before the first update."""

    def segment(
        self, hyper: Any, root: Any, order: Any, train: Subset, state: State, count: Any
    ) -> State:
        """The state after `count` more updates, all within one epoch."""

    def evaluate(self, variables: tuple[Any, ...], subset: Subset) -> tuple[Any, ...]:
        """The task's sums of each model's `variables` over every example of `subset`."""

    def judge(self, variables: Any, subset: Subset) -> tuple[Any, Any]:
        """What `evaluate` and `predict` make of the examples of `subset`, of one model."""

    def predict(self, variables: Any, inputs: Any) -> Any:
        """What the task tells of each of `inputs` [N, ...], as a split holds them."""

    def averaging(self, hyper: Any) -> bool:
        """Whether a run keeps averaged weights beside its own."""
        return False

    def restated(self, root: Any, order: Any, train: Subset, state: State) -> State:
        """The state, batch statistics of its averaged weights made anew."""
        return state

    def ranking(self, hyper: Any) -> Monitor:
        """What ranks checkpoints and runs."""
        return patience.ranking(self.task, self.averaging(hyper))

    def monitor(self, hyper: Any) -> Monitor:
        """The score that stops a run and lowers its rate. Raises RequestError for an unknown."""
        return patience.monitor(self.task, self.config.monitor, self.averaging(hyper))

    def over(self, hyper: Any, lengths: Durations, history: list[dict[str, Any]]) -> str:
        """Why a run stops after these epochs, by its patience; "" where it goes on."""
        if not lengths.patience or len(history) == self.config.epochs:
            return ""
        watched = self.monitor(hyper)
        return patience.stops([row[watched.name] for row in history], lengths.epoch, watched,
                              lengths.patience, self.config.min_delta)

    def gain(self, variables: Any, features: int) -> Any:
        """How much splits by each flat feature gained on average, shares of 1, float64 [F]; None of
        what has no splits."""
        return None


@cache
def compiled(method: str, donate: str = "", platform: str = "") -> Any:
    """A method of learners, compiled once for equal ones, which it takes first; `donate` names an
    argument to write over. What is no training is compiled hastily for the `platform`."""
    def call(learner: Learner, *values: Any, **named: Any) -> Any:
        return getattr(learner, method)(*values, **named)

    return jax.jit(call, static_argnums=0, donate_argnames=donate or None,
                   compiler_options=hasty(platform))


def jitted(learner: Learner, method: str, donate: str = "", platform: str = "") -> Any:
    """A method of the learner's, `compiled` where it is traced."""
    return partial(compiled(method, donate, platform), learner) if learner.traced else \
        getattr(learner, method)
