"""Whether a run's set is streamed, why, and in which chunks."""

import math
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from engine.data import on_device
from engine.devices import choose, memory
from engine.errors import RequestError
from engine.examples import Subset
from engine.feed import Data
from engine.loop import eval_batch
from engine.place import Place
from engine.sets.pieces import Part
from engine.sets.stored import Stored
from engine.sets.stream import Stream
from engine.setup import Setup

CHUNK = 32 * 2**20  # bytes: the first of larger ones is waited for longer
SCATTERED = 2**30  # of inputs of which each costs a reading of all
WORKERS = 16


def why(place: Place, parts: Data, device: jax.Device) -> str:
    """Why the examples are to be streamed; '' where they are to lie on the device."""
    both = parts.train.split, parts.validation.split
    splits = {id(split): split.inputs for split in both}.values()
    need = sum(math.prod(x.shape) * x.dtype.itemsize for x in splits) / 1e9
    room = memory.free(device)
    if place.stream:
        return "as asked"
    if isinstance(parts.train.split.inputs, Stored):
        return parts.train.split.inputs.reason
    if room is not None and need > room / 1e9:
        return f"its {need:,.1f} GB don't fit the {room / 1e9:,.1f} GB that the device has free"
    return ""


def laid(ready: Setup) -> Setup:
    """With the data, cut and on the host, on the device, or with a stream where that has no room.
    Raises RequestError among several processes, which can't stream."""
    parts, where = ready.data, ready.everywhere
    reason = why(ready.request.place, parts, ready.device)
    if not reason:
        try:
            return ready._replace(data=on_device(parts, where))
        except memory.FAILURES as error:
            if not memory.exhausted(error):
                raise
            reason = "it doesn't fit the device's memory"
    found = stream_of(ready, reason)
    again = "; once more an epoch, for batch statistics of the averaged weights" \
        if "batch_stats" in ready.state_shapes.average else ""
    ready.host.console.print(f"stream: {found}{again}")
    # A resumed run is to stream again, whatever memory it finds.
    asked = ready.request._replace(place=replace(ready.request.place, stream=True))
    return ready._replace(request=asked, data=found.given(parts, where), stream=found)


def stream_of(ready: Setup, reason: str) -> Stream:
    """How the set of a run, cut and on the host, is to be streamed."""
    cut, learner = ready.data, ready.learner
    workers = readers(learner, ready.request.place, cut.train.split.inputs, ready.dataset.name,
                      reason)
    most = size_of(cut.train.split.inputs, workers, ready.device)
    return Stream(part_of(learner, cut.train, most, ready.config.batch_size),
                  part_of(learner, cut.validation, most), workers, reason)


def readers(learner: Any, place: Place, inputs: Any, name: str, reason: str) -> int:
    """How many workers are to read the inputs of the set `name`: none what lies in memory. Raises
    RequestError among several processes, for a learner that asks for all examples at once, and in a
    worker that imports a script which calls `fit` as it is imported."""
    if jax.process_count() > 1:
        raise RequestError(f"{name} would be streamed ({reason}), which one process alone can do, "
                           "on all of its devices: start one.", shared=True)
    if not learner.traced:
        raise RequestError(f"{name} would be streamed ({reason}), and {learner.config.model} "
                           "learns from examples that are all in memory: leave --stream out, or "
                           "learn from a part, such as --train_split 'train[:50%]'.")
    if not isinstance(inputs, Stored):
        return 0
    workers = min(choose.cores() - 1 or 1, WORKERS) if place.workers < 0 else place.workers
    # As multiprocessing itself asks whether the main module is only being imported.
    if workers and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RequestError("a worker process, which imports the script it reads for, met fit in "
                           'it: call fit under if __name__ == "__main__":, or give '
                           "Place(workers=0).")
    return workers


def size_of(inputs: Any, workers: int, device: jax.Device) -> int:
    """Bytes of a chunk of the inputs, of which a device has two at once."""
    if not getattr(inputs, "scattered", False):
        return min(CHUNK, _room(workers))
    free = memory.free(device)
    return min(SCATTERED, _room(workers), SCATTERED if free is None else free // 8)


def _room(workers: int) -> int:
    """Bytes of a chunk, of which so many are in memory at once: a quarter of what is free, and half
    of what workers can hand over."""
    memory, shared = choose.host_memory(), Path("/dev/shm")
    found = [memory[1] // 4 // (2 * workers + 4)] if memory else []
    if workers and shared.is_dir():
        found.append(shutil.disk_usage(shared).free // 2 // (2 * workers + 4))
    return min(found, default=CHUNK)


def part_of(learner: Any, subset: Subset, most: int, batch: int = 0) -> Part:
    """Of examples to train on in batches, or of those of an evaluation: chunks of `most` bytes, and
    of a batch at least."""
    drawn, batch = batch > 0, batch or eval_batch(learner)
    inputs, turns = subset.split.inputs, -(-len(subset.rows) // batch)
    example = math.prod(inputs.shape[1:]) * inputs.dtype.itemsize
    return Part(inputs, subset.rows, batch, min(max(1, most // (batch * example)), turns), drawn)
