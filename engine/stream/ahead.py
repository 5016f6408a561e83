"""Chunks read ahead of whoever needs them, by Grain: in worker processes, or in a thread here."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import grain

from engine.stream.pieces import Pieces


def ahead(
    pieces: Pieces, first: int, workers: int, put: Callable[[Any], Any]
) -> grain.DatasetIterator:
    """What `put` makes of each of the `pieces` from number `first` on; one is put ahead of time,
    and each worker has one ready and one in hand. To be closed."""
    read = grain.MapDataset.source(pieces)[first:].to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    )
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
        read = read.mp_prefetch(options, worker_init_fn=_begin)
    ready = grain.experimental.ThreadPrefetchIterDataset(read.map(put), prefetch_buffer_size=1)
    return iter(ready)


def _begin(_number: int, _count: int) -> None:
    """In a worker: the run's process answers signals, and takes the worker with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)
