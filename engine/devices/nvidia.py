"""NVIDIA's driver and GPUs, as the driver's management library (NVML) sees them.

`python -m engine.devices.nvidia` emits a Row for each: a child, since a broken driver may take the
process along.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import pynvml

from engine.devices import diagnosis
from engine.devices.child import emit
from engine.devices.diagnosis import CAPABILITY, DRIVER, OLDEST_DRIVER, Machine, Row

BROKEN = "sudo nvidia-smi, sudo dmesg | grep -i nvrm; then reinstall NVIDIA's driver and reboot"
ADVICE = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: f"install NVIDIA's driver ({OLDEST_DRIVER[12]} or newer); "
                                         "a container needs --gpus all",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "reboot: the driver was updated and the old one is "
                                               "still loaded",
}


def main() -> None:
    emit(now="asking NVML for the GPUs")
    for row in rows(diagnosis.machine()):
        emit(row=row)


def rows(seen: Machine) -> list[Row]:
    """The driver and each GPU against what the installed CUDA plugins need."""
    try:
        pynvml.nvmlInit()
        driver, count = pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        if not seen.nvidia:
            return [Row(DRIVER, "ok", f"no NVIDIA GPU here: NVML: {error}")]
        told = f"NVML: {error}; the kernel's driver: {seen.driver or 'none'}"
        return [Row(DRIVER, "warning", told, ADVICE.get(error.value, BROKEN))]
    first = Row(DRIVER, "ok", driver)
    if old := diagnosis.too_old(driver, seen.cuda):
        first = Row(DRIVER, "warning", old, diagnosis.install(driver))
    elif not count:
        first = Row(DRIVER, "warning", f"{driver} sees no GPU", BROKEN)
    return [first, *(_card(i, seen.cuda) for i in range(count))]


def _card(index: int, cuda: list[int]) -> Row:
    """One GPU: the memory that others hold, and its compute capability."""
    def told(query: Callable[[Any], Any]) -> Any:
        """None where the card may not or can't answer, such as a MIG slice."""
        with contextlib.suppress(pynvml.NVMLError):
            return query(handle)

    name = f"GPU {index}"
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return Row(name, "warning", str(error), BROKEN)
    found = str(told(pynvml.nvmlDeviceGetName) or "an NVIDIA GPU")
    if memory := told(pynvml.nvmlDeviceGetMemoryInfo):
        found += f", {memory.free / 2**30:.1f} GiB free of {memory.total / 2**30:.1f}"
    if capability := told(pynvml.nvmlDeviceGetCudaComputeCapability):
        found += ", compute capability " + ".".join(map(str, capability))
        if short := [v for v in cuda if capability < CAPABILITY.get(v, (0, 0))]:
            return Row(name, "warning", f"{found}; CUDA {short[0]} needs more",
                       'pip install -e ".[cuda12]" reaches back to 5.2')
    if memory and memory.free < memory.total / 10:
        return Row(name, "warning", found, "nvidia-smi names the processes that hold its memory")
    return Row(name, "ok", found)


if __name__ == "__main__":
    main()
