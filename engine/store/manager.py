"""What Orbax does in a run's checkpoints folder: lists steps, writes and reads them."""

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax
import numpy as np

from engine.store import last_resort

with last_resort.standing():  # as an import logs too
    import orbax.checkpoint as ocp
    from orbax.checkpoint.checkpoint_managers import preservation_policy as keep
    from orbax.checkpoint.options import MultiprocessingOptions

Rank = Callable[[int], Any]  # of a step; the highest is the best
_ONE_SAVE = threading.Lock()  # Orbax has one name, in a process, for the save that begins


class _Best(keep.PreservationPolicy):
    """Keeps the step of the highest rank, of equal ones the newest."""

    def __init__(self, rank: Rank):
        self.rank = rank

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        best = max((c.step for c in checkpoints), key=self.rank, default=None)
        return [c.step == best for c in checkpoints]


def _meet(key: str, timeout_ms: int) -> None:
    """Wait for the other processes; on the way out of a save that failed here raise why, since they
    don't come for twenty minutes."""
    if failed := sys.exception():
        raise failed
    ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Orbax's warnings of what is asked of it on purpose, and its errors, told by us."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _by_daemon(save: Callable[[], Any]) -> Any:
    """What it returns or raises in a daemon's thread, of which are those that it starts; one of
    multiprocessing's pools would settle how the caller's processes start."""
    made: Future[Any] = Future()

    def run() -> None:
        try:
            made.set_result(save())
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return made.result()


class Manager:
    """Of the last two steps and the best. Every process of a job makes one. Whoever opens the
    folder to write removes what is half written. Each raises what Orbax and what is below it do."""

    def __init__(self, folder: Path, rank: Rank, read_only: bool):
        self._held = contextlib.ExitStack()
        self._held.enter_context(last_resort.standing())
        # Each process reads by itself, so that one that can't keeps nobody waiting.
        alone = MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}
        )
        self._reader = ocp.Checkpointer(
            ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            multiprocessing_options=alone,
        )
        with _quietly():
            options = ocp.CheckpointManagerOptions(
                preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(2), _Best(rank)]),
                cleanup_tmp_directories=not read_only, read_only=read_only, create=False,
                async_options=ocp.AsyncOptions(barrier_sync_fn=_meet),
            )
            self._manager = ocp.CheckpointManager(folder, options=options)
        self.wait, self.reload = self._manager.wait_until_finished, self._manager.reload

    def steps(self) -> list[int]:
        """Those on the disk, and those on the way there."""
        return list(self._manager.all_steps())

    def save(self, step: int, parts: dict[str, Any], content: dict[str, Any]) -> bool:
        """Write arrays and a record of them in the background; whether this step is the newest."""
        state, notes = ocp.args.StandardSave(parts), ocp.args.JsonSave(content)
        args = ocp.args.Composite(state=state, record=notes)
        # A failed save's threads wait for minutes: of a daemon's, Python's end waits for none.
        with _ONE_SAVE:
            return bool(_by_daemon(lambda: self._manager.save(step, args=args)))

    def read(self, path: Path, like: Any = None) -> Any:
        """A step's arrays, as a tree `like` the one given, or as they were saved."""
        if like is None:
            there = ocp.StandardCheckpointHandler().metadata(path / "state").tree
            like = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), there)
        return self._reader.restore(path / "state", args=ocp.args.StandardRestore(like))

    def close(self) -> None:
        """Wait for the writer."""
        self._reader.close()
        self._manager.close()
        self._held.close()
