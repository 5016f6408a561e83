"""Many devices: meshes with named axes, where arrays lie on them, how a run is spread over them.

A run cuts its batches over the axis "data" and may split the kernels of its layers over "model";
a population spreads its members over "runs".
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

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
from engine.errors import RequestError
from models.columns import MODEL

DATA, RUNS = "data", "runs"
WHOLE, CUT = PartitionSpec(), PartitionSpec(DATA)
SHARDED_FROM = 1024  # elements: below, splitting an array costs more than it saves
T = TypeVar("T")


def over_runs(device: jax.Device) -> Mesh | None:
    """This process's devices of this one's platform on the axis "runs"; None where there is one."""
    found = jax.local_devices(backend=device.platform)
    return None if len(found) == 1 else _made((len(found),), (RUNS,), found)


def _made(shape: tuple[int, ...], axes: tuple[str, ...], devices: list[jax.Device]) -> Mesh:
    return jax.make_mesh(shape, axes, axis_types=(AxisType.Auto,) * len(axes), devices=devices)


class Spread(NamedTuple):
    """How a run lies on the axes "data" and "model" of a mesh: arrays whole on every device, but
    for kernels (arrays of two axes and more), split by output features over "model", and with
    `fsdp` over "data". Biases, scales and batch statistics are a kernel's thousandth.

    fsdp splits parameters and optimizer state alike: stage 3 of ZeRO (Rajbhandari et al. 2020).
    """

    mesh: Mesh | AbstractMesh
    fsdp: bool = False

    @property
    def shares(self) -> int:
        """Into how many parts a batch is cut."""
        return self.mesh.shape[DATA]

    def _spec(self, x: Any) -> PartitionSpec:
        axes: list[str | None] = [None] * len(x.shape)
        if len(axes) < 2 or math.prod(x.shape) < SHARDED_FROM:
            return WHOLE
        parts = self.mesh.shape[MODEL]
        if parts > 1 and x.shape[-1] % parts == 0:
            axes[-1] = MODEL
        free = [at for at, size in enumerate(x.shape) if not axes[at] and size % self.shares == 0]
        if self.fsdp and free:
            axes[max(free, key=lambda at: x.shape[at])] = DATA
        while axes and axes[-1] is None:
            axes.pop()
        return PartitionSpec(*axes)

    def specs(self, tree: Any) -> Any:
        """A PartitionSpec for every array, or shape of one, of `tree`."""
        return jax.tree.map(self._spec, tree)

    def shardings(self, tree: Any) -> Any:
        """A NamedSharding for every array, or shape of one, of `tree`."""
        return jax.tree.map(lambda x: NamedSharding(self.mesh, self._spec(x)), tree)

    def split(self, tree: Any, axis: str) -> int:
        """Bytes of the arrays, or shapes of them, that lie in parts on `axis`."""
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree)
                   if self.mesh.shape[axis] > 1 and axis in self._spec(x))

    def constrained(self, tree: T) -> T:
        """Within a program: keep `tree` where `shardings` says."""
        return jax.lax.with_sharding_constraint(tree, self.shardings(tree))

    def cut(self, batch: T) -> T:
        """Within a program: every part of "data" its share of the batch's first axis."""
        return jax.lax.with_sharding_constraint(batch, NamedSharding(self.mesh, CUT))

    def each(self, function: Callable, in_specs: Any, out_specs: Any) -> Callable:
        """`function` on every device, of what `in_specs` gives it."""
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )


def gathered(params: T, specs: Any) -> T:
    """Within `each`: whole what "data" splits. Its gradient leaves every device its part of the
    sum over all."""
    def one(x: jax.Array, spec: PartitionSpec) -> jax.Array:
        if DATA not in spec:
            return x
        return jax.lax.all_gather(x, DATA, axis=spec.index(DATA), tiled=True)

    return jax.tree.map(one, params, specs)


def gathered_again(function: Callable) -> Callable:
    """`function` of `gathered` arrays, which its gradient gathers a second time rather than keep
    whole: a layer's where it is needed, if the compiler finds memory short."""
    def kept(primitive: Any, *_: Any, **how: Any) -> bool:
        return not (primitive is jax.lax.all_gather_p and DATA in how["axis_name"])

    return jax.checkpoint(function, policy=kept)


def summed(sums: T, specs: Any) -> T:
    """Within `each`: the gradients of all devices added, but for those that `gathered` did."""
    several = jax.lax.axis_size(MODEL) > 1

    def one(x: jax.Array, spec: PartitionSpec) -> jax.Array:
        if DATA not in spec:
            x = jax.lax.psum(x, DATA)
        if several and MODEL not in spec:  # equal, if all devices round alike
            x = jax.lax.pmean(x, MODEL)
        return x

    return jax.tree.map(one, sums, specs)


def spread(devices: list[jax.Device], config: Config) -> Spread | None:
    """A run's spread over `devices`, those of every process; None where there is one. Raises
    RequestError where --model_parallel does not divide them."""
    count, parts = len(devices), config.model_parallel
    if count % parts:
        divisors = [str(n) for n in range(1, count + 1) if count % n == 0]
        raise RequestError(
            f"--model_parallel {parts} does not divide the {count} device{'s' * (count > 1)} of "
            f"the job: type {' or '.join(divisors)}."
        )
    if count == 1:
        return None
    return Spread(_made((count // parts, parts), (DATA, MODEL), devices), config.fsdp)


def on_paper(count: int, fsdp: bool = False) -> Spread:
    """A spread over "data" of devices that need not be here: for shapes, never for a program."""
    return Spread(AbstractMesh((count, 1), (DATA, MODEL)), fsdp)


def size(mesh: Mesh | None) -> int:
    """How many devices share the work."""
    return 1 if mesh is None else mesh.size


def everywhere(mesh: Mesh | AbstractMesh | None, device: jax.Device) -> Sharding:
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


def blank(tree: T, where: Sharding | Any) -> T:
    """Shapes and dtypes of the arrays of `tree`, each with its sharding: enough to compile for.

    `where` may be a tree of shardings.
    """
    if isinstance(where, Sharding):
        where = jax.tree.map(lambda _: where, tree)
    return jax.tree.map(
        lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), tree, where
    )


def _in_parts(x: Any) -> bool:
    """Whether other processes may hold parts of an array that this one lacks."""
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
