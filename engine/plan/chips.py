"""Accelerators as their makers describe them: what XLA's compiler and a plan need to know.

Imports nothing heavy, so that a mistyped --plan answers at once.
"""

import re
from typing import NamedTuple

from engine.errors import RequestError, unknown


class Cores(NamedTuple):
    """A GPU's multiprocessors: how many; of each, the compute capability, float32 lanes, threads
    and bytes of shared memory; the bytes of the L2 cache, and the highest clock, GHz."""

    multiprocessors: int
    capability: tuple[int, int]
    lanes: int
    threads: int
    shared: int
    cache: int
    clock: float


class Chip(NamedTuple):
    """Bytes of memory, bytes/s to it, and how many devices a host links (a TPU's pod). `cores` is
    None for what is no GPU."""

    name: str
    memory: float
    bandwidth: float
    linked: int
    cores: Cores | None


# Vendors' data sheets: NVIDIA's of each, Google Cloud's "TPU v5e". Cores: the whitepaper of each
# architecture, and "CUDA C++ Programming Guide", specifications per capability.
_HOPPER = Cores(132, (9, 0), 128, 2048, 228 << 10, 50 << 20, 1.98)
CHIPS = {chip.name: chip for chip in (
    Chip("H100", 80e9, 3.35e12, 8, _HOPPER),
    Chip("H200", 141e9, 4.8e12, 8, _HOPPER),
    Chip("A100", 80e9, 2.039e12, 8, Cores(108, (8, 0), 64, 2048, 164 << 10, 40 << 20, 1.41)),
    Chip("B200", 180e9, 8e12, 8, Cores(148, (10, 0), 128, 2048, 228 << 10, 126 << 20, 1.97)),
    Chip("L4", 24e9, 300e9, 8, Cores(58, (8, 9), 128, 1536, 100 << 10, 48 << 20, 2.04)),
    Chip("T4", 16e9, 320e9, 8, Cores(40, (7, 5), 64, 1024, 64 << 10, 4 << 20, 1.59)),
    Chip("v5e", 16e9, 819e9, 256, None),
)}


def asked(text: str) -> tuple[int, Chip]:
    """Count and chip of '8xH100'. Raises RequestError for anything else."""
    found = re.fullmatch(r"(\d+)x(\w+)", text, re.IGNORECASE)
    if not found:
        raise RequestError(f"--plan {text}: type a count, an x and a device, such as 8xH100.")
    count, name = int(found[1]), found[2]
    if not count:
        raise RequestError(f"--plan {text}: type 1 device or more, such as 8x{name}.")
    by_lower = {chip.name.lower(): chip for chip in CHIPS.values()}
    if name.lower() not in by_lower:
        raise unknown("device of --plan", name, CHIPS)
    return count, by_lower[name.lower()]
