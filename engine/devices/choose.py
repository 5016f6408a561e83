"""Which device computes, and why; jax itself is imported only when a device is asked for."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import re
from collections.abc import Iterator, MutableMapping
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.devices import diagnosis
from engine.devices.diagnosis import Unavailable
from engine.errors import RequestError, one_line

if TYPE_CHECKING:
    import jax

LEAST_ADDRESS_SPACE = 2 << 30  # bytes


class Choice(NamedTuple):
    """The device to compute on, and the reason in words."""

    device: jax.Device
    reason: str


def choose(device: str) -> Choice:
    """The device for `--device`: what was asked for or RequestError, never another in its place."""
    try:
        return pick(device)
    except Unavailable as missing:
        raise RequestError(
            f"--device {device}: {missing.found}.\n{missing.advice}\n"
            f"The whole picture: python launch.py doctor --device {device}"
        ) from None


def pick(device: str) -> Choice:
    """What `choose` gives, or Unavailable."""
    if device != "auto":
        return Choice(_find(device), f"{device}: asked for with --device {device}")
    for name in ("tpu", "gpu"):
        try:
            return Choice(_find(name), f"{name}: the fastest kind of device that jax sees here")
        except Unavailable as error:
            missing = error
    return Choice(_find("cpu"), f"cpu: {missing.found} ({missing.advice})")


def _find(name: str) -> jax.Device:
    """This process's first device of platform `name` (cpu, gpu, tpu), or Unavailable."""
    import jax

    if name == "cpu" and not jax.config.jax_platforms:  # type: ignore[attr-defined]
        # The CPU only: a GPU nobody asked for would lose memory to us, or fail to start.
        with contextlib.suppress(RuntimeError):  # too late, jax has started: no harm done
            jax.config.update("jax_platforms", "cpu")
    words = _start()
    try:
        with _jax_log():
            return jax.local_devices(backend=name)[0]
    except Exception as error:  # plugins raise what they like; an AssertionError among others
        words = words or one_line(error)
    raise diagnosis.why_none(name, diagnosis.machine(), words)


@functools.cache
def _start() -> str:
    """Start jax's platforms once; returns what it complained of, in one line."""
    import jax

    raised: list[object] = []
    with _jax_log() as log:
        try:
            jax.devices()
        except Exception as error:
            raised.append(error)
    told = [each.exc_info[1] if each.exc_info else each.getMessage() for each in log]
    return "; ".join(map(one_line, [*told, *raised]))


@contextlib.contextmanager
def _jax_log() -> Iterator[list[logging.LogRecord]]:
    """Collect jax's log; it would print tracebacks otherwise."""
    logger, heard = logging.getLogger("jax"), BufferingHandler(capacity=1000)
    heard.setLevel(logging.WARNING)
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [heard], False
    try:
        yield heard.buffer
    finally:
        logger.handlers, logger.propagate = before


def check_address_space() -> None:
    """Before anything large is imported: below a bound jax gives tracebacks, and OpenBLAS asks for
    memory again without end. Raises RequestError."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < LEAST_ADDRESS_SPACE:
        raise RequestError(f"ulimit -v {limit >> 10}: jax needs {LEAST_ADDRESS_SPACE >> 10} or more"
                           " to start: type ulimit -v unlimited.")


def spare_threads(env: MutableMapping[str, str]) -> None:
    """Before jax is imported: two threads for each of several forced CPU devices.

    A launch holds one while it waits for the other devices' part of a sum; with fewer, XLA's pool
    starves and the process aborts.
    """
    forced = re.search(r"xla_force_host_platform_device_count=(\d+)", env.get("XLA_FLAGS", ""))
    if forced and int(forced[1]) > 1:
        env.setdefault("PJRT_NPROC", str(2 * int(forced[1])))


def cores() -> int:
    """How many of the processor's cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def host_memory(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> tuple[int, int] | None:
    """Total and available bytes, a container's where it is limited; None where nobody says."""
    try:
        fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(), re.MULTILINE))
        total, free = int(fields["MemTotal"]) * 1024, int(fields["MemAvailable"]) * 1024
    except (OSError, KeyError):
        return None
    limit = _container_memory(cgroup)
    return (min(total, limit[0]), min(free, limit[1])) if limit else (total, free)


def _container_memory(cgroup: Path) -> tuple[int, int] | None:
    """The bytes of a cgroup, v2, in all and still; None where it has no limit, or there is none."""
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        most, used = (int((cgroup / f"memory.{name}").read_text()) for name in ("max", "current"))
        # What is cached of files counts as used, and is given up as soon as memory is asked for.
        cached = re.findall(r"^(?:in)?active_file (\d+)$", (cgroup / "memory.stat").read_text(),
                            re.MULTILINE)
        return most, max(0, most - used + sum(map(int, cached)))
    return None


def describe(device: jax.Device) -> str:
    """The device in words: 'NVIDIA H200', or 'cpu (2 cores, AMD EPYC)'."""
    if device.platform != "cpu":
        return str(device.device_kind)
    cpuinfo = Path("/proc/cpuinfo")  # Linux only, and not on every machine with a name
    model = cpu_model(cpuinfo.read_text()) if cpuinfo.exists() else ""
    return f"cpu ({cores()} cores, {model or platform.processor() or platform.machine()})"


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in the text of /proc/cpuinfo, or ''."""
    found = re.search(r"^model name\s*:\s*(.+?)\s*$", cpuinfo, re.MULTILINE)
    return found.group(1) if found else ""
