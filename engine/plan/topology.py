"""GPUs that aren't here, to compile for: XLA's own compiler needs their description alone.

It comes with jax's CUDA plugin, `pip install -e ".[plan]"`, which needs no GPU and no driver.
"""

import importlib.util

import jax
from jax.experimental import topologies

from engine.errors import one_line
from engine.plan.chips import Chip, Cores

BLOCK_SHARED = 48 << 10  # bytes that a block has without asking
RESERVED = 1 << 10  # of a multiprocessor's shared memory, from capability 8 on


def _description(chip: Chip, cores: Cores) -> str:
    """XLA's GpuTargetConfigProto, as text."""
    major, minor = cores.capability
    asked = cores.shared - (RESERVED if major >= 8 else 0)
    device = {
        "threads_per_block_limit": 1024, "threads_per_warp": 32,
        "shared_memory_per_block": BLOCK_SHARED, "shared_memory_per_block_optin": asked,
        "shared_memory_per_core": cores.shared, "threads_per_core_limit": cores.threads,
        "core_count": cores.multiprocessors, "fpus_per_core": cores.lanes,
        "block_dim_limit_x": 2**31 - 1, "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1, "registers_per_core_limit": 2**16,
        "registers_per_block_limit": 2**16, "l2_cache_size": cores.cache,
        "memory_bandwidth": int(chip.bandwidth), "clock_rate_ghz": cores.clock,
        "device_memory_size": int(chip.memory),
    }
    fields = " ".join(f"{name}: {value}" for name, value in device.items())
    return (f"gpu_device_info {{ {fields} cuda_compute_capability {{ major: {major} minor: "
            f'{minor} }} }} platform_name: "CUDA" device_description_str: "{chip.name}" '
            "dnn_version_info { major: 9 minor: 8 }")


def devices(chip: Chip, count: int) -> tuple[list[jax.Device], str]:
    """`count` of them, in hosts of equal size; or none, and why there is nothing to compile for."""
    if chip.cores is None:
        return [], f"{chip.name} is no GPU"
    if importlib.util.find_spec("jax_plugins") is None:
        return [], 'for GPUs, pip install -e ".[plan]"'
    each = max(n for n in range(1, chip.linked + 1) if count % n == 0)
    try:
        found = topologies.get_topology_desc(
            chip.name, "cuda", target_config=_description(chip, chip.cores),
            topology=f"1x{count // each}x{each}",
        )
    except Exception as error:  # jax and the plugin raise what they like
        return [], one_line(error)
    return list(found.devices), ""
