"""One program on many devices and many processes: jax.distributed, meshes, placement, agreement.

A run spreads its batches over the axis "data" of one mesh of every device of every process; a
population spreads its members over the axis "runs". With one process all here costs nothing.
"""

import contextlib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import (
    AbstractMesh,
    AxisType,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

from engine.config import Config
from engine.errors import RequestError, RunError, one_line

DATA, RUNS = "data", "runs"
TEXT_BYTES = 4096  # of a text that processes tell each other
_LOST = re.compile("gloo|nccl|coordination|heartbeat|barrier|connection|socket", re.IGNORECASE)
SHARDED_FROM = 1024  # elements: below, splitting an array costs more than it saves
SHUTDOWN_SECONDS = 15  # for the others to be done, at the end
T = TypeVar("T")

# How a job of many processes tells each its number; jax reads the rest itself.
_LAUNCHERS = {"SLURM_PROCID": "SLURM_NTASKS", "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE"}
_KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")


def _launched(env) -> str:
    """The launcher that started this process as one of several, or ''."""
    for rank, count in _LAUNCHERS.items():
        if rank in env and int(env.get(count, 1)) > 1:
            return count.split("_")[0]
    return "Kubernetes" if all(name in env for name in _KUBERNETES) else ""


def _address(config: Config) -> dict[str, Any]:
    """The typed flags as jax takes them. Raises RequestError for half of them."""
    host, _, port = config.coordinator.rpartition(":")
    if not (config.coordinator and config.num_processes and config.process_id >= 0):
        raise RequestError(
            "--coordinator HOST:PORT, --num_processes and --process_id belong together: type all "
            "three, the first two the same in every process."
        )
    if config.process_id >= config.num_processes:
        raise RequestError(f"--process_id {config.process_id}: type 0 to "
                           f"{config.num_processes - 1}, --num_processes less one.")
    if not (host and port.isdigit()):
        raise RequestError(f"--coordinator {config.coordinator}: type HOST:PORT, such as "
                           "127.0.0.1:8476.")
    return {
        "coordinator_address": config.coordinator, "num_processes": config.num_processes,
        "process_id": config.process_id,
        # jax's own default listens on every interface.
        "coordinator_bind_address": config.coordinator.replace("localhost", "127.0.0.1"),
    }


def join(config: Config) -> str:
    """Join the job that this process is a part of, before jax is used; in words, or ''.

    Raises RequestError for half of an address. Where the others don't come, jax ends the process
    after --join_seconds, in words of its own.
    """
    typed = bool(config.coordinator or config.num_processes or config.process_id >= 0)
    launcher = "" if typed else _launched(os.environ)
    if not typed and not launcher:
        return ""
    address: dict[str, Any] = _address(config) if typed else {}
    # It would swallow SIGTERM until somebody asks it; ours is asked after every segment.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **address, heartbeat_timeout_seconds=config.heartbeat_seconds,
            initialization_timeout=config.join_seconds, shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"this process could not join the others: {one_line(error)}.") from None
    return "the coordinator listens on " + address.get(
        "coordinator_bind_address",
        os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "every interface of its host"),
    )


def first_process() -> bool:
    return jax.process_index() == 0


def process_name() -> str:
    """This process among several, in words; '' for the first or only one."""
    if not jax.distributed.is_initialized() or first_process():
        return ""
    return f"process {jax.process_index()}"


def leave(status: int) -> None:
    """End a process whose failure the others of its job don't share; it does nothing elsewhere.

    At once, since an orderly exit waits for all of them. They see this one's absence.
    """
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        os._exit(status)


def over(device: jax.Device, axis: str) -> Mesh | None:
    """The devices of this one's platform on one axis; None where there is one.

    A run takes those of every process, a population its own process's.
    """
    found = jax.devices(device.platform) if axis == DATA else jax.local_devices(
        backend=device.platform)
    if len(found) == 1:
        return None
    return jax.make_mesh((len(found),), (axis,), axis_types=(AxisType.Auto,), devices=found)


def size(mesh: Mesh | None) -> int:
    """How many devices share the work."""
    return 1 if mesh is None else mesh.size


def on_paper(count: int) -> AbstractMesh:
    """A mesh over "data" of devices that need not be here: for shapes, never for a program."""
    return AbstractMesh((count,), (DATA,))


def everywhere(mesh: Mesh | None, device: jax.Device) -> Sharding:
    """Where to put what every device needs whole."""
    return SingleDeviceSharding(device) if mesh is None else NamedSharding(mesh, PartitionSpec())


def put(tree: T, where: Sharding | Any) -> T:
    """Host arrays on the device or devices; every process holds the same ones already.

    `where` may be a tree of shardings. `jax.device_put` would send each array around to see
    whether the processes agree.
    """
    def one(x: Any, where: Sharding) -> jax.Array:
        if jax.process_count() == 1:
            return jax.device_put(x, where)
        if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(x), where))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    if isinstance(where, Sharding):
        return jax.tree.map(lambda x: one(x, where), tree)
    return jax.tree.map(one, tree, where)


def _split(mesh: Mesh | AbstractMesh, x: Any) -> PartitionSpec:
    """The longest axis that the devices divide, split over "data"; nothing of a small array."""
    axes = [at for at, size in enumerate(x.shape) if size % mesh.size == 0]
    if not axes or math.prod(x.shape) < SHARDED_FROM:
        return PartitionSpec()
    at = max(axes, key=lambda at: x.shape[at])
    return PartitionSpec(*[None] * at, DATA)


def shardings(mesh: Mesh | AbstractMesh, tree: Any, fsdp: bool) -> Any:
    """A NamedSharding for every array of `tree`: whole on every device, or with `fsdp` in parts.

    Parts of parameters and optimizer state alike are stage 3 of ZeRO (Rajbhandari et al. 2020).
    """
    return jax.tree.map(
        lambda x: NamedSharding(mesh, _split(mesh, x) if fsdp else PartitionSpec()), tree
    )


def constrained(mesh: Mesh | None, tree: T, fsdp: bool) -> T:
    """Within a program: keep `tree` where `shardings` says."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, shardings(mesh, tree, fsdp))


def cut(mesh: Mesh | None, batch: T) -> T:
    """Within a program: every device its share of the batch's first axis."""
    if mesh is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec(DATA)))


def summed(sums: T, specs: Any) -> T:
    """Within shard_map over "data": every device's sums added, each left with the part in `specs`.
    """
    def one(x: jax.Array, spec: PartitionSpec) -> jax.Array:
        if DATA not in spec:
            return jax.lax.psum(x, DATA)
        at = spec.index(DATA)
        return jax.lax.psum_scatter(x, DATA, scatter_dimension=at, tiled=True)

    return jax.tree.map(one, sums, specs)


def _in_parts(x: Any) -> bool:
    """Whether other processes hold parts of an array that this one lacks."""
    return isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated)


def on_host(x: Any) -> np.ndarray:
    """The whole array, fetched from other processes where they hold parts of it."""
    if _in_parts(x):
        return multihost_utils.process_allgather(x, tiled=True)
    return np.asarray(x)


def snapshot(x: Any) -> Any:
    """A copy that outlives `x`: on the host, or in place where other processes hold parts."""
    if _in_parts(x):
        return jax.numpy.copy(x)
    return np.array(x, copy=True)


def all_agree(flag: bool) -> bool:
    """Whether it is so in every process."""
    return not agreed(np.array([not flag]), np.max)[0]


def agreed(values: np.ndarray, how: Any) -> np.ndarray:
    """`how` (np.max, np.min) of every process's values: the same answer for all."""
    if jax.process_count() == 1:
        return values
    return how(multihost_utils.process_allgather(values), axis=0)


def everyones(text: str) -> list[str]:
    """Every process's text, in all of them; at most 4 kB of each."""
    if jax.process_count() == 1:
        return [text]
    padded = np.frombuffer(text.encode()[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0"), np.uint8)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore")
            for row in np.asarray(multihost_utils.process_allgather(padded))]


@contextlib.contextmanager
def agreeing() -> Iterator[None]:
    """What one process refuses in the block, with a RequestError, all refuse.

    Nothing within it may wait for other processes.
    """
    refusal = ""
    try:
        yield
    except RequestError as error:
        if jax.process_count() == 1:
            raise
        refusal = str(error)
    heard = everyones(refusal)
    which = next((at for at, text in enumerate(heard) if text), None)
    if which is not None:
        lone = f"process {which}: " if which else ""  # the first one needs no name
        raise RequestError(lone + heard[which], shared=True)


def first_tells(find: Callable[[], str]) -> str:
    """What the first process finds, in every process; its refusal too."""
    text = ""
    with agreeing():
        if first_process():
            text = find()
    return everyones(text)[0]


@contextlib.contextmanager
def naming_the_lost() -> Iterator[None]:
    """Turn jax's words for a process that is gone into a RunError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not _LOST.search(str(error)):
            raise
        raise RunError(f"another process of the job is gone ({one_line(error)}). Start all of "
                       "them again, with --resume.") from None
