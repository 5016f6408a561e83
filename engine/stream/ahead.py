"""Chunks read ahead of whoever needs them, by Grain: in worker processes, or in a thread here."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

import grain
from absl import flags

from engine.sets.pieces import Pieces


def ahead(
    pieces: Pieces, first: int, workers: int, put: Callable[[Any], Any]
) -> grain.DatasetIterator:
    """What `put` makes of each of the `pieces` from number `first` on; one is put ahead of time,
    and each worker has one ready and one in hand. To be closed."""
    read = grain.MapDataset.source(pieces)[first:].to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    )
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain asks absl's own for some of its, which ours are not
            flags.FLAGS.mark_as_parsed()
        _track_quietly()
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
        read = read.mp_prefetch(options, worker_init_fn=partial(_begin, pieces.orders))
    ready = grain.experimental.ThreadPrefetchIterDataset(read.map(put), prefetch_buffer_size=1)
    return iter(ready)


def _track_quietly() -> None:
    """Start Python's process that cleans up after others, and tells a user that it had to."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker")))
    resource_tracker.ensure_running()
    del os.environ["PYTHONWARNINGS"]
    if before is not None:
        os.environ["PYTHONWARNINGS"] = before


def _begin(orders: Any, _number: int, _count: int) -> None:
    """In a worker: the run's process answers signals, and takes the worker with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_follow, args=(parent, orders), daemon=True).start()


def _follow(parent: Any, orders: Any) -> None:
    parent.join()
    if orders:
        orders.close()
    os._exit(1)
