"""A class of each position of an example, of a picture's pixels or a text's tokens: cross-entropy,
accuracy, intersection over union. P: positions, of one axis or several; C: classes."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.drawn.shown import Picture
from engine.errors import RequestError, unknown
from engine.examples import UNLABELLED
from engine.scores import bootstrap
from engine.scores.counts import SCORES, Counts, counts, ranking
from engine.scores.judged import Judged
from engine.scores.own import means
from engine.task import Task, masked
from engine.tasks.classification import Classification

MOST_TOLD = 256  # classes of which the report has a table


class Tally(NamedTuple):
    """Sums over the positions of valid examples that have a class: float32 loss; of each class,
    int32 [C], how many were hit, predicted, and there; int32 count."""

    loss_sum: Array
    hits: Array
    said: Array
    there: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls


@dataclass(frozen=True)
class Positions(Task):
    """Targets int32 [B, P], 0 to C-1, or -1 where a position has no class and counts for nothing;
    outputs are logits [B, P, C]. The mean of a batch is over its positions, as PyTorch's is,
    not of the means of its examples. `class_weights` are one a class, or none; they multiply a
    position's loss in training, and the mean stays over positions.

    The likeliest class of each position is predicted, int32 [B, P], -1 where the network's answer
    is no number; or with `probabilities` those
    of all classes, float32 [B, P, C], which an evaluation holds of every example at once.
    """

    loss_name: str = field(default="", kw_only=True)
    class_weights: tuple[float, ...] = field(default=(), kw_only=True)
    probabilities: bool = field(default=False, kw_only=True)
    kind: ClassVar[str] = "positions"
    any_outputs: ClassVar[bool] = True
    gains: ClassVar[tuple[str, ...]] = ("accuracy", "mean_iou")
    ranks: ClassVar[tuple[str, ...]] = (*SCORES,)
    headline: ClassVar[tuple[str, ...]] = ("accuracy", "mean_iou", "loss", "perplexity")
    note: ClassVar[str] = ("IoU of a class: its positions that were hit, of those that are its own "
                           "or were said to be. Their mean is over classes that are there or said.")
    losses: ClassVar[tuple[str, ...]] = ("softmax_cross_entropy", "focal")

    def loss(self, outputs: Array, targets: Array, hyper: Any) -> Array:
        """`Classification`'s of every position, summed over those of an example, float32 [B].
        Raises RequestError for an unknown loss, and for outputs of other positions than the
        targets'."""
        if self.loss_name not in ("", *self.losses):
            raise unknown("loss_name of Positions", self.loss_name, self.losses)
        if outputs.shape[:-1] != targets.shape:
            raise RequestError(f"outputs of shape {outputs.shape} for targets of {targets.shape}: "
                               "give logits of every class on a last axis, as many positions as "
                               "the targets have; of one-hot targets y.argmax(-1), of one channel "
                               "y[..., 0]; pictures are [N, H, W, C].")
        own = self.class_weights  # a network may have more classes
        more = (1.0,) * (outputs.shape[-1] - len(own)) if own else ()
        each = Classification(loss_name=self.loss_name, class_weights=(*own, *more))
        known = jnp.maximum(targets, 0).reshape(-1)
        loss = each.loss(outputs.reshape(-1, outputs.shape[-1]), known, hyper)
        loss = jnp.where(targets < 0, 0, loss.reshape(targets.shape))
        return loss.reshape(len(targets), -1).sum(1)

    def tally(self, loss_B: Array, outputs: Array, targets: Array, valid_B: Array) -> Any:
        valid = jnp.expand_dims(valid_B, (*range(1, targets.ndim),)) & (targets >= 0)
        said = outputs.argmax(-1).astype(jnp.int32)
        own = Tally(masked(loss_B, valid_B), *counts(said, targets, valid, outputs.shape[-1]),
                    valid.sum(dtype=jnp.int32))
        return self.beside(own, loss_B, outputs, targets, valid_B)

    def row(self, tally: Any) -> dict[str, Array]:
        count, union = jnp.float32(tally.count), tally.said + tally.there - tally.hits
        iou = jnp.float32(tally.hits) / jnp.float32(jnp.maximum(union, 1))
        return {"loss": tally.loss_sum / count,
                "accuracy": jnp.float32(tally.hits.sum()) / count,
                "mean_iou": iou.sum() / jnp.float32((union > 0).sum())
                } | ranking(self.score, Counts(tally.hits, tally.said, tally.there)) \
            | means(tally)

    def predict(self, outputs: Array) -> Array:
        if self.probabilities:
            return jax.nn.softmax(outputs)
        known = ~jnp.isnan(outputs).any(-1)
        return jnp.where(known, outputs.argmax(-1).astype(jnp.int32), UNLABELLED)

    def outputs(self, predicted: Array) -> Array:
        """Of probabilities their logarithms. Raises RequestError for classes."""
        if not self.probabilities:
            raise RequestError("task positions predicts the classes alone, of which there is no "
                               "mean: train the sweep with Config(task=Positions("
                               "probabilities=True)).")
        return Classification().outputs(predicted)

    def said(self, predicted: np.ndarray) -> np.ndarray:
        return predicted.argmax(-1) if self.probabilities else predicted

    def told(self, predicted: np.ndarray, names: tuple[str, ...]) -> str:
        """Which share of the positions each class has that is said, the largest first."""
        said, counts = np.unique(self.said(predicted), return_counts=True)
        shares = sorted(zip((-counts / counts.sum()).tolist(), said.tolist(), strict=True))
        return "\t".join(f"{_called(names, at)}\t{-share:.4f}" for share, at in shares)

    def summarise(self, judged: Judged, names: tuple[str, ...]) -> dict[str, Any]:
        """With perplexity, e to the power of the loss; of up to MOST_TOLD classes precision, recall
        and IoU, None where a class is never there or said."""
        tally: Tally = jax.device_get(judged.sums)
        scores = super().summarise(judged, names)
        hits, said, there = (np.asarray(x, np.float64) for x in (tally.hits, tally.said,
                                                                 tally.there))
        called = [_called(names, at) for at in range(len(hits))]
        each = zip(_share(hits, said), _share(hits, there), _share(hits, said + there - hits),
                   there, strict=True)
        if type(self).loss is Positions.loss:
            scores["perplexity"] = math.exp(min(scores["loss"], 700))
        return scores | {
            "num_examples": len(judged.targets), "num_positions": int(tally.count),
            "interval": self._intervals(judged),
        } | ({"per_class": {
            name: {"precision": precision, "recall": recall, "iou": iou, "support": int(support)}
            for name, (precision, recall, iou, support) in zip(called, each, strict=True)
        }} if len(called) <= MOST_TOLD else {})

    def _intervals(self, judged: Judged) -> dict[str, list[float]]:
        """A bootstrap's of accuracy, over examples."""
        targets = judged.targets.reshape(len(judged.targets), -1)
        said = self.said(judged.predicted).reshape(targets.shape)
        both_2xN = np.stack([(said == targets).sum(1), (targets >= 0).sum(1)]).astype(np.float64)
        return bootstrap.intervals(both_2xN, lambda means: {"accuracy": means[:, 0] / means[:, 1]})

    def drawn(self, scores, judged, names):
        from engine.drawn import charts, masks

        iou = {name: row["iou"] for name, row in scores.get("per_class", {}).items()
               if row["iou"] is not None}
        found = [Picture("classes.png", "IoU of each class", chart=charts.bars(iou, "IoU"))]
        return found * bool(iou) + masks.drawn(judged, self.said(judged.predicted), names)


def _called(names: tuple[str, ...], at: int) -> str:
    """A network may have more classes than the data."""
    return names[at] if at < len(names) else str(at)


def _share(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
    return [a / b if b else None for a, b in zip(part.tolist(), whole.tolist(), strict=True)]
