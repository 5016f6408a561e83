"""Why jax gives no GPU, or no TPU: what the machine shows without jax, and what to type."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

# The oldest NVIDIA driver that each major version of CUDA runs on.
OLDEST_DRIVER = {12: 525, 13: 580}


class Row(NamedTuple):
    """One finding; status is ok, warning or failed."""

    name: str
    status: str
    found: str
    advice: str = ""


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


def why_none(name: str, seen: Machine, words: str) -> Unavailable:
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


def fault(device: str) -> str:
    """The status of what keeps a GPU from working: fatal only to who asked for one."""
    return "failed" if device == "gpu" else "warning"


def release(version: str) -> tuple[int, ...]:
    """The dotted numbers that a version starts with."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found.group().split("."))) if found else ()


def cuda_majors(packages: Iterable[str]) -> list[int]:
    """The major versions of CUDA that the installed plugins are built for."""
    found = (re.fullmatch(r"jax-cuda(\d+)-plugin", name) for name in packages)
    return sorted(int(match.group(1)) for match in found if match)
