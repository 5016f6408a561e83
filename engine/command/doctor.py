"""Is the machine set up, and does the asked-for device really compute?

This process never imports jax: what may crash runs in a child, engine.devices.nvidia and .probe.
What keeps the device from computing is failed, whatever else looks wrong a warning.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from engine.devices import child, diagnosis
from engine.devices.diagnosis import DRIVER, Machine, Row
from engine.disk import caches
from engine.errors import RequestError, one_line, tell
from engine.width import fitted

PROBE_SECONDS, NVML_SECONDS = 120.0, 20.0
LIBRARIES = ("cudart", "cublas", "cudnn", "cufft", "nccl")


def run(device: str, as_json: bool, data_dir: str) -> int:
    """Check everything, print it, and return the exit status: 0 if `device` really computed."""
    tell(f"looking, and computing for {PROBE_SECONDS:g} s at most …")
    rows, fault = child.listen("engine.devices.probe", device, seconds=PROBE_SECONDS)
    if fault or not rows:
        rows.append(Row("child process", "failed", fault or "it found nothing", "unset XLA_FLAGS "
                        "LD_LIBRARY_PATH; then the same again in a fresh virtual environment"))
    computed = all(row.status != "failed" for row in rows)
    rows = [*set_up(data_dir), *rows]
    if as_json:
        print(json.dumps({"rows": [row._asdict() for row in rows], "ok": computed}, indent=2))
        return 0 if computed else 1
    for row in rows:
        told = [f"{row.status:8} {row.name}: {row.found}"]
        if row.advice and row.status != "ok":
            told.append(f"{'':8} {row.advice}")
        print(fitted("\n".join(told), sys.stdout, " " * 11))
    print(f"--device {device} {'really computed' if computed else 'did NOT compute'}.")
    return 0 if computed else 1


def set_up(data_dir: str) -> list[Row]:
    """The rows that need no jax."""
    gpus, fault = child.listen("engine.devices.nvidia", seconds=NVML_SECONDS)
    if fault:
        gpus.append(Row(DRIVER, "warning", f"NVML: {fault}", "nvidia-smi: does it answer? Else "
                        "reinstall NVIDIA's driver and reboot"))
    seen = diagnosis.machine()
    return [
        Row("Python", "ok", f"{platform.python_version()} ({sys.executable})"),
        versions(seen), *gpus, *environment(os.environ, seen),
        cache(caches.compile_cache_dir()), data_sets(data_dir),
    ]


def versions(seen: Machine) -> Row:
    """Of jax and its plugins; jax leaves out a plugin that is not of jaxlib's own version."""
    def release(name: str) -> str:
        found = re.match(r"\d+(\.\d+)*", seen.packages.get(name, ""))
        return found.group() if found else ""

    found = ", ".join(map(" ".join, seen.packages.items()))
    plugins = [name for name in seen.packages if name not in ("jax", "jaxlib", "libtpu")]
    if odd := [name for name in plugins if release(name) != release("jaxlib")]:
        wanted = " ".join(f"{name}=={release('jaxlib')}" for name in odd)
        return Row("jax", "warning", f"{found}: not one release", f'pip install "{wanted}"')
    if len(seen.cuda) > 1:
        old = f"jax-cuda{seen.cuda[0]}"
        return Row("jax", "warning", f"{found}: two CUDA plugins at once",
                   f"pip uninstall {old}-plugin {old}-pjrt")
    return Row("jax", "ok", found)


def environment(env: Mapping[str, str], seen: Machine) -> list[Row]:
    """Variables that change what jax does."""
    names = sorted(n for n in env if n.startswith(("JAX_", "XLA_", "CUDA_VISIBLE_DEVICES")))
    rows = [Row("environment", "warning", ", ".join(f"{name}={env[name]!r}" for name in names),
                "unset what you didn't set on purpose")] if names else []
    for folder in filter(None, env.get("LD_LIBRARY_PATH", "").split(":")):
        if seen.cuda and any(any(Path(folder).glob(f"lib{name}*.so*")) for name in LIBRARIES):
            rows.append(Row("LD_LIBRARY_PATH", "warning", f"{folder} can shadow the CUDA libraries "
                            "that jax came with", "unset LD_LIBRARY_PATH"))
    return rows


def cache(path: Path) -> Row:
    """Whether compiled programs can be kept."""
    if problem := caches.cache_problem(path):
        advice = "export XDG_CACHE_HOME=/a/folder/of/yours; until then each run compiles anew"
        return Row("compile cache", "warning", problem, advice)
    return Row("compile cache", "ok", str(path))


def data_sets(flag: str) -> Row:
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
