"""Whole processes, in turn: the article's ten epochs by launch.py and by the Keras script.

python -m benchmarks.process [--python KERAS_VENV/bin/python] [--epochs 10] [--rounds 1]

flaxmill runs twice a round: with an empty compile cache and with the one that run filled. It also
writes checkpoints, plots and a report, which the Keras script does not. "First step" is the time
from starting the process until the training program is compiled and the data is ready; for Keras,
whose compilation is its first steps, until they are done.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.article import HERE, PEERS, Missing, export, machine, once
from engine import sources


def launched(folder: Path, name: str, epochs: int, device: str) -> dict[str, Any]:
    """One `python launch.py` of the article's recipe; times from the process's start."""
    command = [sys.executable, str(HERE.parent / "launch.py"), "--config",
               str(HERE.parent / "configs" / "article.py"), "--epochs", str(epochs),
               "--device", device, "--run_dir", str(folder / name)]
    start, first = time.time(), 0.0
    env = os.environ | {"PYTHONUNBUFFERED": "1",
                        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("compiled in"):
            first = time.time() - start
    _, status, usage = os.wait4(process.pid, 0)
    end = time.time() - start
    if status:
        raise SystemExit(f"launch.py ended with status {os.waitstatus_to_exitcode(status)}")
    scores = json.loads((folder / name / "metrics.json").read_text())
    return {"first": first, "end": end, "peak_mib": usage.ru_maxrss / 1024,
            "device_mib": (scores["peak_device_bytes"] or 0) / 2**20}


def keras(data: Path, epochs: int, seed: int, python: str) -> dict[str, Any]:
    """One process of the Keras script on TensorFlow."""
    run = once(PEERS["Keras, TensorFlow"], python, data, 32, epochs, 50_000, seed)
    return {"first": run["first_step"] - run["start"], "end": run["end"] - run["start"],
            "peak_mib": run["peak_mib"], "device_mib": run["device_mib"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="of Keras's environment")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    sources.load("cifar10")  # decoded once, as for any second run
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "cifar10.npz"
        export(data)
        for seed in range(asked.rounds):
            folder = Path(name) / str(seed)
            for cache in ("cold", "warm"):
                run = launched(folder, cache, asked.epochs, asked.device)
                runs.setdefault(f"flaxmill, {cache} compile cache", []).append(run)
            try:
                run = keras(data, asked.epochs, seed, asked.python)
                runs.setdefault("Keras, TensorFlow", []).append(run)
            except Missing as missing:
                print(f"skipped: Keras, TensorFlow ({missing})")
    print(f"{machine()}; {asked.epochs} epochs of batch 32, n = {asked.rounds}\n\n"
          "| process | to the first step, s | to the end, s | of Keras's, by round | peak host "
          "memory, MiB | peak device memory, MiB |\n|---|---|---|---|---|---|")
    theirs = [row["end"] for row in runs.get("Keras, TensorFlow", [])]
    for name, rows in runs.items():
        cells = [_cell([row[key] for row in rows])
                 for key in ("first", "end", "peak_mib", "device_mib")]
        shares = ", ".join(f"{row['end'] / t:.2f}" for row, t in zip(rows, theirs, strict=False))
        print(f"| {name} | {' | '.join(cells[:2])} | {shares or '–'} | {' | '.join(cells[2:])} |")


def _cell(values: list[float]) -> str:
    """Median and range; – where nobody counted: a CPU's device memory is the host's."""
    if not any(values):
        return "–"
    spread = f" ({min(values):.1f}–{max(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.1f}{spread}"


if __name__ == "__main__":
    main()
