"""Why jax gives no GPU, or no TPU: what the machine shows without jax, and what to type."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

# What each major version of CUDA needs: the oldest driver, the lowest compute capability.
OLDEST_DRIVER = {12: 525, 13: 580}
CAPABILITY = {12: (5, 2), 13: (7, 5)}
DRIVER = "NVIDIA driver"  # the name of its row
KINDS = {"gpu": {"gpu", "cuda", "rocm"}}  # as JAX_PLATFORMS has them, where not by the same word


class Row(NamedTuple):
    """One finding. `status` is ok, warning, or failed: the asked-for device did not compute."""

    name: str
    status: str
    found: str
    advice: str = ""


class Unavailable(Exception):
    """A device jax can't give: what was found, and what to type."""

    def __init__(self, found: str, advice: str):
        super().__init__(found)
        self.found, self.advice = found, advice


class Machine(NamedTuple):
    """What can be known of accelerators without asking jax."""

    nvidia: bool = False
    driver: str = ""
    packages: Mapping[str, str] = {}  # name → version
    platforms: str = ""
    cuda_visible: str | None = None

    @property
    def cuda(self) -> list[int]:
        """The versions of CUDA that plugins are installed for."""
        found = (re.fullmatch(r"jax-cuda(\d+)-plugin", name) for name in self.packages)
        return sorted(int(match[1]) for match in found if match)


def machine() -> Machine:
    """What the operating system, the installed packages and the environment say."""
    return Machine(nvidia_visible(), kernel_driver(), jax_packages(),
                   os.environ.get("JAX_PLATFORMS", ""), os.environ.get("CUDA_VISIBLE_DEVICES"))


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


@functools.cache  # reading them takes some 80 ms
def jax_packages() -> dict[str, str]:
    """jax, jaxlib and what of CUDA/ROCm plugins, their PJRT halves and libtpu is installed."""
    pattern = re.compile(r"jax|jaxlib|jax-(cuda|rocm)\d+-(plugin|pjrt)|libtpu")
    found = {str(each.metadata["Name"]).lower().replace("_", "-"): each.version
             for each in importlib.metadata.distributions()}
    return {name: found[name] for name in sorted(found) if pattern.fullmatch(name)}


def too_old(driver: str, cuda: Iterable[int]) -> str:
    """Which CUDA of these an NVIDIA driver is too old for, in words, or ''; so for one unknown."""
    for version in cuda:
        oldest = OLDEST_DRIVER.get(version, 0)
        if driver and int(driver.split(".")[0]) < oldest:
            return (f"the NVIDIA driver {driver} is too old for CUDA {version}, which needs "
                    f"{oldest} or newer")
    return ""


def install(driver: str) -> str:
    """What to type to have jax on an NVIDIA GPU with this driver ('' for unknown)."""
    fits = [cuda for cuda in OLDEST_DRIVER if not too_old(driver, [cuda])] if driver else [12]
    return f'pip install -e ".[cuda{max(fits)}]"' if fits else \
        f"update the NVIDIA driver to {OLDEST_DRIVER[12]} or newer"


def why_none(name: str, seen: Machine, words: str) -> Unavailable:
    """Why jax gives no device of a kind, the likeliest cause first; `words` are what jax said."""
    started = set(re.findall(r"[^\s,]+", seen.platforms))
    plugins = ", ".join(each for each in seen.packages if each.endswith("plugin"))
    gpu, kind, advice = name == "gpu", name.upper(), install(seen.driver)
    old = too_old(seen.driver, seen.cuda)
    rules = [
        (started and not started & KINDS.get(name, {name}),
         f"JAX_PLATFORMS={seen.platforms!r} hides every {kind}", "unset JAX_PLATFORMS"),
        (gpu and seen.cuda_visible in ("", "-1", "none", "void"),
         f"CUDA_VISIBLE_DEVICES={seen.cuda_visible!r} hides every GPU",
         "unset CUDA_VISIBLE_DEVICES"),
        (name == "tpu" and "libtpu" not in seen.packages, "no TPU plugin is installed",
         'pip install -e ".[tpu]"'),
        (gpu and not plugins and seen.nvidia,
         "an NVIDIA GPU is there, but no GPU plugin is installed", advice),
        (gpu and not plugins, "no NVIDIA GPU is visible and no GPU plugin is installed",
         f"install NVIDIA's driver, then {advice}"),
        (gpu and not seen.nvidia, f"{plugins} is installed, but no NVIDIA GPU is visible: no "
         "/dev/nvidia0", "nvidia-smi should list the GPU; a container needs --gpus all"),
        (gpu and old, old, advice),
        (True, f"jax sees no {kind}: {words}", f"python launch.py doctor --device {name}"),
    ]
    return next(Unavailable(found, advice) for holds, found, advice in rules if holds)
