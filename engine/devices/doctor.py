"""Is the machine set up, and does the asked-for device really compute?

This process never imports jax: what may crash runs in engine.devices.probe, a child.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from engine.devices import choose as devices
from engine.errors import RequestError, one_line, unknown

PROBE_SECONDS = 120.0
SMI_SECONDS = 20.0
SMI_QUERY = "name,driver_version,memory.total,memory.free,compute_cap"
OLDEST_CAPABILITY = {12: 5.2, 13: 7.5}
CUDA_LIBRARIES = ("libcudart.so*", "libcublas.so*", "libcudnn*.so*", "libcufft.so*", "libnccl.so*")
SURPRISES = {
    "XLA_FLAGS": "changes what XLA compiles; an unknown flag ends the process",
    "JAX_DISABLE_JIT": "runs operation by operation, many times slower",
    "JAX_ENABLE_X64": "doubles the width of new arrays",
    "JAX_PLATFORM_NAME": "overrides the platform; JAX_PLATFORMS took its place",
}


class Row(NamedTuple):
    """One finding; status is ok, warning or failed."""

    name: str
    status: str
    found: str
    advice: str = ""


class Output(NamedTuple):
    """What a command printed; status None where it could not be started."""

    status: int | None
    text: str


class Probe(NamedTuple):
    """What the child reported, and whether the asked-for device really computed."""

    rows: list[Row]
    computed: bool


def run(device: str, as_json: bool, data_dir: str) -> int:
    """Check everything, print it, and return the exit status: 0 if `device` really computed."""
    if device not in devices.DEVICES:
        raise unknown("device", device, devices.DEVICES)
    if sys.stderr.isatty():
        print(f"looking, and computing in a child (at most {PROBE_SECONDS:g} s) …", file=sys.stderr)
    rows = set_up_rows(device, data_dir)
    probe = examine(device)
    if probe.computed:
        rows = [_survived(row) for row in rows]
    rows += probe.rows
    if as_json:
        print(json.dumps({"rows": [r._asdict() for r in rows], "ok": probe.computed}, indent=2))
    else:
        render(rows, device, probe.computed)
    return 0 if probe.computed else 1


def _survived(row: Row) -> Row:
    """A fault in the set-up that did not keep the device from computing is a warning."""
    return row._replace(status="warning") if row.status == "failed" else row


def set_up_rows(device: str, data_dir: str) -> list[Row]:
    """The rows that need no jax."""
    packages = devices.accelerator_packages()
    seen = devices.machine(os.environ)
    return [
        python_row(sys.version_info[:2]),
        *version_rows(_version("jax"), _version("jaxlib"), packages, device),
        *nvidia_rows(nvidia_smi(), seen, cuda_majors(packages), device),
        *environment_rows(os.environ, seen, device),
        cache_row(devices.compile_cache_dir()),
        data_row(data_dir),
    ]


def python_row(version: tuple[int, ...]) -> Row:
    """Python's version against what flaxmill supports."""
    found = f"{platform.python_version()} ({sys.executable})"
    if (3, 11) <= version <= (3, 13):
        return Row("Python", "ok", found)
    return Row("Python", "warning", found, "use Python 3.11, 3.12 or 3.13")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _release(version: str) -> tuple[int, ...]:
    """The dotted numbers that a version starts with."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found.group().split("."))) if found else ()


def version_rows(jax: str, jaxlib: str, packages: Mapping[str, str], device: str) -> list[Row]:
    """Whether jax, jaxlib and the accelerator plugins are of one release."""
    if not (jax and jaxlib):
        found = f"jax {jax or 'missing'}, jaxlib {jaxlib or 'missing'}"
        return [Row("jax", "failed", found, 'pip install -e "."')]
    rows = [_jax_row(_release(jax), _release(jaxlib), f"jax {jax}, jaxlib {jaxlib}")]
    plugins = {name: v for name, v in packages.items() if name != "libtpu"}
    for name, version in sorted(plugins.items()):
        rows.append(_plugin_row(name, version, jaxlib, device))
    families = {name.split("-")[1] for name in plugins}
    if len(families) > 1:
        surplus = " ".join(n for n in sorted(plugins) if n.split("-")[1] != max(families))
        found = f"{', '.join(sorted(families))} at once"
        rows.append(Row("GPU plugins", "warning", found, f"pip uninstall {surplus}"))
    return rows


def _jax_row(jax: tuple[int, ...], jaxlib: tuple[int, ...], found: str) -> Row:
    if jax[:2] != jaxlib[:2] or jaxlib > jax:
        return Row("jax", "failed", f"{found}: not one release", 'pip install -U -e "."')
    if jax != jaxlib:
        return Row("jax", "warning", f"{found}: not one release", 'pip install -U -e "."')
    if not (0, 10) <= jax[:2] <= (0, 12):
        return Row("jax", "warning", f"{found}: untried", 'pip install "jax>=0.10,<0.13"')
    return Row("jax", "ok", found)


def _plugin_row(name: str, version: str, jaxlib: str, device: str) -> Row:
    """jax leaves out a plugin that is not of jaxlib's own version."""
    if _release(version) == _release(jaxlib):
        return Row(name, "ok", version)
    plain = ".".join(map(str, _release(jaxlib)))
    found = f"{version} does not fit jaxlib {jaxlib}"
    return Row(name, _fault(device), found, f'pip install "{name}=={plain}"')


def _fault(device: str) -> str:
    """The status of what keeps a GPU from working: fatal only to who asked for one."""
    return "failed" if device == "gpu" else "warning"


def cuda_majors(packages: Mapping[str, str]) -> list[int]:
    """The major versions of CUDA that the installed plugins are built for."""
    found = (re.fullmatch(r"jax-cuda(\d+)-plugin", name) for name in packages)
    return sorted(int(match.group(1)) for match in found if match)


def nvidia_smi() -> Output:
    """nvidia-smi's answer to SMI_QUERY."""
    command = shutil.which("nvidia-smi") or shutil.which("/usr/lib/wsl/lib/nvidia-smi")
    if not command:
        return Output(None, "nvidia-smi is not installed")
    query = [command, f"--query-gpu={SMI_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=SMI_SECONDS)
    except subprocess.TimeoutExpired:
        return Output(-1, f"nvidia-smi gave no answer in {SMI_SECONDS:g} s")
    except OSError as error:
        return Output(None, f"{command}: {error.strerror}")
    return Output(done.returncode, done.stdout if done.returncode == 0 else _both(done))


def _both(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.stdout}\n{done.stderr}".strip()


def nvidia_rows(smi: Output, seen: devices.Machine, majors: list[int], device: str) -> list[Row]:
    """The driver and each GPU as nvidia-smi sees them, against what the CUDA plugin needs."""
    name = "NVIDIA driver"
    cards = [_fields(line) for line in smi.text.splitlines() if line.count(",") >= 4]
    if smi.status == 0 and cards:
        gpus = [_card_row(i, card, majors, device) for i, card in enumerate(cards)]
        return [driver_row(cards[0][1], majors, device), *gpus]
    if smi.status is None and seen.driver:
        row = driver_row(seen.driver, majors, device)
        return [row._replace(found=f"{row.found} ({smi.text})")]
    found = one_line(smi.text)
    if device != "gpu" and not seen.nvidia:
        return [Row(name, "ok", f"no NVIDIA GPU here: {found}")]
    return [Row(name, _fault(device), found, _smi_advice(smi))]


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")]


def _smi_advice(smi: Output) -> str:
    if "version mismatch" in smi.text:
        return "reboot: the driver was updated and the old one is still loaded"
    if smi.status is None:
        oldest = devices.OLDEST_DRIVER[12]
        return f"install NVIDIA's driver ({oldest} or newer); a container needs --gpus all"
    return "sudo nvidia-smi, sudo dmesg | grep -i nvrm; then reinstall NVIDIA's driver and reboot"


def driver_row(driver: str, majors: list[int], device: str) -> Row:
    """The driver's version against what the installed plugins' CUDA needs."""
    if not majors:
        advice = devices.install_advice(driver)
        found = f"{driver}, but no CUDA plugin is installed"
        return Row("NVIDIA driver", _fault(device) if device != "cpu" else "ok", found, advice)
    release = _release(driver)
    if not release:
        return Row("NVIDIA driver", "warning", f"version unknown: {driver!r}", "nvidia-smi")
    for cuda in majors:
        oldest = devices.OLDEST_DRIVER.get(cuda, 0)
        if release[0] < oldest:
            found = f"{driver} is too old for CUDA {cuda}, which needs {oldest} or newer"
            return Row("NVIDIA driver", _fault(device), found, _driver_advice(driver, cuda))
    listed = ", ".join(map(str, majors))
    return Row("NVIDIA driver", "ok", f"{driver}, new enough for CUDA {listed}")


def _driver_advice(driver: str, cuda: int) -> str:
    update = f"update the driver to {devices.OLDEST_DRIVER[cuda]} or newer"
    extra = devices.suited_extra(driver)
    return f'pip install -e ".[{extra}]", or {update}' if extra else update


def _card_row(index: int, card: list[str], majors: list[int], device: str) -> Row:
    """One GPU of nvidia-smi's list: memory that others hold and its compute capability."""
    model, _, total, free, capability = card[:5]
    name, found = f"GPU {index}", f"{model}, compute capability {capability}"
    sizes = [int(x) for x in (total, free) if x.isdigit()]  # a MIG slice has "[N/A]"
    if len(sizes) == 2:
        found += f", {sizes[1] / 1024:.1f} GiB free of {sizes[0] / 1024:.1f}"
    oldest = max((OLDEST_CAPABILITY.get(cuda, 0.0) for cuda in majors), default=0.0)
    if re.fullmatch(r"\d+\.\d+", capability) and float(capability) < oldest:
        advice = 'pip install -e ".[cuda12]" reaches back to 5.2'
        return Row(name, _fault(device), f"{found}; CUDA {max(majors)} needs {oldest}", advice)
    if len(sizes) == 2 and sizes[1] < sizes[0] / 10:
        return Row(name, "warning", found, "nvidia-smi names the processes that hold its memory")
    return Row(name, "ok", found)


def environment_rows(env: Mapping[str, str], seen: devices.Machine, device: str) -> list[Row]:
    """Variables that change what jax does, a row each, or one row that there is none."""
    rows = []
    if hider := devices.hides_gpu(seen):
        name = hider.split("=")[0]
        status = "ok" if device == "cpu" else _fault(device)
        rows.append(Row(name, status, f"{hider} hides every GPU", f"unset {name}"))
    elif seen.cuda_visible is not None:
        rows.append(Row("CUDA_VISIBLE_DEVICES", "ok", f"only GPU {seen.cuda_visible} is visible"))
    folders = shadowing(env.get("LD_LIBRARY_PATH", ""))
    if folders and cuda_majors(dict.fromkeys(seen.plugins, "")):
        found = f"{', '.join(folders)} can shadow the CUDA libraries that jax came with"
        rows.append(Row("LD_LIBRARY_PATH", "warning", found, "unset LD_LIBRARY_PATH"))
    for name, effect in SURPRISES.items():
        if value := env.get(name):
            found = f"{value!r}: {effect}"
            rows.append(Row(name, "warning", found, f"unset {name}, unless you set it on purpose"))
    return rows or [Row("environment", "ok", "no variable that changes jax is set")]


def shadowing(search_path: str) -> list[str]:
    """The folders of LD_LIBRARY_PATH that hold CUDA libraries of their own."""
    folders = [folder for folder in search_path.split(":") if folder]
    return [f for f in folders if any(any(Path(f).glob(lib)) for lib in CUDA_LIBRARIES)]


def cache_row(path: Path) -> Row:
    """Whether compiled programs can be kept."""
    if problem := devices.cache_problem(path):
        advice = "export XDG_CACHE_HOME=/a/folder/of/yours; until then each run compiles anew"
        return Row("compile cache", "warning", problem, advice)
    return Row("compile cache", "ok", str(path))


def data_row(flag: str) -> Row:
    """Where data sets are, and which are prepared."""
    from engine.sources import data_dir, prepared

    try:
        folder = data_dir(flag)
        names = prepared(folder)
    except (RequestError, OSError) as error:
        return Row("data sets", "warning", one_line(error), "--data_dir FOLDER")
    if names:
        return Row("data sets", "ok", f"{', '.join(names)} in {folder}")
    advice = "python launch.py --dataset digits needs none; python launch.py downloads CIFAR-10"
    return Row("data sets", "warning", f"none prepared in {folder}", advice)


def probe_command(device: str) -> list[str]:
    """The child's command line; -P keeps the working folder's files from posing as modules."""
    return [sys.executable, "-P", "-m", "engine.devices.probe", device]


def examine(device: str) -> Probe:
    """Let the child compute; what it found is kept also where it crashes or hangs."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            probe_command(device), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            env=_child_environment(),
        )  # fmt: skip
        try:
            status: int | None = child.wait(PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(child)
        texts = [_text(file) for file in (out, err)]
    return read_findings(texts[0], texts[1], status)


def _child_environment() -> dict[str, str]:
    """This environment, with this engine importable and no GPU memory reserved in advance."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, paths))
    return {**os.environ, "PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child that still runs; one stuck in a driver can't be waited for."""
    if child.poll() is None:
        child.kill()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            return


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def read_findings(out: str, err: str, status: int | None) -> Probe:
    """The child's findings, with a failed row if it did not end well (None: had to be killed)."""
    rows, now, computed = [], "", False
    for line in out.splitlines():
        try:
            finding = json.loads(line)
        except json.JSONDecodeError:  # a library's print, or a line the crash cut off
            continue
        if not isinstance(finding, dict):
            continue
        now = finding.get("now", now)
        computed = finding.get("computed", computed)
        if "row" in finding:
            rows.append(Row(*finding["row"]))
    if status != 0:
        rows.append(_crash_row(now or "starting", err, status))
    return Probe(rows, computed and status == 0)


def _crash_row(now: str, err: str, status: int | None) -> Row:
    if status is None:
        found = f"no answer in {PROBE_SECONDS:g} s while {now}"
    elif status < 0:
        found = f"{_signal_name(-status)} while {now}"
    else:
        found = f"exit status {status} while {now}"
    if last := last_words(err):
        found += f": {last}"
    advice = "unset XLA_FLAGS LD_LIBRARY_PATH; then the same again in a fresh virtual environment"
    return Row("child process", "failed", found, advice)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_words(err: str) -> str:
    """The last line of stderr that says something."""
    noise = re.compile(r"\s*$|[IW]\d{4} |WARNING: All log messages|\s*@\s+0x|\*\*\* ")
    lines = [line for line in err.splitlines() if not noise.match(line)]
    return one_line(lines[-1]) if lines else ""


def render(rows: list[Row], device: str, computed: bool) -> None:
    """The rows as a table, then what to type next, unwrapped so that it can be copied."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    table = Table("", "what", "found")
    for row in rows:
        status = Text(row.status, colours[row.status])
        table.add_row(status, Text(row.name), Text(row.found, overflow="fold"))
    console = Console()
    console.print(table)
    for row in rows:
        if row.advice and row.status != "ok":
            console.print(Text(f"{row.name}: {row.advice}"), soft_wrap=True)
    verdict = "really computed." if computed else "did NOT compute."
    console.print(Text(f"--device {device} {verdict}", "green" if computed else "bold red"))
