"""The article's training in flaxmill and in each peer that is installed, in turn: A B A B.

python -m benchmarks.article [--python OTHER_VENV/bin/python] [--batch 32 --batch 512]

Every peer runs in its own process on the same real CIFAR-10 images. Compilation, evaluation and
start-up are left out of the times; the first epoch of a process is too. Prints a Markdown table
and writes everything measured as JSON.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine import sources
from engine.devices.choose import cpu_model
from engine.errors import RequestError, RunError

HERE = Path(__file__).parent
MFLOP_PER_IMAGE = 25.74  # of the article's network: forward, and both gradients


class Peer(NamedTuple):
    """A script of peers/, the variables that set it up, and whether it runs in our environment."""

    script: str
    env: dict[str, str]
    ours: bool = False


PEERS = {
    "flaxmill": Peer("flaxmill.py", {}, ours=True),
    "Keras, TensorFlow": Peer("keras_fit.py", {"KERAS_BACKEND": "tensorflow"}),
    "Keras, JAX": Peer("keras_fit.py", {"KERAS_BACKEND": "jax"}),
    "PyTorch, eager": Peer("pytorch.py", {}),
    "PyTorch, compiled": Peer("pytorch.py", {"COMPILE": "1"}),
    "Flax, idiomatic": Peer("flax_idiomatic.py", {}, ours=True),
}


class Missing(Exception):
    """A peer's package is not installed."""


def export(path: Path) -> None:
    """CIFAR-10 as an .npz that any peer reads."""
    try:
        splits = sources.load("cifar10").splits
    except (RequestError, RunError) as error:
        raise SystemExit(f"benchmarks.article: {error}") from None
    np.savez(path, x_train=splits["train"].inputs, y_train=splits["train"].targets,
             x_test=splits["test"].inputs, y_test=splits["test"].targets)


def once(peer: Peer, python: str, *words: object) -> dict[str, Any]:
    """One process of a peer: its JSON line, with the time at which it was started.

    Raises Missing where a package is absent.
    """
    start = time.time()
    done = subprocess.run(
        [sys.executable if peer.ours else python, str(HERE / "peers" / peer.script),
         *map(str, words)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)} | peer.env,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1]
        if last.startswith("ModuleNotFoundError"):
            raise Missing(last)
        raise SystemExit(f"{peer.script} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]) | {"start": start}


def matrix_rate() -> float:
    """GFLOP/s of a 2048² float32 matrix product in JAX on this device: the median of 20."""
    code = (
        "import jax, jax.numpy as jnp, time, statistics as s\n"
        "a = jnp.ones((2048, 2048)); f = jax.jit(jnp.matmul); f(a, a).block_until_ready(); t = []\n"
        "for _ in range(20):\n"
        "    b = time.perf_counter(); f(a, a).block_until_ready()\n"
        "    t.append(time.perf_counter() - b)\n"
        "print(2 * 2048**3 / s.median(t) / 1e9)"
    )
    return float(subprocess.check_output([sys.executable, "-c", code], text=True))


def interleaved(
    peers: dict[str, Peer], python: str, rounds: int, before: tuple, after: tuple = ()
) -> dict[str, list[dict[str, Any]]]:
    """Every installed peer's runs, round by round, its words being before, the seed, after."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in peers}
    for seed in range(rounds):
        for name in list(runs):
            try:
                runs[name].append(once(peers[name], python, *before, seed, *after))
                last = runs[name][-1]["epochs"][-1]["seconds"]
                print(f"round {seed}: {name}: {last:.3f} s an epoch", file=sys.stderr, flush=True)
            except Missing as missing:
                print(f"skipped: {name} ({missing})")
                del runs[name]
    return runs


def table(runs: dict[str, list[dict]], batch: int, examples: int, rate: float) -> str:
    """Milliseconds a step, images/s, flaxmill's speed over each peer round by round, versions."""
    steps = -(-examples // batch)
    epochs = {n: [[r["seconds"] for r in run["epochs"][1:]] for run in runs[n]] for n in runs}
    ours = [statistics.median(times) for times in epochs["flaxmill"]]
    lines = [
        f"Batch {batch}, n = {len(ours)} rounds of {len(epochs['flaxmill'][0])} epochs of "
        f"{examples:,} images.\n",
        "| who | ms a step, median | min–max | images/s | of the matrix rate | flaxmill is faster, "
        "by round | versions |", "|---|---|---|---|---|---|---|",
    ]
    for name, rounds in epochs.items():
        times = [1000 * s / steps for seconds in rounds for s in seconds]
        speed = examples / statistics.median(s for seconds in rounds for s in seconds)
        share = speed * MFLOP_PER_IMAGE / 1000 / rate
        ratios = [statistics.median(s) / o for s, o in zip(rounds, ours, strict=True)]
        versions = ", ".join(f"{k} {v}" for k, v in runs[name][0]["versions"].items())
        lines.append(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f}–{max(times):.2f} | "
            f"{speed:,.0f} | {share:.0%} | "
            f"{'–' if name == 'flaxmill' else ', '.join(f'{r:.2f}' for r in ratios)} | {versions} |"
        )
    return "\n".join(lines)


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    model = cpu_model(cpuinfo.read_text()) if cpuinfo.exists() else platform.processor()
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="of the peers' own environment")
    parser.add_argument("--batch", type=int, action="append", help="default: 32 and 512")
    parser.add_argument("--epochs", type=int, default=3, help="timed, after one that is not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=12800)
    parser.add_argument("--peer", action="append", choices=list(PEERS),
                        help="default: all peers")
    parser.add_argument("--json", type=Path, default=Path("article.json"))
    asked = parser.parse_args()
    if asked.peer and "flaxmill" not in asked.peer:
        asked.peer.insert(0, "flaxmill")
    peers = {name: PEERS[name] for name in asked.peer or PEERS}
    rate, found = matrix_rate(), {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "cifar10.npz"
        export(data)
        for batch in asked.batch or [32, 512]:
            before = (data, batch, 1 + asked.epochs, asked.examples)
            runs = found[batch] = interleaved(peers, asked.python, asked.rounds, before)
            device = runs["flaxmill"][0]["device"]
            print(f"\n{machine()}; device {device}, {rate:.0f} GFLOP/s in a matrix product.")
            print(table(runs, batch, asked.examples, rate), flush=True)
    asked.json.write_text(json.dumps({"machine": machine(), "gflops": rate, "runs": found}))
    print(f"\neverything measured: {asked.json}")


if __name__ == "__main__":
    main()
