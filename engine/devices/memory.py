"""What a compiled program needs, what a device has, and the batch that would fit."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from engine.devices.choose import host_memory
from engine.errors import RequestError

# Of a program: jax's own while it is compiled or waited for, ValueError where it is called.
FAILURES = (jax.errors.JaxRuntimeError, ValueError)


class Need(NamedTuple):
    """A compiled program's memory in bytes. Outputs that alias donated arguments are free."""

    temp: int
    arguments: int
    outputs: int
    alias: int

    @property
    def total(self) -> int:
        return self.temp + self.arguments + self.outputs - self.alias

    @property
    def beyond_arguments(self) -> int:
        """What there has to be room for: they are on the device already."""
        return self.total - self.arguments

    def __str__(self) -> str:
        return (f"{mib(self.total)} = temporary {mib(self.temp)} + arguments "
                f"{mib(self.arguments)} + outputs {mib(self.outputs)} - aliased {mib(self.alias)}")


def nbytes(tree: Any) -> int:
    """Bytes of a tree of arrays or their shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def needed(compiled: Any) -> Need:
    """Of a jax.stages.Compiled."""
    found = compiled.memory_analysis()
    return Need(found.temp_size_in_bytes, found.argument_size_in_bytes,
                found.output_size_in_bytes, found.alias_size_in_bytes)


def total_and_free(device: jax.Device) -> tuple[int, int] | None:
    """Bytes that jax may take on `device`, in all and still; None where nobody says."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"], stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return host_memory() if device.platform == "cpu" else None


def free(device: jax.Device) -> int | None:
    """Bytes that a program may still take on `device`; None where nobody says."""
    found = total_and_free(device)
    return found[1] if found else None


def exhausted(error: Exception) -> bool:
    """Whether jax ran out of memory."""
    return "RESOURCE_EXHAUSTED" in str(error)


def fitting_batch(batch: int, room: int, need_of: Callable[[int], Need], shares: int = 1) -> int:
    """The largest batch, each share halved and halved, that fits in `room` bytes, or 0.

    `need_of` compiles; a batch that the compiler itself finds too large does not fit.
    """
    share = batch // shares
    while share := share // 2:
        try:
            if need_of(share * shares).beyond_arguments <= room:
                return share * shares
        except FAILURES as error:
            if not exhausted(error):
                raise
    return 0


def too_large(
    batch: int, need: int | None, room: int, need_of: Callable[[int], Need], shares: int = 1
) -> RequestError:
    """The error that names a batch that fits. `need` is None where the compiler gave up."""
    fits = fitting_batch(batch, room, need_of, shares)
    needed = "needs more than there is" if need is None else f"needs {mib(need)} more"
    advice = f"type --batch_size {fits}" if fits else "no batch fits: type a smaller --image_size"
    return RequestError(
        f"--batch_size {batch} {needed}, and the device has {mib(room)} free: {advice}."
    )
