"""engine.devices: each finding from known answers, and the whole report with a child that dies."""

import json
import os
import time

import jax
import numpy as np
import pytest
from test_nvidia import CPU, CUDA12, GPU, H200, in_process, statuses  # noqa: F401  # a fixture

import engine.sources
from engine.devices import child, diagnosis, doctor, nvidia, probe
from engine.devices.nvidia import Answer
from engine.errors import RequestError


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No data sets, a cache of the test's own, and no core files of children that die."""
    monkeypatch.setattr(engine.sources, "data_dir", lambda flag: tmp_path, raising=False)
    monkeypatch.setattr(engine.sources, "prepared", lambda path: ["cifar10"], raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


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
def test_a_gpu_that_is_missing_is_a_failure_with_what_to_type(capsys, in_process):  # noqa: F811
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
    for platform in ("cpu", "gpu", "tpu"):
        assert "relative error 0.5" in probe.disagreement(right * 1.5, right, platform)


def test_what_a_device_computes_is_compared():
    problem = probe.matrix_product(False)
    wrong = problem._replace(expected=1.5 * problem.expected)
    status, found, _ = probe.measure(wrong, jax.devices("cpu")[0])
    assert status == "failed" and found.startswith("wrong result")


@pytest.mark.parametrize("broken", [[], [0], [1]])
def test_all_devices_have_to_compute(monkeypatch, capsys, broken):
    monkeypatch.setattr(probe, "examine", lambda device: device.id not in broken)
    probe.main("cpu")
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told == {"computed": not broken} or len(jax.devices("cpu")) < 2


@pytest.mark.parametrize("broken", ["matrix product", "convolution"])
def test_a_device_has_to_compute_everything(monkeypatch, broken):
    monkeypatch.setattr(probe, "attempt", lambda problem, _: not problem.name.startswith(broken))
    assert not probe.examine(jax.devices("cpu")[0])


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
