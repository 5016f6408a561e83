"""Several labels an example, or none: a sigmoid each; F1 and average precision. L: labels."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from engine.console.number import number
from engine.drawn.shown import Picture
from engine.scores import labels
from engine.scores.judged import Judged
from engine.scores.own import means
from engine.task import Task, masked


class Tally(NamedTuple):
    """Sums over valid examples: float32 loss; int32 true and false positives and false negatives of
    each label [L] at the threshold; int32 count."""

    loss_sum: Array
    true_positives: Array
    false_positives: Array
    false_negatives: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls


@dataclass(frozen=True)
class Multilabel(Task):
    """Targets float32 [B, L], 0 or 1; outputs are logits [B, L]. A label counts as predicted from
    the probability `threshold` on."""

    threshold: float = 0.5
    kind: ClassVar[str] = "labels"
    score: ClassVar[str] = "f1_micro"
    ranks: ClassVar[tuple[str, ...]] = ("f1_macro",)
    headline: ClassVar[tuple[str, ...]] = ("f1_micro", "f1_macro", "average_precision_macro",
                                           "loss", "threshold")
    note: ClassVar[str] = "A label counts as predicted from the threshold on."
    unspoken: ClassVar[tuple[str, ...]] = ("roc_auc_macro", "label_ranking_average_precision",
                                           "brier", "hamming_loss", "subset_accuracy")
    higher: ClassVar[bool] = True
    losses: ClassVar[tuple[str, ...]] = ("sigmoid_cross_entropy",)

    def loss(self, outputs: Array, targets: Array, hyper: Any) -> Array:
        """Binary cross-entropy, the mean over the labels, float32 [B]."""
        return optax.sigmoid_binary_cross_entropy(outputs, targets).mean(-1)

    def tally(self, loss_B: Array, outputs: Array, targets: Array, valid_B: Array) -> Any:
        said, there = jax.nn.sigmoid(outputs) >= self.threshold, targets > 0.5
        cells = (said & there), (said & ~there), (~said & there)
        hits, alarms, misses = (masked(cell.astype(jnp.int32), valid_B) for cell in cells)
        own = Tally(masked(loss_B, valid_B), hits, alarms, misses, valid_B.sum(dtype=jnp.int32))
        return self.beside(own, loss_B, outputs, targets, valid_B)

    def row(self, tally: Any) -> dict[str, Array]:
        hits = tally.true_positives.sum()
        wrong = (tally.false_positives + tally.false_negatives).sum()
        each = _f1(tally.true_positives, tally.false_positives + tally.false_negatives)
        macro = {"f1_macro": each.mean()} if self.score == "f1_macro" else {}
        return {"loss": tally.loss_sum / jnp.float32(tally.count), "f1_micro": _f1(hits, wrong)
                } | macro | means(tally)

    def predict(self, outputs: Array) -> Array:
        """The probability of each label [B, L]."""
        return jax.nn.sigmoid(outputs)

    def outputs(self, predicted: Array) -> Array:
        """Their log-odds, of which none is infinite."""
        least = jnp.finfo(jnp.float32).eps / 2
        return jax.scipy.special.logit(jnp.clip(predicted, least, 1 - least))

    def told(self, predicted: np.ndarray, names: tuple[str, ...]) -> str:
        """Every label from the threshold on, and its probability."""
        return "\t".join(f"{name}\t{p:.4f}" for name, p in zip(names, predicted, strict=True)
                         if p >= self.threshold)

    def summarise(self, judged: Judged, names: tuple[str, ...]) -> dict[str, Any]:
        """F1 micro and macro at the threshold; average precision of each label, and its mean over
        the labels that some example has."""
        from sklearn.metrics import average_precision_score

        there = judged.targets > 0.5
        said = judged.predicted >= self.threshold
        f1, micro = labels.f1(there, said)
        precision = [float(average_precision_score(true, p)) if true.any() else None
                     for true, p in zip(there.T, judged.predicted.T, strict=True)]
        known = [value for value in precision if value is not None]
        return super().summarise(judged, names) | {
            "f1_micro": micro,
            "f1_macro": float(np.mean(f1)),
            "average_precision_macro": float(np.mean(known)) if known else None,
            "threshold": self.threshold,
            **labels.scores(judged.predicted, there, said),
            "interval": labels.intervals(there, said),
            "per_label": {
                name: {"f1": float(score), "average_precision": average, "support": int(count)}
                for name, score, average, count in
                zip(names, f1, precision, there.sum(0), strict=True)
            },
        }

    def drawn(self, scores, judged, names):
        from engine.drawn import charts

        rows = scores["per_label"]
        f1 = {name: row["f1"] for name, row in rows.items()}
        more = {name: f", AP {number(row['average_precision'])}" for name, row in rows.items()}
        return [Picture("labels.png", "F1 of each label: AP is its average precision",
                        chart=charts.bars(f1, "F1", more))]


def _f1(hits: Array, wrong: Array) -> Array:
    """0 where nothing is there and nothing said."""
    return jnp.float32(2 * hits) / jnp.float32(jnp.maximum(2 * hits + wrong, 1))
