"""Which device computes, and why; jax itself is imported only when a device is asked for."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine import caches as private
from engine.errors import RequestError, one_line, unknown

if TYPE_CHECKING:
    import jax

DEVICES = ("auto", "cpu", "gpu", "tpu")
# The oldest NVIDIA driver that each major version of CUDA runs on.
OLDEST_DRIVER = {12: 525, 13: 580}
CACHE_BYTES = 4 << 30


class Choice(NamedTuple):
    """The device to compute on, and the reason in words."""

    device: jax.Device
    reason: str


class Unavailable(Exception):
    """A device jax can't give: what was found, and what to type."""

    def __init__(self, found: str, advice: str):
        super().__init__(found)
        self.found = found
        self.advice = advice


class Machine(NamedTuple):
    """What can be known of accelerators without asking jax."""

    nvidia: bool
    driver: str
    plugins: tuple[str, ...]
    platforms: str
    cuda_visible: str | None


def choose(device: str) -> Choice:
    """The device for `--device`: what was asked for or RequestError, never another in its place."""
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    if device == "auto":
        return _automatic()
    try:
        return Choice(find(device), f"{device}: asked for with --device {device}")
    except Unavailable as missing:
        raise RequestError(
            f"--device {device}: {missing.found}.\n{missing.advice}\n"
            f"The whole picture: python launch.py doctor --device {device}"
        ) from None


def _automatic() -> Choice:
    """The first of TPU, GPU and CPU that jax gives."""
    for name in ("tpu", "gpu"):
        try:
            return Choice(find(name), f"{name}: the fastest kind of device that jax sees here")
        except Unavailable as error:
            missing = error
    try:
        return Choice(find("cpu"), f"cpu: {missing.found} ({missing.advice})")
    except Unavailable as none:
        raise RequestError(
            f"--device auto: jax gives no device at all: {none.found}.\n{none.advice}\n"
            "The whole picture: python launch.py doctor"
        ) from None


def find(name: str) -> jax.Device:
    """This process's first device of platform `name` (cpu, gpu, tpu), or Unavailable."""
    import jax

    if name == "cpu":
        _leave_accelerators_alone()
    words = _start()
    try:
        with _jax_log():
            return jax.local_devices(backend=name)[0]
    except Exception as error:  # plugins raise what they like; an AssertionError among others
        words = words or one_line(error)
    raise _unavailable(name, machine(os.environ), words)


def _leave_accelerators_alone() -> None:
    """Start the CPU only: a GPU nobody asked for would lose memory to us, or fail to start."""
    import jax

    if not jax.config.jax_platforms:  # type: ignore[attr-defined]
        with contextlib.suppress(RuntimeError):  # too late, jax has started: no harm done
            jax.config.update("jax_platforms", "cpu")


@functools.cache
def _start() -> str:
    """Start jax's platforms once; returns what it complained of, in one line."""
    import jax

    with _jax_log() as log:
        try:
            jax.devices()
        except Exception as error:
            log.append(one_line(error))
    return "; ".join(log)


@contextlib.contextmanager
def _jax_log() -> Iterator[list[str]]:
    """Collect jax's log as one-line messages; it would print tracebacks otherwise."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            lines.append(one_line(error or record.getMessage()))

    logger = logging.getLogger("jax")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Collect(logging.WARNING)], False
    try:
        yield lines
    finally:
        logger.handlers, logger.propagate = before


def machine(env: Mapping[str, str]) -> Machine:
    """What the operating system, the installed packages and `env` say of accelerators."""
    return Machine(
        nvidia=nvidia_visible(),
        driver=kernel_driver(),
        plugins=tuple(sorted(n for n in accelerator_packages() if n.endswith("plugin"))),
        platforms=env.get("JAX_PLATFORMS", ""),
        cuda_visible=env.get("CUDA_VISIBLE_DEVICES"),
    )


def nvidia_visible() -> bool:
    """Whether device files of an NVIDIA GPU are here (/dev/dxg is Windows' way to share one)."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def kernel_driver(path: str = "/proc/driver/nvidia/version") -> str:
    """The loaded NVIDIA kernel driver's version, or '' where there is none."""
    try:
        found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", Path(path).read_text())
    except OSError:
        return ""
    return found.group() if found else ""


def accelerator_packages() -> dict[str, str]:
    """Installed jax CUDA/ROCm plugins, their PJRT halves and libtpu: name → version."""
    pattern = re.compile(r"jax-(cuda|rocm)\d+-(plugin|pjrt)|libtpu")
    names = {
        str(dist.metadata["Name"]).lower().replace("_", "-"): dist.version
        for dist in importlib.metadata.distributions()
    }
    return {name: version for name, version in names.items() if pattern.fullmatch(name)}


def hides_gpu(seen: Machine) -> str:
    """The variable that keeps jax from any GPU, as NAME='value', or ''."""
    kinds = {kind.strip() for kind in seen.platforms.split(",")}
    if seen.platforms and not kinds & {"gpu", "cuda", "rocm"}:
        return f"JAX_PLATFORMS={seen.platforms!r}"
    if seen.cuda_visible is not None and seen.cuda_visible.strip() in ("", "-1", "none", "void"):
        return f"CUDA_VISIBLE_DEVICES={seen.cuda_visible!r}"
    return ""


def suited_extra(driver: str) -> str:
    """The extra to install for an NVIDIA driver's version, or '' where it is too old for any."""
    if not driver:
        return "cuda12"
    fits = [cuda for cuda, oldest in OLDEST_DRIVER.items() if int(driver.split(".")[0]) >= oldest]
    return f"cuda{max(fits)}" if fits else ""


def install_advice(driver: str) -> str:
    """What to type to have jax on an NVIDIA GPU with this driver ('' for unknown)."""
    extra = suited_extra(driver)
    if not extra:
        return f"update the NVIDIA driver: CUDA 12 needs {OLDEST_DRIVER[12]} or newer"
    return f'pip install -e ".[{extra}]"'


def _unavailable(name: str, seen: Machine, words: str) -> Unavailable:
    """Why jax gives no device of platform `name`."""
    if name == "gpu":
        return why_no_gpu(seen, words)
    if seen.platforms and name not in seen.platforms:
        return Unavailable(f"JAX_PLATFORMS={seen.platforms!r} hides it", "unset JAX_PLATFORMS")
    if name == "tpu" and "libtpu" not in accelerator_packages():
        return Unavailable("no TPU plugin is installed", 'pip install -e ".[tpu]"')
    return Unavailable(f"jax sees no {name.upper()}: {words}", "python launch.py doctor")


def why_no_gpu(seen: Machine, words: str) -> Unavailable:
    """Why jax sees no GPU, the likeliest cause first; `words` are what jax said."""
    if hider := hides_gpu(seen):
        return Unavailable(f"{hider} hides every GPU", f"unset {hider.split('=')[0]}")
    if not seen.plugins:
        here = "an NVIDIA GPU is there, but" if seen.nvidia else "no NVIDIA GPU is visible and"
        advice = install_advice(seen.driver)
        if not seen.nvidia:
            advice = f"install NVIDIA's driver, then {advice}"
        return Unavailable(f"{here} no GPU plugin is installed", advice)
    plugin = ", ".join(seen.plugins)
    if not seen.nvidia:
        return Unavailable(
            f"{plugin} is installed, but no NVIDIA GPU is visible: no /dev/nvidia0",
            "nvidia-smi should list the GPU; a container needs --gpus all",
        )
    if seen.driver and not suited_extra(seen.driver):
        return Unavailable(
            f"the NVIDIA driver {seen.driver} is too old for {plugin}", install_advice(seen.driver)
        )
    return Unavailable(
        f"an NVIDIA GPU is there, but jax sees none: {words}",
        "nvidia-smi, then python launch.py doctor --device gpu",
    )


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


def describe(device: jax.Device) -> str:
    """The device in words: 'NVIDIA H200', or 'cpu (2 cores, AMD EPYC)'."""
    if device.platform != "cpu":
        return str(device.device_kind)
    try:
        model = cpu_model(Path("/proc/cpuinfo").read_text())
    except OSError:
        model = ""
    return f"cpu ({cores()} cores, {model or platform.processor() or platform.machine()})"


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in the text of /proc/cpuinfo, or ''."""
    found = re.search(r"^model name\s*:\s*(.+?)\s*$", cpuinfo, re.MULTILINE)
    return found.group(1) if found else ""


def compile_cache_dir() -> Path:
    """Where compiled programs are kept: jax's own variable, else the user's cache folder."""
    if named := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(named)
    return private.cache_home() / "compiled"


def cache_problem(path: Path) -> str:
    """Create the compile cache's folder; why it can't be used, or ''."""
    try:
        private.make(path)
        with tempfile.TemporaryFile(dir=path):
            pass
        return private.doubt(path)  # what lies there is machine code that this process will run
    except OSError as error:
        return f"{path}: {error.strerror or error}"


def enable_compile_cache(path: Path) -> bool:
    """Keep compiled programs in `path` between runs; says so and goes on where it can't."""
    import jax

    if problem := cache_problem(path):
        print(f"compiled programs are not kept: {problem}", file=sys.stderr)
        return False
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if importlib.util.find_spec("filelock"):  # jax refuses a limit without it
        jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    return True
