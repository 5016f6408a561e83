"""engine.devices: each finding from known answers, and the whole report with a child that dies."""

import json
import os
import time

import jax
import numpy as np
import pytest
from test_nvidia import CPU, CUDA12, GPU

import engine.sources
from engine.command import doctor
from engine.devices import child, diagnosis, probe
from engine.devices.diagnosis import Row


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No data sets, a cache of the test's own, and no core files of children that die."""
    monkeypatch.setattr(engine.sources, "data_dir", lambda flag: tmp_path, raising=False)
    monkeypatch.setattr(engine.sources, "prepared", lambda path: ["cifar10"], raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_plugin_of_another_release_is_named_with_the_right_one():
    of = {"jax": "0.10.2", "jaxlib": "0.10.2", "libtpu": "0.0.30"}
    row = doctor.versions(CPU._replace(packages=of | {"jax-cuda12-plugin": "0.10.2.dev1"}))
    assert row.status == "ok" and "jax-cuda12-plugin 0.10.2.dev1" in row.found
    row = doctor.versions(CPU._replace(packages=of | {"jax-cuda12-plugin": "0.10.1",
                                                      "jax-cuda12-pjrt": "0.10.2"}))
    assert (row.status, row.advice) == ("warning", 'pip install "jax-cuda12-plugin==0.10.2"')


def test_two_cuda_plugins_at_once_are_a_warning():
    packages = {"jaxlib": "0.10.2", "jax-cuda12-plugin": "0.10.2", "jax-cuda13-plugin": "0.10.2"}
    row = doctor.versions(CPU._replace(packages=packages))
    assert (row.status, row.advice) == \
        ("warning", "pip uninstall jax-cuda12-plugin jax-cuda12-pjrt")


def test_libraries_that_shadow_the_wheels_are_found(tmp_path):
    (tmp_path / "libcudnn.so.8").write_text("")
    env = {"LD_LIBRARY_PATH": f"/nowhere::{tmp_path}"}
    (row,) = doctor.environment(env, GPU)
    assert row.status == "warning" and str(tmp_path) in row.found and "/nowhere" not in row.found
    assert not doctor.environment(env, CPU)


def test_variables_that_change_jax_are_named():
    env = {"XLA_FLAGS": "--xla_what", "JAX_ENABLE_X64": "1", "CUDA_VISIBLE_DEVICES": ""}
    (row,) = doctor.environment(env | {"HOME": "/"}, CPU)
    assert row.status == "warning"
    assert row.found == "CUDA_VISIBLE_DEVICES='', JAX_ENABLE_X64='1', XLA_FLAGS='--xla_what'"


def test_no_data_set_says_what_runs_without_one(monkeypatch):
    monkeypatch.setattr(engine.sources, "prepared", lambda path: [])
    row = doctor.data_sets("")
    assert row.status == "warning" and "--dataset digits" in row.advice


@pytest.mark.parametrize("status", [0, None, -6])
def test_findings_survive_noise_and_a_cut_off_line(status):
    out = '{"now": "a"}\nhello\n3\n{3}\n{"row": ["x", "ok", "y", ""]}\n{"row": ["z'
    rows, fault = child.read(out, "", status, 5)
    assert rows == [Row("x", "ok", "y")]
    assert ("while a" in fault) == (status != 0)


def test_last_words_skip_the_runtimes_chatter():
    err = "F0101 Check failed: no kernel\nI0000 00:0 stub.cc] hi\n*** SIGABRT ***\n  @  0x7f\n\n"
    assert child.last_words(err) == "F0101 Check failed: no kernel"


FOUND = """ulimit -c 0
echo '{"row": ["first", "ok", "fine", ""]}'
echo '{"now": "convolution on gpu:0"}'
"""


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("printf 'bad news' >&2; kill -ABRT $$", "Aborted while convolution on gpu:0: bad news"),
        ("echo odd >&2; exit 1", "exit status 1 while convolution on gpu:0: odd"),
        pytest.param("exec sleep 60", "no answer in 1 s while convolution on gpu:0",
                     marks=pytest.mark.slow),
    ],
)
def test_a_child_that_dies_leaves_the_report_whole(monkeypatch, capsys, shell, words):
    monkeypatch.setattr(child, "command", lambda *words: ["sh", "-c", FOUND + shell])
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(doctor, "NVML_SECONDS", 1.0)
    start = time.perf_counter()
    assert doctor.run("gpu", True, "") == 1
    assert time.perf_counter() - start < 9, "a child that hangs was not killed"
    report = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in report["rows"]}
    assert not report["ok"]
    assert rows["Python"]["found"] and rows["first"]["status"] == "ok"
    for name, status in (("child process", "failed"), ("NVIDIA driver", "warning")):
        assert rows[name]["status"] == status and words in rows[name]["found"]


def test_the_cpu_really_computes(capsys):
    assert doctor.run("cpu", True, "") == 0
    report = json.loads(capsys.readouterr().out)
    computed = [r for r in report["rows"] if "matrix" in r["name"] or "convol" in r["name"]]
    devices_here = 2 if "device_count=2" in os.environ.get("XLA_FLAGS", "") else 1
    assert report["ok"] and len(computed) == 2 * devices_here
    assert all(r["status"] == "ok" and "GFLOP/s" in r["found"] for r in computed)


@pytest.mark.slow
@pytest.mark.skipif(diagnosis.nvidia_visible(), reason="this machine has a GPU")
def test_a_gpu_that_is_missing_is_a_failure_with_what_to_type(capsys):
    assert doctor.run("gpu", False, "") == 1
    printed = capsys.readouterr().out
    assert f"failed   device: no NVIDIA GPU is visible and no GPU plugin is installed\n{'':9}" \
        f"install NVIDIA's driver, then {CUDA12}\n" in printed
    assert "--device gpu did NOT compute." in printed


@pytest.mark.parametrize("status", ["ok", "warning", "failed", "nothing"])
def test_only_what_stopped_the_device_fails(monkeypatch, capsys, status):
    """One device that failed among others that computed does; a warning of the driver doesn't."""
    computed = [Row("a", status, "x"), Row("b", "ok", "y")] if status != "nothing" else []
    monkeypatch.setattr(child, "listen", lambda module, *_, seconds: (
        (computed, "") if module.endswith("probe") else ([], "NVML: Unknown Error")))
    failed = status in ("failed", "nothing")
    assert doctor.run("gpu", True, "") == int(failed)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert ("failed" in [row["status"] for row in rows]) == failed


@pytest.fixture
def product():
    return probe.problems(False)[0]


def attempted(problem, device=None) -> Row:
    return probe.attempt("name", problem, device or jax.devices("cpu")[0])


def test_a_wrong_result_is_told_from_rounding(product, monkeypatch):
    """By what NumPy expects; a GPU and a TPU may round more."""
    for scale, words in ((1 + 1e-6, "GFLOP/s"), (1 + 3e-3, "relative error 0.003"), (1.5, "wrong"),
                         (np.nan, "wrong result: relative error nan")):
        row = attempted(product._replace(expected=product.expected * np.float32(scale)))
        assert words in row.found and row.status == ("ok" if words == "GFLOP/s" else "failed")
    monkeypatch.setattr(probe, "TOLERANCE", {})
    assert attempted(product._replace(expected=product.expected * 1.003)).status == "ok"
    assert attempted(product._replace(expected=product.expected * 1.5)).status == "failed"


def test_every_device_computes_everything(monkeypatch, capsys):
    tried = []
    monkeypatch.setattr(probe, "measure", lambda problem, device: str(tried.append((problem.name,
                                                                                    device.id))))
    probe.main("cpu")
    assert len(set(tried)) == len(tried) == 2 * len(jax.devices("cpu"))
    rows, fault = child.read(capsys.readouterr().out, "", 0, 1)
    assert not fault and len(rows) == 1 + 3 * len(jax.devices("cpu"))


def test_a_computation_that_raises_is_a_failed_row(product):
    def broken(x, y):
        raise RuntimeError("no\nkernel")

    row = attempted(product._replace(function=broken))
    assert row[1:3] == ("failed", "no kernel") and "--force-reinstall" in row.advice


def test_a_device_that_did_not_compute_itself_is_caught(product, monkeypatch):
    here = jax.devices("cpu")
    if len(here) < 2:
        pytest.skip("needs two devices")
    put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, device: put(x, here[0]))
    row = attempted(product, here[1])
    assert row.status == "failed" and "instead" in row.found
