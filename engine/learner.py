"""What a run asks of whatever learns: four pure functions. learners/ has one a file."""

from typing import Any, Protocol

from jax import Array

from engine.data import Data, Subset
from engine.task import Task


class Learner(Protocol):
    """Frozen and hashable: static under jit. A state is a tree of arrays, a State's or the
    learner's own; `hyper` is traced, `root` the key of the run, `order` that of its shuffles."""

    task: Task

    def create(self, hyper: Any, root: Array, data: Data) -> Any:
        """The state before the first update."""

    def segment(
        self, hyper: Any, root: Array, order: Array, train: Subset, state: Any, count: Array | int
    ) -> Any:
        """The state after `count` more updates, all within one epoch."""

    def evaluate(self, variables: Any, subset: Subset) -> Any:
        """The task's sums over every example of `subset`, each counted once."""

    def predict(self, variables: Any, inputs: Array) -> Array:
        """What the task tells a user of each example, [N, ...]."""
