"""GPUs that aren't here, to compile for: XLA's own compiler needs their description alone.

It comes with jax's CUDA plugin, `pip install -e ".[plan]"`, which needs no GPU and no driver.
"""

import importlib.util

import jax
from jax.experimental import topologies

from engine.errors import one_line
from engine.plan.chips import Chip

LINKED = 8  # GPUs of a host at most


def _description(chip: Chip) -> str:
    """XLA's GpuTargetConfigProto, as text."""
    major, minor = chip.capability
    asked = chip.shared - (1 << 10 if major >= 8 else 0)  # a part is reserved from there on
    return f"""
        gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32
          shared_memory_per_block: {48 << 10} shared_memory_per_block_optin: {asked}
          shared_memory_per_core: {chip.shared} threads_per_core_limit: {chip.threads}
          core_count: {chip.multiprocessors} fpus_per_core: {chip.lanes}
          block_dim_limit_x: {2**31 - 1} block_dim_limit_y: 65535 block_dim_limit_z: 65535
          registers_per_core_limit: 65536 registers_per_block_limit: 65536
          l2_cache_size: {chip.cache} clock_rate_ghz: {chip.clock}
          memory_bandwidth: {int(chip.bandwidth)} device_memory_size: {int(chip.memory)}
          cuda_compute_capability {{ major: {major} minor: {minor} }}
          driver_version: "13.0.0" runtime_version: "12.9.0" }}
        platform_name: "CUDA" device_description_str: "{chip.name}"
        dnn_version_info {{ major: 9 minor: 8 }}"""


def devices(chip: Chip, count: int) -> tuple[list[jax.Device], str]:
    """`count` of them, in hosts of equal size; or none, and why there is nothing to compile for."""
    if not chip.multiprocessors:
        return [], f"{chip.name} is no GPU"
    if importlib.util.find_spec("jax_plugins") is None:
        return [], 'for GPUs, pip install -e ".[plan]"'
    each = max(n for n in range(1, LINKED + 1) if count % n == 0)
    try:
        return list(topologies.get_topology_desc(
            chip.name, "cuda", target_config=_description(chip),
            topology=f"1x{count // each}x{each}",
        ).devices), ""
    except Exception as error:  # jax and the plugin raise what they like
        return [], one_line(error)
