"""engine.devices.nvidia: what NVML says, from known answers, and of a library that fails."""

import contextlib
import importlib
import io
import sys

import pynvml
import pytest

from engine.devices import child, diagnosis, nvidia
from engine.devices.nvidia import Answer, Card

GIB = 2**30
H200 = Answer("570.86.15", [Card("NVIDIA H200", 140 * GIB, 139 * GIB, "9.0")])
V100 = Card("Tesla V100-SXM2-16GB", 16 * GIB, GIB // 2, "7.0")
TWO = Answer("550.54.15", [V100, V100])
MIG = Answer("535.161.08", [Card("NVIDIA A100-SXM4-40GB")])
CUDA12 = 'pip install -e ".[cuda12]"'
CPU = diagnosis.Machine(nvidia=False, driver="", plugins=(), platforms="", cuda_visible=None)
GPU = CPU._replace(nvidia=True, driver="570.86.15", plugins=("jax-cuda12-plugin",))


@pytest.fixture
def in_process(monkeypatch):
    """Children that are calls: what a module emits is read as if a process had printed it."""

    def listen(name, *words, seconds):
        module, out = importlib.import_module(name), io.StringIO()
        with contextlib.redirect_stdout(out):
            module.main(*words)
        return child.read(out.getvalue(), "", 0, seconds)

    monkeypatch.setattr(child, "listen", listen)


def statuses(rows):
    return [row.status for row in rows]


def test_a_sound_gpu_is_ok():
    rows = nvidia.rows(H200, GPU, [12], "gpu")
    assert statuses(rows) == ["ok", "ok"]
    assert "139.0 GiB free of 140.0" in rows[1].found


@pytest.mark.parametrize(
    ("driver", "cuda", "status", "advice"),
    [
        ("525.60.13", 12, "ok", ""),
        ("580.65.06", 13, "ok", ""),
        ("470.82.01", 12, "failed", "update the driver to 525 or newer"),
        ("570.86.15", 13, "failed", f"{CUDA12}, or update the driver to 580 or newer"),
    ],
)
def test_the_driver_against_the_plugins_cuda(driver, cuda, status, advice):
    row = nvidia.driver_row(driver, [cuda], "gpu")
    assert (row.status, row.advice) == (status, advice)
    assert nvidia.driver_row(driver, [cuda], "auto").status in ("ok", "warning")


def test_a_gpu_without_a_plugin_gets_the_extra_for_its_driver():
    assert nvidia.driver_row("580.65.06", [], "gpu").advice == 'pip install -e ".[cuda13]"'
    assert nvidia.driver_row("580.65.06", [], "auto").status == "warning"
    assert nvidia.driver_row("580.65.06", [], "cpu").status == "ok"


class Library:
    """NVML behind the functions of pynvml: `cards` (name, (total, free), capability), or errors."""

    def __init__(self, monkeypatch, cards=(), init=None):
        self.cards, self.error = cards, init
        for name in ("Init", "SystemGetDriverVersion", "DeviceGetCount", "DeviceGetHandleByIndex",
                     "DeviceGetName", "DeviceGetMemoryInfo", "DeviceGetCudaComputeCapability"):
            monkeypatch.setattr(pynvml, f"nvml{name}", getattr(self, name))

    def Init(self):
        if self.error:
            raise pynvml.NVMLError(self.error)

    def SystemGetDriverVersion(self):
        return "570.86.15"

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


def test_what_the_library_says_arrives(monkeypatch, in_process):
    silent, forbidden = pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION
    Library(monkeypatch, [("NVIDIA H200", (140 * GIB, 139 * GIB), (9, 0)),
                          ("NVIDIA A100", forbidden, silent),
                          pynvml.NVML_ERROR_GPU_IS_LOST])  # fmt: skip
    answer = nvidia.hear()
    assert answer == Answer("570.86.15", [*H200.cards, Card("NVIDIA A100"),
                                          Card(fault="GPU is lost")])  # fmt: skip
    rows = nvidia.rows(answer, GPU, [12], "gpu")
    assert statuses(rows) == ["ok", "ok", "ok", "failed"]
    assert rows[-1].name == "GPU 2" and "reboot" in rows[-1].advice


@pytest.mark.parametrize(
    ("error", "words", "advice"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "is not installed", "--gpus all"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "version mismatch", "reboot: the driver was"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded", "reinstall NVIDIA's driver"),
        (None, "driver 570.86.15 sees no GPU", "reinstall NVIDIA's driver"),
    ],
)
def test_a_library_that_fails(monkeypatch, in_process, error, words, advice):
    Library(monkeypatch, init=error)
    answer = nvidia.hear()
    (row,) = nvidia.rows(answer, GPU._replace(driver=""), [12], "gpu")
    assert row.status == "failed" and words in row.found and advice in row.advice
    (row,) = nvidia.rows(answer, GPU._replace(driver=""), [12], "auto")
    assert row.status == "warning"
    (row,) = nvidia.rows(answer, CPU, [], "auto")
    assert row.status == "ok" and row.found.startswith("no NVIDIA GPU here: ") \
        and words in row.found  # fmt: skip


def test_the_kernels_word_serves_where_there_is_no_library(monkeypatch, in_process):
    Library(monkeypatch, init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    (row,) = nvidia.rows(nvidia.hear(), GPU, [12], "gpu")
    assert row.status == "ok" and "570.86.15" in row.found and "NVML" in row.found
    monkeypatch.setitem(sys.modules, "pynvml", None)
    (row,) = nvidia.rows(nvidia.hear(), GPU, [12], "gpu")
    assert row.status == "ok" and "(nvidia-ml-py is not installed)" in row.found


def test_a_library_that_takes_its_process_along(monkeypatch):
    monkeypatch.setattr(child, "command", lambda *words: ["sh", "-c", "kill -SEGV $$"])
    (row,) = nvidia.rows(nvidia.hear(), GPU, [12], "gpu")
    assert row.status == "failed" and "NVML: SIGSEGV" in row.found


def test_cards_that_are_full_too_old_or_sliced():
    assert statuses(nvidia.rows(TWO, GPU, [12], "gpu")) == ["ok", "warning", "warning"]
    row = nvidia.card_row(0, V100, [13], "gpu")
    assert row.status == "failed" and "CUDA 13 needs 7.5" in row.found
    assert statuses(nvidia.rows(MIG, GPU, [12], "gpu")) == ["ok", "ok"]
