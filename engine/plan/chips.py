"""Accelerators as their makers describe them, and the textbook times of a step on many of them.

Imports nothing heavy, so that a mistyped --plan answers at once. Every figure is nominal: nobody
measured it here.
"""

import math
import re
from typing import NamedTuple

from engine.errors import RequestError, unknown

EFFICIENCY = 0.3  # of the peak; assumed: convolutions and matrix products of a tuned float32 step
HOP_SECONDS = 5e-6  # of one device to the next, its launch included; assumed
GATHERS = 2  # of fully sharded parameters in a step: forward, and again for the gradient
TAKEN = 0.75  # of the memory: jax's share of a GPU, where XLA_PYTHON_CLIENT_MEM_FRACTION is unset


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
    """FLOP/s at `precision` without sparsity, bytes, and bytes/s in one direction.

    `link` joins the `linked` devices of a host (a TPU's pod); `network` is one host's port.
    `cores` is None for what is no GPU.
    """

    name: str
    precision: str
    flops: float
    memory: float
    memory_bandwidth: float
    link: float
    linked: int
    network: float
    cores: Cores | None


_NDR, _ETHERNET = 400e9 / 8, 100e9 / 8  # bytes/s

# Vendors' data sheets. NVIDIA: "H100 Tensor Core GPU" (SXM), "H200" (SXM), "A100 80GB" (SXM),
# "HGX B200", "L4" (PCIe 4.0 × 16), "T4" (PCIe 3.0 × 16); half of what they give with sparsity and
# half of a link's two directions. Google Cloud, "TPU v5e": a pod of 256, 1,600 Gbit/s a chip.
# A DGX has eight ports of 400 Gbit/s (A100: of 200) where one is counted here. Cores: the
# whitepaper of each architecture, and "CUDA C++ Programming Guide", specifications per capability.
_HOPPER = Cores(132, (9, 0), 128, 2048, 228 << 10, 50 << 20, 1.98)
CHIPS = {chip.name: chip for chip in (
    Chip("H100", "TF32", 494.5e12, 80e9, 3.35e12, 450e9, 8, _NDR, _HOPPER),
    Chip("H200", "TF32", 494.5e12, 141e9, 4.8e12, 450e9, 8, _NDR, _HOPPER),
    Chip("A100", "TF32", 156e12, 80e9, 2.039e12, 300e9, 8, _NDR,
         Cores(108, (8, 0), 64, 2048, 164 << 10, 40 << 20, 1.41)),
    Chip("B200", "TF32", 1.1e15, 180e9, 8e12, 900e9, 8, _NDR,
         Cores(148, (10, 0), 128, 2048, 228 << 10, 126 << 20, 1.97)),
    Chip("L4", "TF32", 60e12, 24e9, 300e9, 32e9, 8, _ETHERNET,
         Cores(58, (8, 9), 128, 1536, 100 << 10, 48 << 20, 2.04)),
    Chip("T4", "FP32", 8.1e12, 16e9, 320e9, 16e9, 8, _ETHERNET,
         Cores(40, (7, 5), 64, 1024, 64 << 10, 4 << 20, 1.59)),
    Chip("v5e", "bf16", 197e12, 16e9, 819e9, 100e9, 256, _ETHERNET, None),
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


def bandwidth(chip: Chip, count: int) -> float:
    """Bytes/s of the slowest link on a ring of `count` devices."""
    return chip.link if count <= chip.linked else chip.network


def ring_seconds(count: int, size: float, bandwidth: float, hop: float = HOP_SECONDS) -> float:
    """An all-gather or a reduce-scatter of arrays of `size` bytes in all: once round the ring.

    (n-1)/n × bytes / bandwidth + (n-1) hops; Thakur, Rabenseifner and Gropp 2005.
    """
    return (count - 1) / count * size / bandwidth + (count - 1) * hop


def all_reduce_seconds(
    count: int, size: float, bandwidth: float, hop: float = HOP_SECONDS
) -> float:
    """Twice round the ring, or up and down a tree of log₂ n levels where that is quicker, as NCCL
    chooses for small arrays (Sanders, Speck and Träff 2009)."""
    tree = 2 * size / bandwidth + 2 * math.ceil(math.log2(count)) * hop
    return min(2 * ring_seconds(count, size, bandwidth, hop), tree)


def exchange_seconds(chip: Chip, count: int, traffic: dict[str, int], waits: int = 0) -> float:
    """Of a step, bytes by kind: GATHERS all-gathers, and of each other kind one operation; of
    all-reduces so many more, for whose hops a layer `waits`."""
    rate = bandwidth(chip, count)

    def seconds(kind: str, size: int) -> float:
        if kind == "all-reduce":
            return all_reduce_seconds(count, size, rate)
        operations = GATHERS if kind == "all-gather" else 1
        return operations * ring_seconds(count, size / operations, rate)

    hops = waits * all_reduce_seconds(count, 0, rate)
    return hops + sum(seconds(kind, size) for kind, size in traffic.items())


def compute_seconds(chip: Chip, flops: float, touched: float) -> float:
    """`flops` at EFFICIENCY of the peak, then an update that reads and writes `touched` bytes."""
    return flops / (chip.flops * EFFICIENCY) + touched / chip.memory_bandwidth
