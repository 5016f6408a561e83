"""Numbers to predict: squared, absolute or Huber loss; MSE, MAE and R². K: numbers an example."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from engine.drawn.shown import Picture
from engine.errors import unknown
from engine.scores import values
from engine.scores.judged import Judged
from engine.task import Task


@dataclass(frozen=True)
class Regression(Task):
    """Targets float32 [B, K]; outputs [B, K]. The loss of an example is the mean over its K.

    With the `mean` and `scale` of the K training targets, outputs are standardised numbers, and so
    is the loss; predictions and scores are in the targets' own units.
    """

    loss_name: str = ""
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    kind: ClassVar[str] = "numbers"
    score: ClassVar[str] = "mse"
    errors: ClassVar[tuple[str, ...]] = ("mae",)
    headline: ClassVar[tuple[str, ...]] = ("mse", "mae", "r2", "loss")
    unspoken: ClassVar[tuple[str, ...]] = ("median_absolute_error", "explained_variance")
    losses: ClassVar[tuple[str, ...]] = ("mean_squared", "mean_absolute", "huber")

    def loss(self, outputs: Array, targets: Array, hyper: Any) -> Array:
        """`mean_squared`, `mean_absolute`, or `huber` with δ = 1 (Huber 1964), float32 [B].
        Raises RequestError for another name."""
        if self.mean:
            targets = (targets - jnp.float32(self.mean)) / jnp.float32(self.scale)
        off = outputs - targets
        match self.loss_name:
            case "mean_absolute":
                return jnp.abs(off).mean(-1)
            case "huber":
                return optax.huber_loss(off).mean(-1)
            case "" | "mean_squared":
                return jnp.square(off).mean(-1)
        raise unknown("loss_name of Regression", self.loss_name, self.losses)

    @property
    def measure(self) -> str:
        if self.score != "loss" or not self.scale:
            return super().measure
        return f"{super().measure} of targets over {', '.join(f'{x:.4g}' for x in self.scale)}"

    def predict(self, outputs: Array) -> Array:
        """The numbers [B, K], in the targets' units."""
        if not self.mean:
            return outputs
        return outputs * jnp.float32(self.scale) + jnp.float32(self.mean)

    def outputs(self, predicted: Array) -> Array:
        """The numbers as the network gives them."""
        if not self.mean:
            return predicted
        return (predicted - jnp.float32(self.mean)) / jnp.float32(self.scale)

    def scores(self, outputs: Array, targets: Array) -> dict[str, Array]:
        off = self.predict(outputs) - targets
        return {"mse": jnp.square(off).mean(-1), "mae": jnp.abs(off).mean(-1)}

    def summarise(self, judged: Judged, names: tuple[str, ...]) -> dict[str, Any]:
        """With R², uniformly averaged over the K numbers; null where there are under 2 examples."""
        from sklearn.metrics import r2_score

        each: list[Any] = [None] * len(names)
        if len(judged.targets) > 1:
            each = r2_score(judged.targets, judged.predicted, multioutput="raw_values").tolist()
        error = np.asarray(judged.predicted, np.float64) - judged.targets
        columns = np.square(error).mean(0).tolist(), np.abs(error).mean(0).tolist(), each
        return super().summarise(judged, names) | {
            "r2": None if None in each else float(np.mean(each)),
            **values.scores(judged.predicted, judged.targets),
            "interval": values.intervals(judged.predicted, judged.targets),
            "per_output": {name: dict(zip(("mse", "mae", "r2"), row, strict=True))
                           for name, *row in zip(names, *columns, strict=True)},
        }

    def drawn(self, scores, judged, names):
        from engine.drawn import answers, fonts, pictures

        both = judged.targets, judged.predicted
        return [Picture("predicted.png", "Predicted against true",
                        pictures.panels(answers.predicted(*both, fonts.named(names))),
                        answers.predicted(*both, names))]
