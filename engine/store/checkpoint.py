"""Orbax checkpoints of a State, each with a digest of every array, which restoring verifies.

A step's folder holds `state`, written by Orbax, and `record`: JSON with the SHA-256, shape and
dtype of every leaf, the validation score that ranks it and the seconds of the unfinished epoch, and
a digest of all that.
"""

import contextlib
import errno
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from engine.devices import mesh
from engine.disk import files
from engine.errors import RequestError, RunError, check_utf8, one_line, tell, unknown
from engine.job import processes as job
from engine.optim import groups
from engine.scores import own
from engine.store import folder
from engine.store.digests import UNMEASURED, Record, digests, fits, read_record

if TYPE_CHECKING:
    from engine.store.manager import Manager

KEPT = 3  # the last two and the best
_FULL = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]


def _parts(state: Any) -> dict[str, Any]:
    """A state's fields by name, but for empty ones, which runs from before them lack too."""
    return {name: part for name, part in state._asdict().items() if jax.tree.leaves(part)}


def restored(run: Path, shapes: Any, which: str = "last", higher: bool = True) -> Any:
    """The state of the run in the folder `run`, only read: see `Checkpoints.restore`."""
    with Checkpoints(run / "checkpoints", higher, read_only=True) as saved:
        return saved.restore(shapes, which)[0]


class Checkpoints:
    """The checkpoints folder of one run. A context manager: leaving it waits for the writer.

    The last two are kept, and the best: of the highest score, or the lowest unless `higher`.
    Whoever opens it to write removes half-written ones. What isn't to be saved at once is held in
    memory, the last of it and the best, until something is.
    """

    def __init__(self, folder: Path, higher: bool = True, read_only: bool = False):
        self.folder, self.higher, self.read_only = folder.absolute(), higher, read_only
        check_utf8(self.folder)
        self._ranks: dict[int, float] = {}
        self._held: dict[int, tuple[Any, float | None, float]] = {}  # in the order of their steps
        self._inode = None
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._inode = self.folder.stat().st_ino

    @functools.cached_property
    def _manager(self) -> "Manager":
        from engine.store.manager import Manager  # late: Orbax takes long to import

        return Manager(self.folder, self._rank, self.read_only)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        # Of two failures the first is the one to tell.
        with self._naming() if kind is None else contextlib.suppress(OSError, ValueError):
            try:
                if kind is None or jax.process_count() == 1:  # else the others may not come
                    self._write()
            finally:
                if "_manager" in vars(self):
                    self._manager.close()

    def latest(self) -> int:
        """The newest step, damaged or not; -1 where there is none."""
        return max((*self._manager.steps(), *self._held), default=-1)

    def best(self) -> int:
        """The step of the best score, damaged or not; of equal ones the newest."""
        return max((*self._manager.steps(), *self._held), key=self._rank)

    def _rank(self, step: int) -> tuple[float, int]:
        """Orders steps by score, then age. One saved within an epoch was never measured."""
        if step not in self._ranks:
            try:
                self._ranks[step] = read_record(self.folder / str(step)).rank(self.higher)
            except (OSError, ValueError):
                self._ranks[step] = UNMEASURED
        return self._ranks[step], step

    def check_room(self, state: Any) -> None:
        """Raises RequestError where the disk can't hold the checkpoints of a run."""
        there = sum(path.name.isdigit() for path in self.folder.iterdir())
        to_come = max(1, KEPT + 1 - there)  # one is written beside them
        need = to_come * sum(x.nbytes for x in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        if free < need:
            raise RequestError(
                f"{self.folder} has {free / 1e6:,.1f} MB free, and a run's checkpoints need "
                f"{need / 1e6:,.1f}: make room, or name another --run_dir."
            )

    def save(self, state: Any, score: float | None, seconds: float, now: bool = True) -> None:
        """Save a State, its score (None within an epoch) and the unfinished epoch's seconds, `now`
        or with the next that is.

        Every process calls it. Writes in the background, so an earlier write's error shows here,
        as a RunError; so it is where the folder is gone, which Orbax would make anew.
        """
        if gone := self._gone():
            raise gone
        step = int(state.step)
        held = jax.tree.map(mesh.snapshot, state)  # the state itself is the next segment's to use
        self._ranks[step] = Record(score, seconds, {}).rank(self.higher)
        self._held[step] = held, score, seconds
        best = max(self._ranks, key=self._rank)
        for at in [at for at in self._held if at not in (best, step)]:
            del self._held[at], self._ranks[at]
        if now:
            with self._naming():
                self._write()

    def wait(self) -> None:
        """Write what is held, and wait for the writer. Raises RunError where it failed, or where
        the folder is gone."""
        with self._naming():
            self._write()
            self._manager.wait()
        if gone := self._gone():
            raise gone

    def _write(self) -> None:
        """All that is held, in the background. Raises what Orbax and what is below it do."""
        held, self._held = self._held, {}
        for step, (state, score, seconds) in held.items():
            record = Record(score, seconds, digests(state))
            content = {"record": record._asdict(), "sha256": record.digest()}
            if not self._manager.save(step, _parts(state), content):  # it isn't the newest
                raise ValueError(f"step {step} was not saved, it holds {self.latest()}")
        if held:
            there = self._manager.steps()
            self._ranks = {at: rank for at, rank in self._ranks.items() if at in there}

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """A writer's failure becomes a RunError."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def _gone(self) -> RunError | None:
        with contextlib.suppress(FileNotFoundError):
            if self._inode in (None, self.folder.stat().st_ino):
                return None
        return files.gone(self.folder)

    def _failed(self, error: Exception) -> RunError:
        if gone := self._gone():
            return gone
        lost = " (or another process of the job is gone)" if jax.process_count() > 1 else ""
        # Which TensorStore says after more paths than a line has room for.
        reason = ": ".join([*(full for full in _FULL if full in str(error)), str(error)])
        return RunError(f"saving in {self.folder} failed{lost}: {one_line(reason)}. Earlier "
                        "checkpoints are whole: mend what is wrong, then go on with --resume.")

    def restore(
        self, shapes: Any, which: str = "last", any_count: bool = False
    ) -> tuple[Any, float]:
        """The `last` or `best` state, host arrays shaped like `shapes`, and its seconds.

        `any_count` lets leading axes be of another length: a population's, which may have been
        halved. A damaged step is named and moved to `damaged-checkpoints` beside this folder
        (left where it is if opened to read only), and the next best or the one before is taken.
        Every process calls it. Raises RequestError where there is none, or where it has other
        arrays.
        """
        if which not in ("best", "last"):
            raise unknown("checkpoint", str(which), ("best", "last"))
        steps = sorted(self._manager.steps(), reverse=True)
        if which == "best":
            steps.sort(key=self._rank, reverse=True)
        for step in steps:
            problem = ""
            with job.agreeing():
                try:
                    found = self._verified(step, shapes, any_count)
                except RequestError:
                    raise
                except Exception as error:  # Orbax and what is below it raise what they like
                    problem = one_line(error)
            if job.all_agree(not problem):
                return found
            self._put_aside(step, problem or "damaged where another process read it")
        if steps:
            raise RequestError(f"no whole checkpoint in {self.folder}: every one is damaged.",
                               shared=True)
        rows = folder.history(self.folder.parent)
        raise RequestError(f"no checkpoint in {self.folder}" + (
            f" of the {len(rows)} epochs that history.jsonl has: put them back, or train anew."
            if rows else ": the run ended before its first."), shared=True)

    def _verified(self, step: int, shapes: Any, any_count: bool) -> tuple[Any, float]:
        """A step's state. Raises anything where it is damaged, RequestError where it can't fit."""
        path = self.folder / str(step)
        record = read_record(path)
        free = 1 if any_count else 0  # leading axes that may differ
        steps = groups.steps_of(shapes, record.leaves)
        whole, shapes = shapes, own.unscored(groups.rekeyed(shapes, steps), record.leaves)

        def abstract(where: Any, leaf: Any) -> np.ndarray:
            name, now = jax.tree_util.keystr(where), [np.dtype(leaf.dtype).str, list(leaf.shape)]
            dtype, shape = was = record.leaves.get(name, ["absent", []])[:2]
            if dtype != now[0] or not fits(shape, now[1], free):
                raise RequestError(f"{path} has other arrays than this model and optimizer: {name} "
                                   f"was {was}, now {now}.")
            return np.empty(shape, leaf.dtype)

        tree = _parts(jax.tree_util.tree_map_with_path(abstract, shapes))
        state = shapes._replace(**self._manager.read(path, tree))
        found = digests(state)
        if wrong := [name for name, leaf in record.leaves.items() if found.get(name) != leaf]:
            raise ValueError(f"the checksum of {wrong[0]} differs")
        state = groups.rekeyed(state, {step: key for key, step in steps.items()})
        return own.scored(state, whole), record.seconds

    def _put_aside(self, step: int, problem: str) -> None:
        path = self.folder / str(step)
        moved = self.folder.with_name(f"damaged-{self.folder.name}") / str(step)
        where = "" if self.read_only else f"; it lies in {moved} now"
        if job.first_process():
            tell(f"checkpoint {path} is damaged ({problem}){where}. Taking the one before.")
            if not self.read_only:
                shutil.rmtree(moved, ignore_errors=True)
                moved.parent.mkdir(exist_ok=True)
                os.replace(path, moved)
        job.all_agree(True)  # nobody reads on before it is moved
        if not self.read_only:
            self._manager.reload()

