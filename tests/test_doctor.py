"""engine.doctor: each finding from recorded text, and the whole report with a child that dies."""

import json
import os
import sys
import time

import jax
import numpy as np
import pytest

import engine.sources
from engine.devices import choose as devices
from engine.devices import doctor
from engine.devices import probe as doctor_probe
from engine.devices.doctor import Output
from engine.errors import RequestError

H200 = Output(0, "NVIDIA H200, 570.86.15, 143771, 143188, 9.0\n")
TWO = Output(0, "Tesla V100-SXM2-16GB, 550.54.15, 16384, 512, 7.0\n" * 2)
MIG = Output(0, "NVIDIA A100-SXM4-40GB, 535.161.08, [N/A], [Insufficient Permissions], 8.0\n")
CUDA12 = 'pip install -e ".[cuda12]"'
ABSENT = Output(None, "nvidia-smi is not installed")
MISMATCH = Output(18, "Failed to initialize NVML: Driver/library version mismatch\n")
SILENT = Output(
    9,
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that "
    "the latest NVIDIA driver is installed and running.\n",
)
CPU = devices.Machine(nvidia=False, driver="", plugins=(), platforms="", cuda_visible=None)
GPU = CPU._replace(nvidia=True, driver="570.86.15", plugins=("jax-cuda12-plugin",))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No data sets, a cache of the test's own, and no core files of children that die."""
    monkeypatch.setattr(engine.sources, "data_dir", lambda flag: tmp_path, raising=False)
    monkeypatch.setattr(engine.sources, "prepared", lambda path: ["cifar10"], raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


def statuses(rows):
    return [row.status for row in rows]


def test_a_sound_gpu_is_ok():
    rows = doctor.nvidia_rows(H200, GPU, [12], "gpu")
    assert statuses(rows) == ["ok", "ok"]
    assert "139.8 GiB free of 140.4" in rows[1].found


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
    row = doctor.driver_row(driver, [cuda], "gpu")
    assert (row.status, row.advice) == (status, advice)
    assert doctor.driver_row(driver, [cuda], "auto").status in ("ok", "warning")


def test_a_gpu_without_a_plugin_gets_the_extra_for_its_driver():
    assert doctor.driver_row("580.65.06", [], "gpu").advice == 'pip install -e ".[cuda13]"'
    assert doctor.driver_row("580.65.06", [], "auto").status == "warning"
    assert doctor.driver_row("580.65.06", [], "cpu").status == "ok"


@pytest.mark.parametrize(
    ("smi", "advice"),
    [(ABSENT, "--gpus all"), (MISMATCH, "reboot"), (SILENT, "reinstall NVIDIA's driver")],
)
def test_nvidia_smi_that_fails(smi, advice):
    (row,) = doctor.nvidia_rows(smi, GPU._replace(driver=""), [12], "gpu")
    assert row.status == "failed" and advice in row.advice
    (row,) = doctor.nvidia_rows(smi, CPU, [], "auto")
    assert row.status == "ok"


def test_the_kernels_word_serves_where_nvidia_smi_is_missing():
    (row,) = doctor.nvidia_rows(ABSENT, GPU, [12], "gpu")
    assert row.status == "ok" and "570.86.15" in row.found


def test_cards_that_are_full_too_old_or_sliced():
    assert statuses(doctor.nvidia_rows(TWO, GPU, [12], "gpu")) == ["ok", "warning", "warning"]
    row = doctor._card_row(0, doctor._fields(TWO.text.splitlines()[0]), [13], "gpu")
    assert row.status == "failed" and "CUDA 13 needs 7.5" in row.found
    assert statuses(doctor.nvidia_rows(MIG, GPU, [12], "gpu")) == ["ok", "ok"]


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
    assert doctor.cuda_majors(packages) == [12, 13]


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
    probe = doctor.read_findings(out, "", status)
    assert probe.rows[0] == doctor.Row("x", "ok", "y")
    assert probe.computed == (status == 0)
    assert (len(probe.rows) == 2) == (status != 0)


def test_last_words_skip_the_runtimes_chatter():
    err = "F0101 Check failed: no kernel\nI0000 00:0 stub.cc] hi\n*** SIGABRT ***\n  @  0x7f\n\n"
    assert doctor.last_words(err) == "F0101 Check failed: no kernel"


def _child(code: str):
    start = "import os, resource, time; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    found = 'print(\'{"row": ["first", "ok", "fine", ""]}\', flush=True)\n'
    now = 'print(\'{"now": "convolution on gpu:0"}\', flush=True)\n'
    return lambda device: [sys.executable, "-c", start + found + now + code]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.write(2, b'bad news'); os.abort()", "SIGABRT while convolution on gpu:0: bad news"),
        ("raise ValueError('odd')", "exit status 1 while convolution on gpu:0: ValueError: odd"),
        ("time.sleep(60)", "no answer in 5 s while convolution on gpu:0"),
    ],
)
def test_a_child_that_dies_leaves_the_report_whole(monkeypatch, capsys, code, words):
    monkeypatch.setattr(doctor, "probe_command", _child(code))
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 5.0)  # time to start on a busy machine
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


@pytest.mark.skipif(devices.nvidia_visible(), reason="this machine has a GPU")
def test_a_gpu_that_is_missing_is_a_failure_with_what_to_type(capsys):
    assert doctor.run("gpu", False, "") == 1
    printed = capsys.readouterr().out
    assert f"device: install NVIDIA's driver, then {CUDA12}" in printed
    assert "--device gpu did NOT compute." in printed


def test_an_unknown_device_is_a_request_error():
    with pytest.raises(RequestError, match="unknown device 'cuda'"):
        doctor.run("cuda", False, "")


def test_a_fault_that_stopped_nothing_is_a_warning(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "nvidia_smi", lambda: SILENT)
    monkeypatch.setattr(doctor, "examine", lambda device: doctor.Probe([], True))
    assert doctor.run("gpu", True, "") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert "failed" not in [row["status"] for row in rows]


def test_a_wrong_result_is_told_from_rounding():
    right = np.ones((4, 4), np.float32)
    assert doctor_probe.disagreement(right * (1 + 1e-6), right, "cpu") == ""
    assert doctor_probe.disagreement(right * (1 + 3e-3), right, "tpu") == ""
    assert "wrong result" in doctor_probe.disagreement(right * (1 + 3e-3), right, "cpu")
    assert "wrong result" in doctor_probe.disagreement(right * np.nan, right, "cpu")


def test_a_computation_that_raises_is_a_failed_row(capsys):
    def broken(x, y):
        raise RuntimeError("no\nkernel")

    problem = doctor_probe.matrix_product(False)._replace(function=broken)
    assert not doctor_probe.attempt(problem, jax.devices("cpu")[0])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])["row"]
    assert row[1:3] == ["failed", "no kernel"]


def test_a_device_that_did_not_compute_itself_is_caught(monkeypatch):
    here = jax.devices("cpu")
    if len(here) < 2:
        pytest.skip("needs two devices")
    put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, device: put(x, here[0]))
    status, found, _ = doctor_probe.measure(doctor_probe.matrix_product(False), here[1])
    assert status == "failed" and "instead" in found
