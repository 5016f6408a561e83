"""Many devices: meshes with named axes, where arrays lie on them, how a run is spread over them.

A run cuts its batches over the axis "data"; a population spreads its members over "runs".
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.extend.core.primitives import sharding_constraint_p
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

DATA, RUNS = "data", "runs"
WHOLE, CUT = PartitionSpec(), PartitionSpec(DATA)
SHARDED_FROM = 1024  # elements: below, splitting an array costs more than it saves
T = TypeVar("T")


def _line(axis: str, devices: list[jax.Device]) -> Mesh | None:
    """These devices on one axis; None where there is one."""
    return None if len(devices) == 1 else jax.make_mesh(
        (len(devices),), (axis,), axis_types=(AxisType.Auto,), devices=devices)


def over_runs(device: jax.Device) -> Mesh | None:
    """This process's devices of this one's platform on the axis "runs"; None where there is one."""
    return _line(RUNS, jax.local_devices(backend=device.platform))


class Spread(NamedTuple):
    """How a run lies on the axis "data" of a mesh: its batches cut over it, all other arrays whole
    on every device, but for those of two axes and more, with `fsdp` in parts. Biases, scales and
    batch statistics are a kernel's thousandth. Without a mesh it lies on one device.

    fsdp splits parameters and optimizer state alike: stage 3 of ZeRO (Rajbhandari et al. 2020).
    What devices send each other, XLA's partitioner derives from these constraints.
    """

    mesh: Mesh | AbstractMesh | None = None
    fsdp: bool = False

    @property
    def shares(self) -> int:
        """Into how many parts a batch is cut."""
        return self.mesh.shape[DATA] if self.mesh else 1

    def _spec(self, x: Any) -> PartitionSpec:
        even = [at for at, size in enumerate(x.shape) if size % self.shares == 0]
        if not (self.fsdp and even) or len(x.shape) < 2 or math.prod(x.shape) < SHARDED_FROM:
            return WHOLE
        return PartitionSpec(*[None] * max(even, key=lambda at: x.shape[at]), DATA)

    def shardings(self, tree: Any, device: jax.Device | None = None) -> Any:
        """A sharding for every array, or shape of one, of `tree`: without a mesh the `device`'s."""
        mesh = self.mesh
        if mesh is None:
            return jax.tree.map(lambda _: everywhere(None, device), tree)
        return jax.tree.map(lambda x: NamedSharding(mesh, self._spec(x)), tree)

    def split(self, tree: Any) -> int:
        """Bytes of the arrays, or shapes of them, that lie in parts."""
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)
                   if self._spec(x) != WHOLE)

    # Within a program, where each of these keeps an array:

    def constrained(self, tree: T) -> T:
        """Where `shardings` says."""
        return jax.lax.with_sharding_constraint(tree, self.shardings(tree)) if self.mesh else tree

    def cut(self, batch: T) -> T:
        """Every device its share of the batch's first axis."""
        return self._held(batch, CUT)

    def whole(self, tree: T) -> T:
        """Whole on every device."""
        return self._held(tree, WHOLE)

    def _held(self, tree: T, spec: PartitionSpec) -> T:
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, spec))

    def gathering(self, function: Callable) -> Callable:
        """`function` of arrays that lie in parts, and are whole within: its gradient gathers them a
        second time rather than keep them, a layer's where it is needed, if the compiler finds
        memory short. Held in parts just before, lest the partitioner takes "whole" further up,
        through the checkpoint."""
        def kept(primitive: Any, *_: Any, **__: Any) -> bool:
            return primitive is not sharding_constraint_p

        def of_parts(tree: Any) -> Any:
            return function(self.whole(self.constrained(tree)))

        return jax.checkpoint(of_parts, policy=kept)


ALONE = Spread()


def spread(devices: list[jax.Device], fsdp: bool) -> Spread:
    """A run's spread over `devices`, those of every process; one alone has nothing to split."""
    mesh = _line(DATA, devices)
    return Spread(mesh, fsdp) if mesh else ALONE


def on_paper(count: int, fsdp: bool = False) -> Spread:
    """A spread of devices that need not be here: for shapes, never for a program."""
    return Spread(AbstractMesh((count,), (DATA,)), fsdp)


def size(mesh: Mesh | None) -> int:
    """How many devices share the work."""
    return 1 if mesh is None else mesh.size


def everywhere(mesh: Mesh | AbstractMesh | None, device: jax.Device | None) -> Sharding:
    """Where to put what every device needs whole."""
    return NamedSharding(mesh, WHOLE) if mesh else jax.sharding.SingleDeviceSharding(device)


def put(tree: T, where: Any) -> T:
    """Host arrays on the device or devices; every process holds the same ones already.

    `where` is a Sharding, or a tree of them. `jax.device_put` would send each array around to see
    whether the processes agree.
    """
    def one(x: Any, where: Sharding) -> jax.Array:
        if jax.process_count() == 1:
            return jax.device_put(x, where)
        if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(x), where))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    return jax.tree.map(one, tree, jax.tree.broadcast(where, tree))


def platform(where: Sharding) -> str:
    device: jax.Device
    device, *_ = where.device_set
    return device.platform


def blank(tree: T, where: Any) -> T:
    """Shapes and dtypes of the arrays of `tree`, each with its sharding of `where`, as `put` takes
    it: enough to compile for."""
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at),
                        tree, jax.tree.broadcast(where, tree))


def _in_parts(x: Any) -> bool:
    """Whether other processes may hold parts of an array that this one lacks."""
    return isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated)


def on_host(x: Any) -> np.ndarray:
    """The whole array, fetched from other processes where they hold parts of it."""
    return multihost_utils.process_allgather(x, tiled=True) if _in_parts(x) else np.asarray(x)


def snapshot(x: Any) -> Any:
    """A copy that outlives `x`: on the host, or in place where other processes hold parts."""
    return jax.numpy.copy(x) if _in_parts(x) else np.array(x, copy=True)
