"""Is the machine set up, and does the asked-for device really compute?

This process never imports jax: what may crash runs in a child, engine.devices.nvidia and .probe.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from engine.devices import child, choose, diagnosis, nvidia
from engine.devices.diagnosis import Machine, Row, fault, release
from engine.errors import RequestError, one_line, unknown
from engine.store import caches

PROBE_SECONDS = 120.0
CRASH_ADVICE = (
    "unset XLA_FLAGS LD_LIBRARY_PATH; then the same again in a fresh virtual environment"
)
CUDA_LIBRARIES = ("libcudart.so*", "libcublas.so*", "libcudnn*.so*", "libcufft.so*", "libnccl.so*")
SURPRISES = {
    "XLA_FLAGS": "changes what XLA compiles; an unknown flag ends the process",
    "JAX_DISABLE_JIT": "runs operation by operation, many times slower",
    "JAX_ENABLE_X64": "doubles the width of new arrays",
    "JAX_PLATFORM_NAME": "overrides the platform; JAX_PLATFORMS took its place",
}


def run(device: str, as_json: bool, data_dir: str) -> int:
    """Check everything, print it, and return the exit status: 0 if `device` really computed."""
    if device not in choose.DEVICES:
        raise unknown("device", device, choose.DEVICES)
    if sys.stderr.isatty():
        print(f"looking, and computing in a child (at most {PROBE_SECONDS:g} s) …", file=sys.stderr)
    rows = set_up_rows(device, data_dir)
    found, computed = probe_rows(device)
    if computed:
        rows = [_survived(row) for row in rows]
    rows += found
    if as_json:
        print(json.dumps({"rows": [r._asdict() for r in rows], "ok": computed}, indent=2))
    else:
        render(rows, device, computed)
    return 0 if computed else 1


def probe_rows(device: str) -> tuple[list[Row], bool]:
    """What a child finds by computing on `device`, and whether it really computed."""
    told = child.listen("engine.devices.probe", device, seconds=PROBE_SECONDS)
    rows = [Row(*finding["row"]) for finding in told.findings if "row" in finding]
    if told.fault:
        rows.append(Row("child process", "failed", told.fault, CRASH_ADVICE))
    return rows, not told.fault and any(finding.get("computed") for finding in told.findings)


def _survived(row: Row) -> Row:
    """A fault in the set-up that did not keep the device from computing is a warning."""
    return row._replace(status="warning") if row.status == "failed" else row


def set_up_rows(device: str, data_dir: str) -> list[Row]:
    """The rows that need no jax."""
    packages = diagnosis.accelerator_packages()
    seen = diagnosis.machine(os.environ)
    return [
        python_row(sys.version_info[:2]),
        *version_rows(_version("jax"), _version("jaxlib"), packages, device),
        *nvidia.rows(nvidia.hear(), seen, diagnosis.cuda_majors(packages), device),
        *environment_rows(os.environ, seen, device),
        cache_row(caches.compile_cache_dir()),
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


def version_rows(jax: str, jaxlib: str, packages: Mapping[str, str], device: str) -> list[Row]:
    """Whether jax, jaxlib and the accelerator plugins are of one release."""
    if not (jax and jaxlib):
        found = f"jax {jax or 'missing'}, jaxlib {jaxlib or 'missing'}"
        return [Row("jax", "failed", found, 'pip install -e "."')]
    rows = [_jax_row(release(jax), release(jaxlib), f"jax {jax}, jaxlib {jaxlib}")]
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
    if release(version) == release(jaxlib):
        return Row(name, "ok", version)
    plain = ".".join(map(str, release(jaxlib)))
    found = f"{version} does not fit jaxlib {jaxlib}"
    return Row(name, fault(device), found, f'pip install "{name}=={plain}"')


def environment_rows(env: Mapping[str, str], seen: Machine, device: str) -> list[Row]:
    """Variables that change what jax does, a row each, or one row that there is none."""
    rows = []
    if hider := diagnosis.hides_gpu(seen):
        name = hider.split("=")[0]
        status = "ok" if device == "cpu" else fault(device)
        rows.append(Row(name, status, f"{hider} hides every GPU", f"unset {name}"))
    elif seen.cuda_visible is not None:
        rows.append(Row("CUDA_VISIBLE_DEVICES", "ok", f"only GPU {seen.cuda_visible} is visible"))
    folders = shadowing(env.get("LD_LIBRARY_PATH", ""))
    if folders and diagnosis.cuda_majors(seen.plugins):
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
    if problem := caches.cache_problem(path):
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
