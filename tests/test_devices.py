"""engine.devices: the right device or words on why not, never a silent substitute."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from engine.devices import choose as devices
from engine.errors import RequestError

ROOT = Path(devices.__file__).parents[1]
BARE = devices.Machine(nvidia=False, driver="", plugins=(), platforms="", cuda_visible=None)
PLUGIN = BARE._replace(plugins=("jax-cuda12-plugin",))
OPEN_MODULE = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder)
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""
CPUINFO = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: AMD EPYC\nflags\t\t: fpu\n"


def _python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("JAX_PLATFORMS", "XLA_FLAGS")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=clean | env
    )


def test_importing_devices_and_doctor_does_not_import_jax():
    heavy = ("jax", "numpy", "rich", "tensorflow_datasets")
    code = "import sys, engine.devices, engine.doctor; print(*sys.modules)"
    assert not set(heavy) & set(_python(code).stdout.split())


def test_cpu_is_given_with_its_reason():
    choice = devices.choose("cpu")
    assert choice.device.platform == "cpu"
    assert choice.reason == "cpu: asked for with --device cpu"


def test_unknown_device_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match="unknown device 'gpus': did you mean gpu"):
        devices.choose("gpus")


needs_no_gpu = pytest.mark.skipif(devices.nvidia_visible(), reason="this machine has a GPU")


@needs_no_gpu
def test_gpu_where_there_is_none_is_refused_with_what_to_type():
    with pytest.raises(RequestError) as raised:
        devices.choose("gpu")
    assert "GPU" in str(raised.value)
    assert "python launch.py doctor --device gpu" in str(raised.value)


@needs_no_gpu
def test_auto_takes_the_cpu_and_says_why():
    code = "from engine import devices; print(devices.choose('auto').reason)"
    done = _python(code)
    assert re.match(r"cpu: .*GPU.*\(.+\)", done.stdout), done.stderr


def test_jax_platforms_that_hide_the_gpu_are_named():
    code = "from engine import devices; devices.choose('gpu')"
    done = _python(code, JAX_PLATFORMS="cpu")
    assert "JAX_PLATFORMS='cpu' hides every GPU" in done.stderr
    assert "unset JAX_PLATFORMS" in done.stderr


@needs_no_gpu
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_jax_platforms_that_leave_no_device_are_a_request_error(device):
    code = f"from engine import devices; devices.choose({device!r})"
    done = _python(code, JAX_PLATFORMS="cuda")
    assert "RequestError: --device" in done.stderr
    assert "JAX_PLATFORMS='cuda'" in done.stderr and "unset JAX_PLATFORMS" in done.stderr


def test_a_plugin_that_fails_to_start_gives_its_own_words_and_no_traceback(tmp_path):
    """A jax plugin whose initialize() raises: the CPU is taken, its words are the reason."""
    module = tmp_path / "jax_plugins" / "broken"
    module.mkdir(parents=True)
    (module / "__init__.py").write_text("def initialize(): raise RuntimeError('no such chip')")
    plugin = "devices.accelerator_packages = lambda: {'jax-cuda12-plugin': '0'}\n"
    gpu = "devices.nvidia_visible = lambda: True\n"
    code = f"from engine import devices\n{plugin}{gpu}print(devices.choose('auto').reason)"
    done = _python(code, PYTHONPATH=str(tmp_path))
    assert "an NVIDIA GPU is there, but jax sees none: no such chip" in done.stdout
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize(("device", "started"), [("auto", True), ("cpu", False)])
def test_a_backend_that_fails_to_start_leaves_the_cpu(tmp_path, device, started):
    """auto survives it; --device cpu never starts it, nor takes a GPU's memory by starting one."""
    module = tmp_path / "jax_plugins" / "broken"
    module.mkdir(parents=True)
    (module / "__init__.py").write_text(
        "from jax._src import xla_bridge\n"
        "def fail(): print('chip on fire'); raise RuntimeError('chip on fire')\n"
        "def initialize():\n"
        "    xla_bridge.register_backend_factory('odd', fail, priority=500, fail_quietly=False)\n"
    )
    code = f"from engine import devices; print(devices.choose({device!r}))"
    done = _python(code, PYTHONPATH=str(tmp_path))
    assert "CpuDevice" in done.stdout, done.stderr
    assert ("chip on fire" in done.stdout) == started
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("seen", "found", "advice"),
    [
        (BARE, "no NVIDIA GPU is visible and no GPU plugin", '".[cuda12]"'),
        (BARE._replace(nvidia=True, driver="580.65.06"), "is there, but no GPU pl", '".[cuda13]"'),
        (BARE._replace(nvidia=True, driver="550.54.15"), "is there, but no GPU pl", '".[cuda12]"'),
        (BARE._replace(nvidia=True, driver="470.82"), "is there, but no GPU pl", "update the NV"),
        (PLUGIN, "jax-cuda12-plugin is installed, but no NVIDIA GPU", "--gpus all"),
        (PLUGIN._replace(nvidia=True, driver="470.82.01"), "470.82.01 is too old", "525"),
        (PLUGIN._replace(nvidia=True, driver="550.54"), "jax sees none: WORDS", "nvidia-smi"),
        (PLUGIN._replace(nvidia=True, platforms="cpu"), "JAX_PLATFORMS='cpu'", "unset JAX_PLAT"),
        (PLUGIN._replace(nvidia=True, cuda_visible=""), "CUDA_VISIBLE_DEVICES=''", "unset CUDA"),
        (PLUGIN._replace(nvidia=True, cuda_visible="-1"), "CUDA_VISIBLE_DEVICES='-1'", "unset"),
    ],
)
def test_why_there_is_no_gpu(seen, found, advice):
    why = devices.why_no_gpu(seen, "WORDS")
    assert found in why.found
    assert advice in why.advice


@pytest.mark.parametrize("platforms", ["cuda", "cuda,cpu", "gpu", "cpu, cuda", ""])
def test_platforms_that_allow_a_gpu_do_not_hide_it(platforms):
    assert devices.hides_gpu(BARE._replace(platforms=platforms, cuda_visible="0,1")) == ""


def test_the_kernel_drivers_version_is_read(tmp_path):
    (tmp_path / "version").write_text(OPEN_MODULE)
    assert devices.kernel_driver(str(tmp_path / "version")) == "570.86.15"
    assert devices.kernel_driver(str(tmp_path / "none")) == ""


def test_describe_names_cores_and_model():
    assert re.fullmatch(r"cpu \(\d+ cores, .+\)", devices.describe(jax.devices("cpu")[0]))
    assert devices.cpu_model(CPUINFO) == "AMD EPYC"
    assert devices.cpu_model("Processor : ARMv8\n") == ""


def test_the_cache_folder_follows_xdg_but_only_an_absolute_one(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert devices.compile_cache_dir() == tmp_path / "flaxmill" / "compiled"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert devices.compile_cache_dir() == Path.home() / ".cache/flaxmill/compiled"


def test_compiled_programs_are_kept_privately_and_found_again(tmp_path):
    code = (
        "import jax, sys; from pathlib import Path; from engine import devices\n"
        "assert devices.enable_compile_cache(Path(sys.argv[1]))\n"
        "jax.jit(lambda x: x * 3 + 1)(2.0)"
    ).replace("sys.argv[1]", repr(str(tmp_path / "a" / "compiled")))
    done = _python(code)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "a" / "compiled"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert any(folder.iterdir())


def test_a_cache_that_cannot_be_written_is_one_line_and_no_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    before = jax.config.jax_compilation_cache_dir
    assert not devices.enable_compile_cache(tmp_path / "file" / "compiled")
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert jax.config.jax_compilation_cache_dir == before


def test_a_cache_that_anyone_may_write_is_not_used(tmp_path):
    tmp_path.chmod(0o777)
    assert "anyone may write" in devices.cache_problem(tmp_path)
