"""One class of several: cross-entropy, a focal or a hinge loss; accuracy, precision, recall, F1.
C: classes.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from engine.errors import RequestError, unknown
from engine.scores import answers, classes
from engine.scores.counts import SCORES, Counted, counts, ranking
from engine.scores.judged import Judged
from engine.scores.own import means
from engine.task import Task, masked

FOCAL_GAMMA = 2.0  # the paper's
LEAST = 1e-7  # of what a focal loss raises to a power, whose slope at 0 may be infinite
MARGINS = ("its scores are margins: what is told as a probability is their softmax, which ranks "
           "classes and is calibrated to nothing")


class Tally(NamedTuple):
    """Sums over valid examples: float32 loss, int32 correct and count; scalars."""

    loss_sum: Array
    correct: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls


@dataclass(frozen=True)
class Classification(Task):
    """Targets int32 [B], 0 to C-1, or of mixed examples float32 [B, C], shares of each class that
    add up to 1; outputs are logits [B, C], or margins where the loss is one of `HINGES`. A mixed
    example counts as of its largest class. `class_weights` are one a class, or none.
    The likeliest class is said; of two, the second from its probability `threshold` on. With
    `one_hot` the loss has no gradient by scatter, which is a kernel of its own."""

    loss_name: str = field(default="", kw_only=True)
    class_weights: tuple[float, ...] = field(default=(), kw_only=True)
    threshold: float = field(default=0.5, kw_only=True, repr=False)  # repr is in records of before
    one_hot: bool = field(default=False, kw_only=True, repr=False)
    kind: ClassVar[str] = "classes"
    score: ClassVar[str] = "accuracy"
    higher: ClassVar[bool] = True
    ranks: ClassVar[tuple[str, ...]] = (*SCORES,)
    headline: ClassVar[tuple[str, ...]] = ("accuracy", "top5_accuracy", "loss", "precision_macro",
                                           "recall_macro", "f1_macro")
    note: ClassVar[str] = "A class never predicted has precision 0."
    losses: ClassVar[tuple[str, ...]] = ("softmax_cross_entropy", "focal", "hinge", "squared_hinge")

    @property
    def by_threshold(self) -> bool:
        """Whether it is another than that of the likelier class."""
        return self.threshold != Classification.threshold

    @property
    def caution(self) -> str:
        """What to mind of its probabilities, in words; "" of a loss that makes them."""
        return MARGINS if self.loss_name in HINGES else ""

    def loss(self, outputs: Array, targets: Array, hyper: Any) -> Array:
        """Cross-entropy with `hyper.label_smoothing` spread over all classes, or a hinge loss,
        float32 [B]; in training each class's share of it times its weight and, where the loss is
        focal, times (1 - p)^`hyper.focal_gamma`, p its probability (Lin et al. 2017).

        Raises RequestError for an unknown loss, for what a hinge loss doesn't have, and for other
        than a weight a class.
        """
        if self.loss_name not in ("", *self.losses):
            raise unknown("loss_name of Classification", self.loss_name, self.losses)
        if self.loss_name in HINGES:
            return self._hinge(outputs, targets, hyper)
        focal = self.loss_name == "focal"
        if hyper is not None and (focal or self.class_weights):
            return self._by_class(outputs, targets, hyper, focal)
        if _mixed(targets):
            loss_B = optax.softmax_cross_entropy(outputs, targets)
        elif self.one_hot:
            loss_B = jax.nn.logsumexp(outputs, axis=-1) - _own(outputs, targets)
        else:
            loss_B = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        smoothing = getattr(hyper, "label_smoothing", None)
        if smoothing is None:
            return loss_B
        uniform_B = -jax.nn.log_softmax(outputs).mean(axis=-1)
        return (1.0 - smoothing) * loss_B + smoothing * uniform_B

    def _by_class(self, outputs: Array, targets: Array, hyper: Any, focal: bool) -> Array:
        """The sum over classes of their shares of the target, each times its own loss."""
        classes = outputs.shape[-1]
        log_p_BxC = jax.nn.log_softmax(outputs)
        loss_BxC = -log_p_BxC
        share_BxC = targets if _mixed(targets) else jax.nn.one_hot(targets, classes)
        smoothing = getattr(hyper, "label_smoothing", None)
        if smoothing is not None:
            share_BxC = (1.0 - smoothing) * share_BxC + smoothing / classes
        if focal:
            gamma = getattr(hyper, "focal_gamma", None)
            rest_BxC = jnp.maximum(-jnp.expm1(log_p_BxC), LEAST)
            loss_BxC *= rest_BxC ** (FOCAL_GAMMA if gamma is None else gamma)
        if self.class_weights:
            loss_BxC *= self._weights(classes)
        return (share_BxC * loss_BxC).sum(axis=-1)

    def _hinge(self, outputs: Array, targets: Array, hyper: Any) -> Array:
        if getattr(hyper, "label_smoothing", None) is not None:
            raise RequestError(f"--label_smoothing has no effect with a {self.loss_name} loss: "
                               "leave it out.")
        if _mixed(targets):
            raise RequestError(f"a {self.loss_name} loss is of one class an example, and labels "
                               "are mixed: leave --mixup and --cutmix out, or type --loss "
                               "softmax_cross_entropy.")
        loss_B = HINGES[self.loss_name](outputs, targets)
        if hyper is None or not self.class_weights:
            return loss_B
        return loss_B * self._weights(outputs.shape[-1])[targets]

    def _weights(self, classes: int) -> Array:
        if len(self.class_weights) != classes:
            raise RequestError(f"class_weights of Classification are {len(self.class_weights)},"
                               f" and there are {classes} classes: give one a class.")
        return jnp.float32(self.class_weights)

    def tally(self, loss_B: Array, outputs: Array, targets: Array, valid_B: Array) -> Any:
        given = outputs, targets, valid_B
        if _mixed(targets):
            targets = jnp.argmax(targets, axis=-1).astype(jnp.int32)
        predicted_B = self.said(self.predict(outputs) if self.by_threshold else outputs)
        predicted_B = predicted_B.astype(targets.dtype)
        correct = ((predicted_B == targets) & valid_B).sum(dtype=jnp.int32)
        sums = masked(loss_B, valid_B), correct, valid_B.sum(dtype=jnp.int32)
        own = Tally(*sums) if self.score not in SCORES else \
            Counted(*sums, counts(predicted_B, targets, valid_B, outputs.shape[-1]))
        return self.beside(own, loss_B, *given)

    def row(self, tally: Any) -> dict[str, Array]:
        count = jnp.float32(tally.count)
        return {"loss": tally.loss_sum / count, "accuracy": jnp.float32(tally.correct) / count
                } | ranking(self.score, getattr(tally, "each", None)) | means(tally)

    def predict(self, outputs: Array) -> Array:
        """Probabilities [B, C]."""
        return jax.nn.softmax(outputs)

    def outputs(self, predicted: Array) -> Array:
        """Their logarithms, of which none is infinite."""
        return jnp.log(jnp.maximum(predicted, jnp.finfo(jnp.float32).tiny))

    def said(self, predicted: Any) -> Any:
        if not self.by_threshold:
            return predicted.argmax(1)
        return (predicted[:, 1] >= self.threshold).astype(np.int32)

    def told(self, predicted: np.ndarray, names: tuple[str, ...]) -> str:
        """The class that is said, and its probability."""
        (said,) = self.said(predicted[None])
        return f"{names[said]}\t{predicted[said]:.4f}"

    def summarise(self, judged: Judged, names: tuple[str, ...]) -> dict[str, Any]:
        """See scores/answers.py and scores/classes.py. Raises ValueError for no examples."""
        if not (count := int(judged.sums.count)):
            raise ValueError("no examples to evaluate")
        said_N = self.said(judged.predicted)  # by a threshold that was chosen since, maybe
        confusion = answers.confusion(judged.targets, said_N, len(names))
        scores: dict[str, Any] = {
            "accuracy": float(np.trace(confusion) / count),
            "loss": float(judged.sums.loss_sum) / count,
            **answers.scores(confusion, names),
        }
        if classes.are_probabilities(judged.predicted, len(names)):
            scores |= classes.scores(judged.predicted, judged.targets, said_N)
        if self.by_threshold:
            scores["threshold"] = float(self.threshold)
        row = super().summarise(judged, names)  # which may have more, of one's own
        return scores | {name: row[name] for name in row if name not in scores}

    def line(self, scores: dict[str, Any]) -> str:
        words = {"accuracy": "accuracy", "loss": "loss", "precision_macro": "precision",
                 "recall_macro": "recall", "f1_macro": "F1"}
        told = {name: f"{word} {scores[name]:.4f}" for name, word in words.items()}
        if self.score in scores:
            told[self.score] = self.spoken(self.score, scores)
        return ", ".join(told[name] for name in self.led(words, scores)) + " (macro)"

    def shown(self, scores, judged, names):
        note = self.note + answers.note(scores)
        if self.caution:
            note += f" Of a {self.loss_name} loss: {self.caution}."
        return super().shown(scores, judged, names)._replace(note=note)

    def drawn(self, scores, judged, names):
        from engine.drawn import answers as report

        return report.drawn(scores, judged, self.said(judged.predicted), list(names))


def _mixed(targets: Array) -> bool:
    """Whether they are shares of every class, rather than one each."""
    return targets.ndim == 2


def _is_own(outputs: Array, targets: Array) -> Array:
    """Which output is the own class's, bool [B, C]."""
    return jax.nn.one_hot(targets, outputs.shape[-1], dtype=bool)


def _own(outputs: Array, targets: Array) -> Array:
    """The own class's output, [B]."""
    return jnp.where(_is_own(outputs, targets), outputs, 0).sum(-1)


def hinge(outputs: Array, targets: Array) -> Array:
    """By how much the own class's score falls short of being 1 above every other's (Crammer &
    Singer 2001), [B]."""
    others_BxC = jnp.where(_is_own(outputs, targets), -jnp.inf, outputs)
    return jax.nn.relu(1.0 + others_BxC.max(-1) - _own(outputs, targets))


def squared_hinge(outputs: Array, targets: Array) -> Array:
    """One against the rest: by how much the own score falls short of 1 and every other's of -1,
    squared and summed (Rifkin & Klautau 2004; scikit-learn's LinearSVC), [B]."""
    sign_BxC = 2.0 * jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype) - 1.0
    return jnp.square(jax.nn.relu(1.0 - sign_BxC * outputs)).sum(-1)


HINGES = {"hinge": hinge, "squared_hinge": squared_hinge}
