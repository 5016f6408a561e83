"""What is learned: a loss of every example, sums that add, and the scores made of them.

B batch, K outputs of the network, N examples. Since sums add, masks, devices, microbatches and
sweeps serve every task unchanged. A task of one's own is a subclass with a `loss`, and may have
`scores`: tasks/regression.py is one.
"""

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.console.number import number
from engine.drawn.shown import Card, Shown
from engine.scores.judged import Judged
from engine.scores.own import Scored, means
from engine.scores.ranked import Ranked

T = TypeVar("T")
KINDS = "classes", "numbers", "labels", "positions"  # of targets


class Tally(NamedTuple):
    """Sums over valid examples: float32 loss, float32 scores by name, int32 count; scalars."""

    loss_sum: Array
    scores: dict[str, Array]
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls


def add(a: T, b: T) -> T:
    """The sums of two batches, of any tree."""
    return jax.tree.map(jnp.add, a, b)


def float32(outputs: Any) -> Any:
    """A network's outputs, of any tree, as tasks take them; complex ones as complex64."""
    return jax.tree.map(
        lambda x: x.astype(jnp.complex64 if jnp.iscomplexobj(x) else jnp.float32), outputs)


def masked(values: Array, valid_B: Array) -> Array:
    """[B, ...] summed over valid examples: a masked row counts nothing, even where not finite."""
    mask = jnp.expand_dims(valid_B, tuple(range(1, values.ndim)))
    return jnp.where(mask, values, 0).sum(0)


COSTS = ("seconds_train", "seconds_compile", "examples_per_second")


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Of metrics.json's content, the scores that are one number each."""
    return {k: v for k, v in metrics.items() if isinstance(v, float) and k not in COSTS}


@dataclass(frozen=True, eq=False, repr=False)
class Task(Ranked):
    """Frozen and hashable: static under jit. `outputs` [B, K] are the network's, float32; `targets`
    by `kind` int32 [B] ("classes") or [B, ...] ("positions", -1 where there is none), or float32
    [B, K] ("numbers", "labels").

    `headline` are the scores on top of the report, () all; `unspoken` those that its line leaves to
    it; `note` explains its table. What ranks is as `Ranked` has it: `score`, `higher`, `gains`.

    Of one's own with `any_outputs` they are what the network gives: an array [B, ...], or a tuple
    or dictionary of such; its `predict` gives one array.
    """

    kind: ClassVar[str] = "numbers"
    headline: ClassVar[tuple[str, ...]] = ()
    unspoken: ClassVar[tuple[str, ...]] = ()
    note: ClassVar[str] = ""
    any_outputs: ClassVar[bool] = False

    def loss(self, outputs: Array, targets: Array, hyper: Any) -> Array:
        """Of each example, float32 [B]. `hyper` is the run's, or None where a model is judged. One
        that depends on the others of its batch takes `valid` too, bool [B], false of those that
        only fill the batch up."""
        raise NotImplementedError(f"{type(self).__name__} has no loss(outputs, targets, hyper)")

    @property
    def coupled(self) -> bool:
        """Whether the loss takes `valid`."""
        return "valid" in inspect.signature(self.loss).parameters

    def loss_of(self, outputs: Array, targets: Array, hyper: Any, valid_B: Array) -> Array:
        """`loss`, of what it asks for."""
        asked = {"valid": valid_B} if self.coupled else {}
        return self.loss(outputs, targets, hyper, **asked)

    def scores(self, outputs: Array, targets: Array) -> dict[str, Array]:
        """Values of each example, [B] by name, whose means are told each epoch."""
        return {}

    def tally(self, loss_B: Array, outputs: Array, targets: Array, valid_B: Array) -> Any:
        """A batch's sums: a NamedTuple with `loss_sum` and `count`."""
        scores = self.scores(outputs, targets)
        return Tally(
            masked(loss_B, valid_B),
            {name: masked(jnp.float32(value), valid_B) for name, value in scores.items()},
            valid_B.sum(dtype=jnp.int32),
        )

    def beside(self, own: Any, loss_B: Array, *of: Array) -> Any:
        """`own`, the sums of a class that has others, and `tally` where there are scores too."""
        outputs, targets, _ = of
        return Scored(own, Task.tally(self, loss_B, *of)) if self.scores(outputs, targets) else own

    def row(self, tally: Any) -> dict[str, Array]:
        """An epoch's means from its sums, "loss" first."""
        return {"loss": tally.loss_sum / jnp.float32(tally.count)} | means(tally)

    def zeros(self, num_outputs: int, outputs: Any = None) -> Any:
        """The tally of no example, of `outputs` [1, ...], by default [1, num_outputs]."""
        numbers = jax.ShapeDtypeStruct((1, num_outputs), jnp.float32)
        outputs = numbers if outputs is None else outputs
        shape = {"classes": (1,), "positions": getattr(outputs, "shape", ())[:-1]}.get(self.kind)
        targets = jax.ShapeDtypeStruct(shape, jnp.int32) if shape else numbers
        loss, valid = (jax.ShapeDtypeStruct((1,), dtype) for dtype in (jnp.float32, bool))
        sums = jax.eval_shape(self.tally, loss, outputs, targets, valid)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)

    def judge(self, outputs: Array, targets: Array, valid_B: Array) -> Any:
        """`tally` by the loss that judges, which knows nothing that only training's has."""
        loss_B = self.loss_of(outputs, targets, None, valid_B)
        return self.tally(loss_B, outputs, targets, valid_B)

    def predict(self, outputs: Array) -> Array:
        """What a user is told of each example: probabilities, or the outputs themselves."""
        return outputs

    def outputs(self, predicted: Array) -> Array:
        """Outputs that `predict` would make `predicted` of, as the mean of several models' is."""
        return predicted

    def said(self, predicted: np.ndarray) -> np.ndarray:
        """Of classes, the number of each example's, int [N], by its probabilities [N, C]."""
        return predicted.argmax(1)

    def told(self, predicted: np.ndarray, names: tuple[str, ...]) -> str:
        """One example's prediction [K] in words, tab-separated."""
        return "\t".join(f"{value:.6g}" for value in predicted.ravel())

    def summarise(self, judged: Judged, names: tuple[str, ...]) -> dict[str, Any]:
        """Scores as plain Python values, ready for JSON; `names` are the classes or outputs.
        `interval` has of some the [low, high] of a bootstrap, see scores/bootstrap.py."""
        return {name: float(value) for name, value in self.row(judged.sums).items()} | {
            "num_examples": int(judged.sums.count)
        }

    def line(self, scores: dict[str, Any]) -> str:
        """The scores in one line."""
        return ", ".join(self.spoken(name, scores) for name in self.led(numbers(scores), scores)
                         if name not in self.unspoken)

    def spoken(self, name: str, scores: dict[str, Any]) -> str:
        """One of them; the one that ranks runs with its interval."""
        found = scores.get("interval", {}).get(name) if name == self.score else None
        return f"{name} {number(scores[name])}" + (
            f" [{', '.join(map(number, found))}]" if found else "")

    def shown(self, scores: dict[str, Any], judged: Judged, names: tuple[str, ...]) -> Any:
        """What the report shows, a report.shown.Shown: `headline`, or every score that is a number;
        the row's curves; a table of what the scores have as per_class or the like; `drawn`."""
        first = self.led(self.headline or numbers(scores), scores)
        found = {name: scores[name] for name in first}
        spread = scores.get("interval", {})
        cards = [Card(name.replace("_", " "), number(value),
                      " to ".join(map(number, spread.get(name, ()))))
                 for name, value in found.items() if value is not None]
        every = [[name.replace("_", " "), value, *spread.get(name, (None, None))]
                 for name, value in numbers(scores).items() if name != "zero_division"]
        tables = [([key.removeprefix("per_"), *next(iter(rows.values()))],
                   [[name, *row.values()] for name, row in rows.items()])
                  for key, rows in scores.items() if key.startswith("per_")]
        return Shown(cards, tuple(self.row(judged.sums)), next(iter(tables), None), self.note,
                     self.drawn(scores, judged, names), every)

    def drawn(
        self, scores: dict[str, Any], judged: Judged, names: tuple[str, ...]
    ) -> list[tuple[str, str, bytes]]:
        """The report's pictures: file name, heading, PNG."""
        return []
