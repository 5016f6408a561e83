"""A strict session: two forced CPU devices, strict dtype promotion, and a cache of its own.

Nothing here imports jax: the process that hands tests out to others has no use for it.
"""

import functools
import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

# Before jax is imported: two devices share a pool that starves below two threads each.
# LLVM's expensive passes take half of the suite's time and change no number that a test holds, and
# so do the newer emitters, which a later jax can't do without.
ONE_DEVICE = {"XLA_FLAGS": "--xla_backend_optimization_level=1 "
                           "--xla_llvm_disable_expensive_passes=true "
                           "--xla_cpu_parallel_codegen_split_count=1"}
if version("jaxlib").startswith("0.10."):
    ONE_DEVICE["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
# Of one program that runs shortly: it compiles in half the time again, and is slow.
QUICK = {"xla_backend_optimization_level": 0}


def forced(count: int) -> dict[str, str]:
    """The environment of so many forced CPU devices."""
    flag = f"--xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": f"{ONE_DEVICE['XLA_FLAGS']} {flag}", "PJRT_NPROC": str(2 * count)}


TWO_DEVICES = forced(2)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores, and every child after it
os.environ |= TWO_DEVICES
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["OMP_NUM_THREADS"] = "1"  # XGBoost's wait for each other by spinning
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit it, and so share what it holds
    _SHARED_CACHE = tempfile.TemporaryDirectory(prefix="flaxmill-tests-")
    os.environ["XDG_CACHE_HOME"] = _SHARED_CACHE.name

import forks  # noqa: E402
import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


def on_devices(count: int, script: str) -> None:
    """Run `script`, to which the tests' modules are at hand, on so many forced CPU devices."""
    begin = (
        "import sys; sys.path[:0] = ['tests', '.']; import os\n"
        "os.environ['PYTEST_XDIST_WORKER'] = 'none'\n"
        f"import conftest; os.environ |= conftest.forced({count})\n"
        "import samples\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(begin + script)
        file.flush()
        process = forks.Forked([file.name], os.environ | forced(count), ROOT)
        printed, _ = process.communicate()
    assert process.returncode == 0, printed


def pytest_sessionstart(session):
    """In a process that runs tests."""
    if hasattr(session.config, "workerinput") or not session.config.option.numprocesses:
        import samples  # noqa: F401


@pytest.fixture
def data():
    """37 training and 21 validation images: no batch size divides them."""
    from samples import data_of, random_split

    return data_of(random_split(37), random_split(21, seed=1))


@pytest.fixture(scope="module")
def undrawn():
    """Without pictures; and what a run makes jax's default is the next file's no more."""
    import jax

    from engine.report import run as report

    device = jax.config.jax_default_device
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write", lambda *_: None)
        yield
    jax.config.update("jax_default_device", device)


@pytest.fixture(scope="module")
def quickly():
    """All is compiled quickly: where no two programs need agree to the bit."""
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=QUICK))
        yield


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that would have been drawn, without the time that drawing takes."""
    from engine.drawn import pictures

    found: list = []
    monkeypatch.setattr(pictures, "png", lambda figure: found.append(figure) or b"PNG")
    return found


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder, which is the one to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def launch(tmp_path):
    """Run `python launch.py WORDS` as a user would, in an empty folder; with `env`, afresh."""

    def start(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        command = [forks.LAUNCH, *map(str, words)]
        if env:
            return subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True,
                                  text=True, timeout=forks.SECONDS, env=env)
        process = forks.Forked(command, os.environ, tmp_path, apart=True)
        printed = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, *printed)

    return start


@pytest.fixture(autouse=True)
def nothing_runs_on():
    yield
    forks.end_all()


@pytest.fixture
def outcome(record_property):
    """Tell what a fault's test tried, how many it survived, and what was lost: a row of the table
    that ends the session."""

    def tell(fault: str, tried: int, survived: int, lost: str = "nothing") -> None:
        record_property("fault", (fault, tried, int(survived), lost))
        assert survived == tried

    return tell


def pytest_itemcollected(item):
    """What lies in extras/ needs more than the extra `test`."""
    if ROOT / "tests/extras" in item.path.parents:
        item.add_marker("extras")


def pytest_terminal_summary(terminalreporter):
    reports = [r for rows in terminalreporter.stats.values() for r in rows
               if getattr(r, "when", "") == "call"]
    rows = sorted({tuple(value) for r in reports for name, value in r.user_properties
                   if name == "fault"})
    if rows:
        terminalreporter.section("faults")
        terminalreporter.line("| fault | tried | survived | lost |\n|---|---|---|---|")
        for fault, tried, survived, lost in rows:
            terminalreporter.line(f"| {fault} | {tried} | {survived} | {lost} |")
