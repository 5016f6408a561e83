"""engine.devices: each finding from known answers, and the whole report with a child that dies."""

import contextlib
import importlib
import io
import json
import os
import sys
import time

import jax
import numpy as np
import pynvml
import pytest

import engine.sources
from engine.devices import child, diagnosis, doctor, nvidia, probe
from engine.devices.nvidia import Answer, Card
from engine.errors import RequestError

GIB = 2**30
H200 = Answer("570.86.15", [Card("NVIDIA H200", 140 * GIB, 139 * GIB, "9.0")])
V100 = Card("Tesla V100-SXM2-16GB", 16 * GIB, GIB // 2, "7.0")
TWO = Answer("550.54.15", [V100, V100])
MIG = Answer("535.161.08", [Card("NVIDIA A100-SXM4-40GB")])
CUDA12 = 'pip install -e ".[cuda12]"'
CPU = diagnosis.Machine(nvidia=False, driver="", plugins=(), platforms="", cuda_visible=None)
GPU = CPU._replace(nvidia=True, driver="570.86.15", plugins=("jax-cuda12-plugin",))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No data sets, a cache of the test's own, and no core files of children that die."""
    monkeypatch.setattr(engine.sources, "data_dir", lambda flag: tmp_path, raising=False)
    monkeypatch.setattr(engine.sources, "prepared", lambda path: ["cifar10"], raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


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


@pytest.mark.parametrize(
    ("jax", "jaxlib", "status"),
    [
        ("0.10.2", "0.10.2", "ok"),
        ("0.12.0", "0.12.0.dev20260101", "ok"),
        ("0.10.2", "0.10.1", "warning"),
        ("0.10.1", "0.10.2", "failed"),
        ("0.11.0", "0.10.2", "failed"),
        ("0.13.0", "0.13.0", "warning"),
        ("0.10.2", "", "failed"),
    ],
)
def test_jax_and_jaxlib_are_of_one_release(jax, jaxlib, status):
    assert statuses(doctor.version_rows(jax, jaxlib, {}, "cpu")) == [status]


def test_a_plugin_of_another_release_is_named_with_the_right_one():
    packages = {"jax-cuda12-plugin": "0.10.1", "jax-cuda12-pjrt": "0.10.2", "libtpu": "0.0.30"}
    rows = {r.name: r for r in doctor.version_rows("0.10.2", "0.10.2", packages, "gpu")}
    assert rows["jax-cuda12-pjrt"].status == "ok"
    assert rows["jax-cuda12-plugin"].status == "failed"
    assert rows["jax-cuda12-plugin"].advice == 'pip install "jax-cuda12-plugin==0.10.2"'


def test_two_cuda_plugins_at_once_are_a_warning():
    packages = {"jax-cuda12-plugin": "0.10.2", "jax-cuda13-plugin": "0.10.2"}
    last = doctor.version_rows("0.10.2", "0.10.2", packages, "gpu")[-1]
    assert (last.status, last.advice) == ("warning", "pip uninstall jax-cuda12-plugin")
    assert diagnosis.cuda_majors(packages) == [12, 13]


def test_libraries_that_shadow_the_wheels_are_found(tmp_path):
    (tmp_path / "libcudnn.so.8").write_text("")
    env = {"LD_LIBRARY_PATH": f"/nowhere::{tmp_path}"}
    (row,) = doctor.environment_rows(env, GPU, "gpu")
    assert row.status == "warning" and str(tmp_path) in row.found and "/nowhere" not in row.found
    (row,) = doctor.environment_rows(env, CPU, "cpu")
    assert row.status == "ok"


def test_variables_that_change_jax_are_named():
    (row,) = doctor.environment_rows({"XLA_FLAGS": "--xla_what"}, CPU, "cpu")
    assert row.status == "warning" and "--xla_what" in row.found
    hidden = GPU._replace(cuda_visible="")
    assert statuses(doctor.environment_rows({}, hidden, "gpu")) == ["failed"]
    assert statuses(doctor.environment_rows({}, hidden, "cpu")) == ["ok"]


def test_no_data_set_says_what_runs_without_one(monkeypatch):
    monkeypatch.setattr(engine.sources, "prepared", lambda path: [])
    row = doctor.data_row("")
    assert row.status == "warning" and "--dataset digits" in row.advice


@pytest.mark.parametrize("status", [0, None, -6])
def test_findings_survive_noise_and_a_cut_off_line(status):
    out = '{"now": "a"}\nhello\n3\n{"row": ["x", "ok", "y", ""]}\n{"computed": true}\n{"row": ["z'
    told = child.read(out, "", status, 5)
    assert told.findings == [{"now": "a"}, {"row": ["x", "ok", "y", ""]}, {"computed": True}]
    assert ("while a" in told.fault) == (status != 0)


def test_last_words_skip_the_runtimes_chatter():
    err = "F0101 Check failed: no kernel\nI0000 00:0 stub.cc] hi\n*** SIGABRT ***\n  @  0x7f\n\n"
    assert child.last_words(err) == "F0101 Check failed: no kernel"


FOUND = """ulimit -c 0
echo '{"row": ["first", "ok", "fine", ""]}'
echo '{"computed": true}'
echo '{"now": "convolution on gpu:0"}'
"""


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("printf 'bad news' >&2; kill -ABRT $$", "SIGABRT while convolution on gpu:0: bad news"),
        ("echo odd >&2; exit 1", "exit status 1 while convolution on gpu:0: odd"),
        ("exec sleep 60", "no answer in 1 s while convolution on gpu:0"),
    ],
)
def test_a_child_that_dies_leaves_the_report_whole(monkeypatch, capsys, shell, words):
    monkeypatch.setattr(child, "command", lambda *words: ["sh", "-c", FOUND + shell])
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(nvidia, "hear", lambda: H200)
    start = time.perf_counter()
    assert doctor.run("gpu", True, "") == 1
    assert time.perf_counter() - start < 9, "a child that hangs was not killed"
    report = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in report["rows"]}
    assert not report["ok"]
    assert rows["Python"]["found"] and rows["first"]["status"] == "ok"
    assert rows["child process"]["status"] == "failed"
    assert words in rows["child process"]["found"]


def test_the_cpu_really_computes(capsys):
    assert doctor.run("cpu", True, "") == 0
    report = json.loads(capsys.readouterr().out)
    computed = [r for r in report["rows"] if "matrix" in r["name"] or "convol" in r["name"]]
    devices_here = 2 if "device_count=2" in os.environ.get("XLA_FLAGS", "") else 1
    assert report["ok"] and len(computed) == 2 * devices_here
    assert all(r["status"] == "ok" and "GFLOP/s" in r["found"] for r in computed)


@pytest.mark.skipif(diagnosis.nvidia_visible(), reason="this machine has a GPU")
def test_a_gpu_that_is_missing_is_a_failure_with_what_to_type(capsys, in_process):
    assert doctor.run("gpu", False, "") == 1
    printed = capsys.readouterr().out
    assert f"device: install NVIDIA's driver, then {CUDA12}" in printed
    assert "--device gpu did NOT compute." in printed


def test_an_unknown_device_is_a_request_error():
    with pytest.raises(RequestError, match="unknown device 'cuda'"):
        doctor.run("cuda", False, "")


def test_a_fault_that_stopped_nothing_is_a_warning(monkeypatch, capsys):
    monkeypatch.setattr(nvidia, "hear", lambda: Answer(fault="NVML: Unknown Error"))
    monkeypatch.setattr(doctor, "probe_rows", lambda device: ([], True))
    assert doctor.run("gpu", True, "") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert "failed" not in [row["status"] for row in rows]


def test_a_wrong_result_is_told_from_rounding():
    right = np.ones((4, 4), np.float32)
    assert probe.disagreement(right * (1 + 1e-6), right, "cpu") == ""
    assert probe.disagreement(right * (1 + 3e-3), right, "tpu") == ""
    assert "wrong result" in probe.disagreement(right * (1 + 3e-3), right, "cpu")
    assert "wrong result" in probe.disagreement(right * np.nan, right, "cpu")


def test_a_computation_that_raises_is_a_failed_row(capsys):
    def broken(x, y):
        raise RuntimeError("no\nkernel")

    problem = probe.matrix_product(False)._replace(function=broken)
    assert not probe.attempt(problem, jax.devices("cpu")[0])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])["row"]
    assert row[1:3] == ["failed", "no kernel"]


def test_a_device_that_did_not_compute_itself_is_caught(monkeypatch):
    here = jax.devices("cpu")
    if len(here) < 2:
        pytest.skip("needs two devices")
    put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, device: put(x, here[0]))
    status, found, _ = probe.measure(probe.matrix_product(False), here[1])
    assert status == "failed" and "instead" in found
