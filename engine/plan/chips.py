"""Accelerators as their makers describe them: what XLA's compiler and a plan need to know.

Imports nothing heavy, so that a mistyped --plan answers at once.
"""

import re
from typing import NamedTuple

from engine.errors import RequestError, unknown


class Chip(NamedTuple):
    """Bytes of memory, bytes/s to it. Of a GPU its multiprocessors; of each the compute capability,
    float32 lanes, threads, bytes of shared memory; bytes of L2 cache; the highest clock, GHz."""

    name: str
    memory: float
    bandwidth: float
    multiprocessors: int = 0
    capability: tuple[int, int] = (0, 0)
    lanes: int = 0
    threads: int = 0
    shared: int = 0
    cache: int = 0
    clock: float = 0.0


# Vendors' data sheets: NVIDIA's of each, Google Cloud's "TPU v5e". Multiprocessors: the whitepaper
# of each architecture, and "CUDA C++ Programming Guide", specifications per capability.
CHIPS = {chip.name: chip for chip in (
    Chip("H100", 80e9, 3.35e12, 132, (9, 0), 128, 2048, 228 << 10, 50 << 20, 1.98),
    Chip("H200", 141e9, 4.8e12, 132, (9, 0), 128, 2048, 228 << 10, 50 << 20, 1.98),
    Chip("A100", 80e9, 2.039e12, 108, (8, 0), 64, 2048, 164 << 10, 40 << 20, 1.41),
    Chip("B200", 180e9, 8e12, 148, (10, 0), 128, 2048, 228 << 10, 126 << 20, 1.97),
    Chip("L4", 24e9, 300e9, 58, (8, 9), 128, 1536, 100 << 10, 48 << 20, 2.04),
    Chip("T4", 16e9, 320e9, 40, (7, 5), 64, 1024, 64 << 10, 4 << 20, 1.59),
    Chip("v5e", 16e9, 819e9),
)}


def asked(text: str) -> tuple[int, Chip]:
    """Count and chip of '8xH100'. Raises RequestError for anything else."""
    found = re.fullmatch(r"([1-9]\d*)x(\w+)", text, re.IGNORECASE)
    if not found:
        raise RequestError(f"--plan {text}: type a count, an x and a device, such as 8xH100.")
    by_lower = {name.lower(): chip for name, chip in CHIPS.items()}
    if found[2].lower() not in by_lower:
        raise unknown("device of --plan", found[2], CHIPS)
    return int(found[1]), by_lower[found[2].lower()]
