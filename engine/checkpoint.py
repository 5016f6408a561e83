"""Orbax checkpoints of a State: the last two and the best one, written in the background."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

from engine.errors import RequestError, RunError


def _accuracy(saved: dict[str, Any]) -> float:
    """What ranks a checkpoint; one made within an epoch was never measured and ranks last."""
    return -1.0 if saved["val_accuracy"] is None else saved["val_accuracy"]


class Checkpoints:
    """The checkpoints folder of one run. A context manager: leaving it waits for the writer."""

    def __init__(self, folder: Path, read_only: bool = False):
        by_accuracy = keep.BestN(get_metric_fn=_accuracy, n=1)
        self.folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(2), by_accuracy]),
            best_fn=_accuracy,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    def any(self) -> bool:
        return self._manager.latest_step() is not None

    def save(self, state: Any, val_accuracy: float | None, seconds: float) -> None:
        """Save a State, its accuracy (None within an epoch) and the unfinished epoch's seconds.

        Writes in the background, so an earlier write's error shows here. The host copy is ours
        since Orbax may alias a CPU buffer that the next segment is donated.
        """
        host = jax.tree.map(lambda x: np.array(x, copy=True), state)
        step = int(host.step)
        try:
            self._manager.save(
                step,
                args=ocp.args.StandardSave(host._asdict()),
                metrics={"val_accuracy": val_accuracy, "seconds": seconds},
            )
        except (OSError, ValueError) as error:
            raise RunError(f"saving step {step} in {self.folder} failed: {error}.") from error

    def wait(self) -> None:
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise RunError(f"saving in {self.folder} failed: {error}.") from error

    def restore(self, shapes: Any, which: str = "last") -> tuple[Any, float]:
        """The `last` or `best` state, host arrays shaped like `shapes`, and its seconds.

        Raises RequestError where there is none.
        """
        step = self._manager.best_step() if which == "best" else self._manager.latest_step()
        if step is None:
            raise RequestError(f"no checkpoint in {self.folder}: the run ended before its first.")
        abstract = jax.tree.map(lambda s: np.empty(s.shape, s.dtype), shapes)._asdict()
        saved = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        return type(shapes)(**saved), self._manager.metrics(step)["seconds"]
