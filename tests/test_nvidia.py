"""engine.devices.nvidia: what NVML says, from known answers, and of a library that fails."""

import pynvml
import pytest

from engine.devices import diagnosis, nvidia

GIB = 2**30
H200 = ("NVIDIA H200", (140 * GIB, 139 * GIB), (9, 0))
V100 = ("Tesla V100-SXM2-16GB", (16 * GIB, GIB // 2), (7, 0))
CUDA12 = 'pip install -e ".[cuda12]"'
CPU = diagnosis.Machine()
GPU = CPU._replace(nvidia=True, driver="570.86.15", packages={"jax-cuda12-plugin": "0.10.2"})
GPU13 = GPU._replace(packages={"jax-cuda13-plugin": "0.10.2"})


def statuses(rows):
    return [row.status for row in rows]


class Library:
    """NVML behind the functions of pynvml: `cards` (name, (total, free), capability), or errors."""

    def __init__(self, monkeypatch, cards=(), init=None, driver="570.86.15"):
        self.cards, self.error, self.driver = cards, init, driver
        for name in ("Init", "SystemGetDriverVersion", "DeviceGetCount", "DeviceGetHandleByIndex",
                     "DeviceGetName", "DeviceGetMemoryInfo", "DeviceGetCudaComputeCapability"):
            monkeypatch.setattr(pynvml, f"nvml{name}", getattr(self, name))

    def Init(self):
        if self.error:
            raise pynvml.NVMLError(self.error)

    def SystemGetDriverVersion(self):
        return self.driver

    def DeviceGetCount(self):
        return len(self.cards)

    def DeviceGetHandleByIndex(self, index):
        return self._known(self.cards[index])

    def DeviceGetName(self, card):
        return self._known(card[0])

    def DeviceGetMemoryInfo(self, card):
        total, free = self._known(card[1])
        memory = pynvml.c_nvmlMemory_t()
        memory.total, memory.free = total, free
        return memory

    def DeviceGetCudaComputeCapability(self, card):
        return self._known(card[2])

    def _known(self, found):
        if isinstance(found, int):
            raise pynvml.NVMLError(found)
        return found


def test_a_sound_gpu_is_ok(monkeypatch):
    Library(monkeypatch, [H200])
    rows = nvidia.rows(GPU)
    assert statuses(rows) == ["ok", "ok"]
    assert "139.0 GiB free of 140.0" in rows[1].found and "capability 9.0" in rows[1].found


@pytest.mark.parametrize(
    ("driver", "cuda", "status", "advice"),
    [
        ("525.60.13", 12, "ok", ""),
        ("580.65.06", 13, "ok", ""),
        ("470.82.01", 12, "warning", "update the NVIDIA driver to 525 or newer"),
        ("570.86.15", 13, "warning", CUDA12),
    ],
)
def test_the_driver_against_the_plugins_cuda(monkeypatch, driver, cuda, status, advice):
    Library(monkeypatch, [H200], driver=driver)
    row, _ = nvidia.rows(GPU._replace(packages={f"jax-cuda{cuda}-plugin": "0.10.2"}))
    assert (row.status, row.advice) == (status, advice)


def test_a_card_that_is_lost_or_silent(monkeypatch):
    silent, forbidden = pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION
    Library(monkeypatch, [H200, ("NVIDIA A100", forbidden, silent), (silent, silent, silent),
                          pynvml.NVML_ERROR_GPU_IS_LOST])
    rows = nvidia.rows(GPU)
    assert statuses(rows) == ["ok", "ok", "ok", "ok", "warning"]
    assert [row.found for row in rows[2:]] == ["NVIDIA A100", "an NVIDIA GPU", "GPU is lost"]
    assert rows[-1].name == "GPU 3" and "reboot" in rows[-1].advice


@pytest.mark.parametrize(
    ("error", "words", "advice"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "Not Found; the kernel's driver: 570", "--gpus all"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "version mismatch", "reboot: the driver was"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded", "reinstall NVIDIA's driver"),
        (None, "570.86.15 sees no GPU", "reinstall NVIDIA's driver"),
    ],
)
def test_a_library_that_fails(monkeypatch, error, words, advice):
    Library(monkeypatch, init=error)
    (row,) = nvidia.rows(GPU)
    assert row.status == "warning" and words in row.found and advice in row.advice
    (row,) = nvidia.rows(CPU)
    assert row.status == ("ok" if error else "warning")


def test_cards_that_are_full_or_too_old(monkeypatch):
    Library(monkeypatch, [V100, V100])
    assert statuses(nvidia.rows(GPU)) == ["ok", "warning", "warning"]
    row = nvidia.rows(GPU13)[1]
    assert row.status == "warning" and "CUDA 13 needs more" in row.found and CUDA12 in row.advice
