"""engine.devices: the right device or words on why not, never a silent substitute."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from conftest import ROOT

from engine.devices import choose, diagnosis
from engine.disk import caches
from engine.errors import RequestError

BARE = diagnosis.Machine()
PLUGIN = BARE._replace(packages={"jax-cuda12-plugin": "0.10.2"})
OPEN_MODULE = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder)
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""
CPUINFO = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: AMD EPYC\nflags\t\t: fpu\n"


CHIP_ON_FIRE = """
from jax._src import xla_bridge
def fail():
    print("chip on fire", flush=True)
    raise RuntimeError("chip on fire")
def initialize():
    xla_bridge.register_backend_factory("odd", fail, priority=500, fail_quietly=False)
"""
# What needs a jax that hasn't started: name → (JAX_PLATFORMS, a plugin's module, what to do).
FRESH = {
    "auto": ("", "", "print(choose.choose('auto').reason)"),
    "hidden": ("cpu", "", "choose.choose('gpu')"),
    "no device, auto": ("cuda", "", "choose.choose('auto')"),
    "no device, cpu": ("cuda", "", "choose.choose('cpu')"),
    "plugin": (
        "",
        "def initialize(): raise RuntimeError('no such chip')",
        "diagnosis.jax_packages = lambda: {'jax-cuda12-plugin': '0'}\n"
        "diagnosis.nvidia_visible = lambda: True\n"
        "print(choose.choose('auto').reason)",
    ),
    "backend, auto": ("", CHIP_ON_FIRE, "print(choose.choose('auto'))"),
    "backend, cpu": ("", CHIP_ON_FIRE, "print(choose.choose('cpu'))"),
    "compiled": (
        "",
        "",
        "os.environ['JAX_COMPILATION_CACHE_DIR'] = str(folder / 'a/compiled')\n"
        "caches.use_compile_cache(True)\n"
        "jax.jit(lambda x: x * 3 + 1)(2.0)",
    ),
}
# One import of jax serves all: each is done in a fork, of a process that has started no platform.
FORKS = """
import json, os, sys, traceback
from pathlib import Path
from engine.devices import choose, diagnosis
from engine.command import doctor
top, cases = Path(sys.argv[1]), json.load(sys.stdin)
(top / "modules").write_text(" ".join(sys.modules))
(top / "jax_plugins").mkdir()  # jax looks for the package when it is imported
sys.path.insert(0, str(top))
import jax
from engine.disk import caches
for name, (platforms, plugin, code) in cases.items():
    folder = top / name
    (folder / "jax_plugins/broken").mkdir(parents=True)
    if plugin:
        (folder / "jax_plugins/broken/__init__.py").write_text(plugin)
        sys.path.insert(0, str(folder))
    if not os.fork():
        for number in (1, 2):
            os.dup2(os.open(folder / str(number), os.O_CREAT | os.O_WRONLY), number)
        os.environ["JAX_PLATFORMS"] = platforms
        jax.config.update("jax_platforms", platforms)
        try:
            exec(code)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.wait()
    sys.path[:] = [path for path in sys.path if path != str(folder)]
import engine.run
(top / "run").write_text(" ".join(sys.modules))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The folder of what each of FRESH printed (1, 2) and made."""
    top = tmp_path_factory.mktemp("fresh")
    clean = {k: v for k, v in os.environ.items() if k not in ("JAX_PLATFORMS", "XLA_FLAGS")}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS, top], cwd=ROOT, env=clean,
                          input=json.dumps(FRESH), capture_output=True, text=True,
                          timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return top


def printed(folder: Path) -> tuple[str, str]:
    return (folder / "1").read_text(), (folder / "2").read_text()


def test_importing_devices_and_doctor_does_not_import_jax(fresh):
    modules = (fresh / "modules").read_text().split()
    assert "engine.command.doctor" in modules
    assert not {"jax", "numpy", "rich", "tensorflow_datasets", "pynvml"} & set(modules)


def test_what_a_run_needs_late_is_not_imported_at_its_start(fresh):
    modules = (fresh / "run").read_text().split()
    assert "engine.run" in modules
    late = {"orbax.checkpoint", "sklearn", "scipy.stats", "pandas", "matplotlib", "flax.nnx"}
    assert not late & set(modules)


def test_cpu_is_given_with_its_reason():
    choice = choose.choose("cpu")
    assert choice.device.platform == "cpu"
    assert choice.reason == "cpu: asked for with --device cpu"


needs_no_gpu = pytest.mark.skipif(diagnosis.nvidia_visible(), reason="this machine has a GPU")


@needs_no_gpu
def test_gpu_where_there_is_none_is_refused_with_what_to_type():
    with pytest.raises(RequestError) as raised:
        choose.choose("gpu")
    assert "GPU" in str(raised.value)
    assert "python launch.py doctor --device gpu" in str(raised.value)


@needs_no_gpu
def test_auto_takes_the_cpu_and_says_why(fresh):
    out, err = printed(fresh / "auto")
    assert re.match(r"cpu: .*GPU.*\(.+\)", out), err


def test_jax_platforms_that_hide_the_gpu_are_named(fresh):
    _, err = printed(fresh / "hidden")
    assert "JAX_PLATFORMS='cpu' hides every GPU" in err and "unset JAX_PLATFORMS" in err


@needs_no_gpu
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_jax_platforms_that_leave_no_device_are_a_request_error(device, fresh):
    _, err = printed(fresh / f"no device, {device}")
    assert "RequestError: --device" in err
    assert "JAX_PLATFORMS='cuda'" in err and "unset JAX_PLATFORMS" in err


def test_a_plugin_that_fails_to_start_gives_its_own_words_and_no_traceback(fresh):
    """A jax plugin whose initialize() raises: the CPU is taken, its words are the reason."""
    out, err = printed(fresh / "plugin")
    assert "jax sees no GPU: no such chip" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(("device", "started"), [("auto", True), ("cpu", False)])
def test_a_backend_that_fails_to_start_leaves_the_cpu(device, started, fresh):
    """auto survives it; --device cpu never starts it, nor takes a GPU's memory by starting one."""
    out, err = printed(fresh / f"backend, {device}")
    assert "CpuDevice" in out, err
    assert ("chip on fire" in out) == started
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("seen", "found", "advice"),
    [
        (BARE, "no NVIDIA GPU is visible and no GPU plugin", '".[cuda12]"'),
        (BARE._replace(nvidia=True, driver="580.65.06"), "is there, but no GPU pl", '".[cuda13]"'),
        (BARE._replace(nvidia=True, driver="550.54.15"), "is there, but no GPU pl", '".[cuda12]"'),
        (BARE._replace(nvidia=True, driver="470.82"), "is there, but no GPU pl", "update the NV"),
        (PLUGIN, "jax-cuda12-plugin is installed, but no NVIDIA GPU", "--gpus all"),
        (PLUGIN._replace(nvidia=True, driver="470.82.01"), "470.82.01 is too old", "to 525 or new"),
        (PLUGIN._replace(nvidia=True, driver="550.54"), "jax sees no GPU: WORDS", "--device gpu"),
        (PLUGIN._replace(nvidia=True, platforms="cpu"), "JAX_PLATFORMS='cpu'", "unset JAX_PLAT"),
        (PLUGIN._replace(nvidia=True, cuda_visible=""), "CUDA_VISIBLE_DEVICES=''", "unset CUDA"),
        (PLUGIN._replace(nvidia=True, cuda_visible="-1"), "CUDA_VISIBLE_DEVICES='-1'", "unset"),
    ],
)
def test_why_there_is_no_gpu(seen, found, advice):
    why = diagnosis.why_none("gpu", seen, "WORDS")
    assert found in why.found
    assert advice in why.advice


@pytest.mark.parametrize(
    ("name", "seen", "found", "advice"),
    [
        ("tpu", PLUGIN, "no TPU plugin is installed", '".[tpu]"'),
        ("tpu", BARE._replace(packages={"libtpu": "0"}), "jax sees no TPU: WORDS", "--device tpu"),
        ("tpu", BARE._replace(platforms="cpu"), "JAX_PLATFORMS='cpu' hides every TPU", "unset JAX"),
        ("cpu", BARE._replace(platforms="cuda"), "JAX_PLATFORMS='cuda' hides", "unset JAX"),
    ],
)
def test_why_there_is_no_other_device(name, seen, found, advice):
    why = diagnosis.why_none(name, seen, "WORDS")
    assert found in why.found and advice in why.advice


@pytest.mark.parametrize("platforms", ["cuda", "cuda,cpu", "gpu", "cpu, cuda", ""])
def test_platforms_that_allow_a_gpu_do_not_hide_it(platforms):
    seen = BARE._replace(platforms=platforms, cuda_visible="0,1")
    assert "hides" not in diagnosis.why_none("gpu", seen, "").found


def test_the_kernel_drivers_version_is_read(tmp_path):
    (tmp_path / "version").write_text(OPEN_MODULE)
    assert diagnosis.kernel_driver(str(tmp_path / "version")) == "570.86.15"
    assert diagnosis.kernel_driver(str(tmp_path / "none")) == ""


def test_describe_names_cores_and_model():
    assert re.fullmatch(r"cpu \(\d+ cores, .+\)", choose.describe(jax.devices("cpu")[0]))
    assert choose.cpu_model(CPUINFO) == "AMD EPYC"
    assert choose.cpu_model("Processor : ARMv8\n") == ""


def test_the_cache_folder_follows_xdg_but_only_an_absolute_one(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert caches.compile_cache_dir() == tmp_path / "flaxmill" / "compiled"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert caches.compile_cache_dir() == Path.home() / ".cache/flaxmill/compiled"


def test_compiled_programs_are_kept_privately(fresh):
    folder = fresh / "compiled/a/compiled"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert any(folder.iterdir()), printed(fresh / "compiled")


def test_a_cache_that_cannot_be_written_is_one_line_and_no_error(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "compiled"))
    before, used = jax.config.jax_compilation_cache_dir, jax.config.jax_enable_compilation_cache
    caches.use_compile_cache(True)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert jax.config.jax_compilation_cache_dir == before
    assert not jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", used)


def test_a_start_deletes_what_was_read_the_longest_ago_down_to_three_quarters(tmp_path):
    for number, read in enumerate((50, 10, 40, 20, 30)):
        (tmp_path / str(number)).write_bytes(bytes(100))
        os.utime(tmp_path / str(number), (read, 0))
    caches.trim(tmp_path, 500)
    assert len(list(tmp_path.iterdir())) == 5
    caches.trim(tmp_path, 499)
    assert {p.name for p in tmp_path.iterdir()} == {"0", "2", "4"}


def test_what_another_start_deletes_meanwhile_is_no_error(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(100))
    scandir = os.scandir

    @contextlib.contextmanager
    def raced(path):
        with scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        (tmp_path / "a").unlink()
        yield found

    monkeypatch.setattr(os, "scandir", raced)
    caches.trim(tmp_path, 99)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_anyone_may_write_is_not_used(tmp_path):
    tmp_path.chmod(0o777)
    assert "anyone may write" in caches.cache_problem(tmp_path)
