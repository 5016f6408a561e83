"""NVIDIA's driver and GPUs, as its management library (NVML) sees them, and what CUDA needs.

`python -m engine.devices.nvidia` asks the library and emits an Answer: a child, since a broken
driver may take the process along.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from engine.devices import child, diagnosis
from engine.devices.diagnosis import Machine, Row

SECONDS = 20.0
OLDEST_CAPABILITY = {12: 5.2, 13: 7.5}
_DRIVER = "NVIDIA driver"
_NO_DRIVER = (
    f"install NVIDIA's driver ({diagnosis.OLDEST_DRIVER[12]} or newer); "
    "a container needs --gpus all"
)
_STALE = "reboot: the driver was updated and the old one is still loaded"
_BROKEN = "sudo nvidia-smi, sudo dmesg | grep -i nvrm; then reinstall NVIDIA's driver and reboot"


class Card(NamedTuple):
    """One GPU, its memory in bytes; a MIG slice keeps some of it to itself. `fault`: it is lost."""

    model: str = ""
    total: int | None = None
    free: int | None = None
    capability: str = ""
    fault: str = ""


class Answer(NamedTuple):
    """The driver's version and the GPUs; or why there are none, with `absent`: nothing to ask."""

    driver: str = ""
    cards: Sequence[Card] = ()
    fault: str = ""
    advice: str = ""
    absent: bool = False


def main() -> None:
    """Ask, as a child."""
    child.emit(now="asking for the GPUs")
    child.emit(**ask()._asdict())


def hear() -> Answer:
    """What the library says to a child."""
    told = child.listen(__name__, seconds=SECONDS)
    if told.fault:
        return Answer(fault=f"NVML: {told.fault}", advice=_BROKEN)
    answer = Answer(**told.findings[-1])
    return answer._replace(cards=[Card(*card) for card in answer.cards])


def ask() -> Answer:
    """What the library says to this process."""
    try:
        import pynvml
    except ImportError:
        advice = 'pip install -e "."'
        return Answer(fault="nvidia-ml-py is not installed", advice=advice, absent=True)
    try:
        pynvml.nvmlInit()
        driver = pynvml.nvmlSystemGetDriverVersion()
        cards = [_card(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError_LibraryNotFound:
        return Answer(fault="NVML (libnvidia-ml.so.1) is not installed", advice=_NO_DRIVER,
                      absent=True)  # fmt: skip
    except pynvml.NVMLError as error:
        stale = isinstance(error, pynvml.NVMLError_LibRmVersionMismatch)
        return Answer(fault=f"NVML: {error}", advice=_STALE if stale else _BROKEN)
    if not cards:
        return Answer(fault=f"driver {driver} sees no GPU", advice=_BROKEN)
    return Answer(driver, cards)


def _card(pynvml: Any, index: int) -> Card:
    def told(query: Callable[[Any], Any]) -> Any:
        """What the card answers, or None where it may not or can't."""
        with contextlib.suppress(pynvml.NVMLError):
            return query(handle)

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return Card(fault=str(error))
    memory = told(pynvml.nvmlDeviceGetMemoryInfo)
    capability = told(pynvml.nvmlDeviceGetCudaComputeCapability) or ()
    return Card(
        model=told(pynvml.nvmlDeviceGetName) or "an NVIDIA GPU",
        total=memory and memory.total,
        free=memory and memory.free,
        capability=".".join(map(str, capability)),
    )


def rows(answer: Answer, seen: Machine, majors: list[int], device: str) -> list[Row]:
    """The driver and each GPU against what the CUDA plugins of these versions need."""
    if not answer.fault:
        gpus = [card_row(i, card, majors, device) for i, card in enumerate(answer.cards)]
        return [driver_row(answer.driver, majors, device), *gpus]
    if answer.absent and seen.driver:  # the kernel's word serves
        row = driver_row(seen.driver, majors, device)
        return [row._replace(found=f"{row.found} ({answer.fault})")]
    if device != "gpu" and not seen.nvidia:
        return [Row(_DRIVER, "ok", f"no NVIDIA GPU here: {answer.fault}")]
    return [Row(_DRIVER, diagnosis.fault(device), answer.fault, answer.advice)]


def driver_row(driver: str, majors: list[int], device: str) -> Row:
    """The driver's version against what the installed plugins' CUDA needs."""
    if not majors:
        advice = diagnosis.install_advice(driver)
        found = f"{driver}, but no CUDA plugin is installed"
        return Row(_DRIVER, diagnosis.fault(device) if device != "cpu" else "ok", found, advice)
    release = diagnosis.release(driver)
    if not release:
        return Row(_DRIVER, "warning", f"version unknown: {driver!r}", "nvidia-smi")
    for cuda in majors:
        oldest = diagnosis.OLDEST_DRIVER.get(cuda, 0)
        if release[0] < oldest:
            found = f"{driver} is too old for CUDA {cuda}, which needs {oldest} or newer"
            return Row(_DRIVER, diagnosis.fault(device), found, _driver_advice(driver, cuda))
    return Row(_DRIVER, "ok", f"{driver}, new enough for CUDA {', '.join(map(str, majors))}")


def _driver_advice(driver: str, cuda: int) -> str:
    update = f"update the driver to {diagnosis.OLDEST_DRIVER[cuda]} or newer"
    extra = diagnosis.suited_extra(driver)
    return f'pip install -e ".[{extra}]", or {update}' if extra else update


def card_row(index: int, card: Card, majors: list[int], device: str) -> Row:
    """One GPU: the memory that others hold, and its compute capability."""
    name, found = f"GPU {index}", f"{card.model}, compute capability {card.capability or 'unknown'}"
    if card.fault:
        return Row(name, diagnosis.fault(device), card.fault, _BROKEN)
    if card.total and card.free is not None:
        found += f", {card.free / 2**30:.1f} GiB free of {card.total / 2**30:.1f}"
    oldest = max((OLDEST_CAPABILITY.get(cuda, 0.0) for cuda in majors), default=0.0)
    if card.capability and float(card.capability) < oldest:
        advice = 'pip install -e ".[cuda12]" reaches back to 5.2'
        found = f"{found}; CUDA {max(majors)} needs {oldest}"
        return Row(name, diagnosis.fault(device), found, advice)
    if card.total and card.free is not None and card.free < card.total / 10:
        return Row(name, "warning", found, "nvidia-smi names the processes that hold its memory")
    return Row(name, "ok", found)


if __name__ == "__main__":
    main()
