"""The processes of a job: joining through jax.distributed, agreeing, leaving.

With one process all here costs nothing.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from engine.devices.memory import FAILURES
from engine.errors import RequestError, RunError, one_line
from engine.job import presence
from engine.place import Place

TEXT_BYTES = 4096  # of a text that processes tell each other
SHUTDOWN_SECONDS = 15  # between the first and the last to leave, else jax aborts all
PATIENCE = 3  # jax's timeouts over ours: where its own fire, it aborts with a core dump
# After a status of XLA's, as it writes it: a ValueError may be of anything.
_LOST = re.compile("[A-Z_]+: .*(?i:gloo|nccl|coordination|heartbeat|barrier|connection|socket)",
                   re.DOTALL)

# How a job of many processes tells each its number; jax reads the rest itself.
_LAUNCHERS = {"SLURM_PROCID": "SLURM_NTASKS", "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE"}
_KUBERNETES = {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"}


def _launched(env) -> bool:
    """Whether a launcher started this process as one of several. Raises RequestError where it
    tells no number of them."""
    counts = {rank: env.get(count, "1") for rank, count in _LAUNCHERS.items() if rank in env}
    for rank in (rank for rank, count in counts.items() if not count.isdecimal()):
        raise RequestError(f"{_LAUNCHERS[rank]} is {counts[rank]!r}: a launcher sets it to the "
                           f"number of processes; unset it, or {rank}, to run alone.")
    return _KUBERNETES <= set(env) or any(int(count) > 1 for count in counts.values())


def _address(place: Place) -> dict[str, Any]:
    """The typed flags as jax takes them. Raises RequestError for half of them."""
    host, _, port = place.coordinator.rpartition(":")
    if not (host and port.isdigit() and 0 <= place.process_id < place.num_processes):
        raise RequestError(
            f"--coordinator {place.coordinator!r}, --num_processes {place.num_processes} and "
            f"--process_id {place.process_id} belong together: type HOST:PORT, such as "
            "127.0.0.1:8476, and the number of processes, both the same in every process, and 0 to "
            "that number less one.")
    return {
        "coordinator_address": place.coordinator, "num_processes": place.num_processes,
        "process_id": place.process_id,
        # jax's own default listens on every interface.
        "coordinator_bind_address": place.coordinator.replace("localhost", "127.0.0.1"),
    }


@contextlib.contextmanager
def joining(place: Place) -> Iterator[str]:
    """Join the job that this process is a part of, before jax is used; in words, or ''. The process
    ends where the others don't come to the end of the block within --join_seconds."""
    typed = place.coordinator or place.num_processes or place.process_id >= 0
    if not typed and not _launched(os.environ):
        yield ""
        return
    address = _address(place) if typed else {}
    # It would swallow SIGTERM until somebody asks it; ours is asked after every segment.
    jax.config.update("jax_enable_preemption_service", False)
    late = (f"the other processes did not come within {place.join_seconds} s: start all of them, "
            "or type more --join_seconds.")
    with presence.within(place.join_seconds, late), naming_the_lost():
        try:
            jax.distributed.initialize(
                **address, heartbeat_timeout_seconds=PATIENCE * place.heartbeat_seconds,
                initialization_timeout=PATIENCE * place.join_seconds,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
        except (RuntimeError, ValueError) as error:
            raise RunError(f"this process could not join the others: {one_line(error)}.") from None
        yield "the coordinator listens on " + address.get(
            "coordinator_bind_address",
            os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "every interface of its host"))


def first_process() -> bool:
    return jax.process_index() == 0


def joined() -> bool:
    """Whether this process is one of several."""
    return jax.distributed.is_initialized()


def process_name() -> str:
    """This process among several, in words; '' for the first."""
    return "" if first_process() else f"process {jax.process_index()}"


def leave(status: int, in_order: bool) -> NoReturn:
    """End one of several processes: in order once all of them are about to, or else at once, which
    the others see. Without Python's own end, which a waiting thread would turn into an abort."""
    try:
        sys.stdout.flush()  # which raises where nobody reads it
        if in_order:
            all_agree(True)  # jax aborts all where one comes to its shutdown late
            presence.stop()
            jax.distributed.shutdown()
    finally:
        os._exit(status)


def all_agree(flag: bool) -> bool:
    """Whether it is so in every process."""
    return not agreed(np.array([not flag]), np.max)[0]


def agreed(values: np.ndarray, how: Any) -> np.ndarray:
    """`how` (np.max, np.min) of every process's values: the same answer for all."""
    if jax.process_count() == 1:
        return values
    return how(multihost_utils.process_allgather(values), axis=0)


def _everyones(text: str) -> list[str]:
    """Every process's text, in all of them; at most TEXT_BYTES of each."""
    if jax.process_count() == 1:
        return [text]
    padded = np.frombuffer(text.encode()[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0"), np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]


@contextlib.contextmanager
def agreeing() -> Iterator[None]:
    """What one process refuses in the block, with a RequestError or an OSError, all refuse. Nothing
    within it may wait for other processes."""
    refusal = ""
    try:
        yield
    except (RequestError, OSError) as error:
        if jax.process_count() == 1:
            raise
        refusal = str(error)
    for which, heard in enumerate(_everyones(refusal)):
        if heard:  # the first process needs no name
            raise RequestError(f"process {which}: {heard}" if which else heard, shared=True)


def first_tells(find: Callable[[], str]) -> str:
    """What the first process finds, in every process; its refusal too."""
    text = ""
    with agreeing():
        if first_process():
            text = find()
    return _everyones(text)[0]


def any_tells(text: str) -> str:
    """The first text that a process has, in every process; "" where none has any."""
    return next(filter(None, _everyones(text)), "")


@contextlib.contextmanager
def naming_the_lost() -> Iterator[None]:
    """Turn jax's words for a process that is gone into a RunError."""
    try:
        yield
    except FAILURES as error:
        if jax.process_count() == 1 or not _LOST.match(str(error)):
            raise
        presence.stop()
        raise RunError(f"another process of the job is gone ({one_line(error)}). Start all of "
                       "them again, with --resume.") from None
