"""This process: its job, its device, its console; settled before anything is computed."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from engine.console.progress import plain_console
from engine.devices import choose, mesh
from engine.devices.mesh import Spread
from engine.disk import caches
from engine.errors import RequestError
from engine.job import presence, processes
from engine.place import Place


class Host(NamedTuple):
    """`device` is this process's first; the console speaks in the first process only."""

    device: jax.Device
    console: Console

    @property
    def silent(self) -> "Host":
        """The same, its console saying nothing."""
        return self._replace(console=plain_console(quiet=True))

    def spread(self, fsdp: bool) -> Spread:
        """A run's spread over every device of the job."""
        return mesh.spread(jax.devices(self.device.platform), fsdp)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Without the mesh and the transfer guard that the caller has set in jax, which are for arrays
    of its own: on which devices ours lie is said of each."""
    with contextlib.ExitStack() as held:
        held.enter_context(jax.transfer_guard("allow"))
        if not jax.sharding.get_abstract_mesh().empty and jax.device_count() > 1:
            with contextlib.suppress(ValueError):  # jax traces, which `begin` refuses
                held.enter_context(jax.set_mesh(None))
        yield


def check_untraced(what: str, instead: str) -> None:
    """Raise RequestError where jax traces."""
    if isinstance(jnp.asarray(np.float32(0)), jax.core.Tracer):
        raise RequestError(f"{what} on the host, and can't be traced: {instead}.")


def begin(
    place: Place, stderr: bool = False, quiet: bool = False, apart: bool = False
) -> Host:
    """Join the job, unless this process goes `apart`; choose the device, make the compile cache
    ready."""
    with contextlib.nullcontext("") if apart else processes.joining(place) as joined:
        choice = choose.choose(place.device)
        console = plain_console(stderr, quiet or not processes.first_process())
        silence = processes.agreed(np.array([place.heartbeat_seconds]), np.max).item()
    with jax.default_device(choice.device):  # no other's memory is taken for it
        check_untraced("fit, sweep and evaluate run", "give train to jax.jit")
    if joined:
        presence.keep_meeting(silence)
        console.print(f"job: {jax.process_count()} processes; {joined}")
    reason = choice.reason.removeprefix(f"{choice.device.platform}: ")
    console.print(f"device: {choose.describe(choice.device)}: {reason}")
    compute_on(choice.device, place.compile_cache)
    return Host(choice.device, console)


def compute_on(device: jax.Device, compile_cache: bool) -> None:
    """Make it jax's default, and the compile cache ready where it is wanted."""
    caches.use_compile_cache(compile_cache)
    jax.config.update("jax_default_device", device)


def begin_alone(place: Place, quiet: bool = False) -> Host:
    """`begin` of a population. Raises RequestError among several processes, and for --fsdp."""
    begun = begin(place, quiet=quiet)
    if place.fsdp or jax.process_count() > 1:
        raise RequestError("a population has its runs whole in one process, on all of its devices: "
                           "leave --fsdp out, and start one process a host, each with its own part "
                           "of the values and its own --run_dir.", shared=True)
    return begun
