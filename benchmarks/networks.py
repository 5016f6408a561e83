"""A network's training in flaxmill and the same one in PyTorch and Keras, in turn: A B A B.

python -m benchmarks.networks resnet18 vit [--steps 50] [--batch 32] [--rounds 3] [--test 2000]
    [--convolution native]

Each in a process of its own, on the same real CIFAR-10 images, Adam at 1e-3: an epoch is `steps`
updates, and the first of each process is left out of the times, where there are others, as
compilation and evaluation are.
tests/test_networks_in_pytorch.py holds the networks to each other, weight for weight. Accuracy is
that on `test` images after the last epoch: of so few updates it says that both learn, not more.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.article import Peer, export, interleaved, machine

NETWORKS = "resnet18", "resnet20", "vit"


def peers(network: str, precision: str, convolution: str) -> dict[str, Peer]:
    own = {"MODEL": network, "PRECISION": precision}
    ways = dict.fromkeys(("auto", convolution))
    return {
        "flaxmill" if way == "auto" else f"flaxmill, {way}":
            Peer("flaxmill.py", own | {"CONVOLUTION": way}, ours=True) for way in ways
    } | {
        "PyTorch, eager": Peer("pytorch.py", {"MODEL": network}),
        "PyTorch, compiled": Peer("pytorch.py", {"MODEL": network, "COMPILE": "1"}),
        "Keras, TensorFlow": Peer("keras_fit.py", {"MODEL": network,
                                                   "KERAS_BACKEND": "tensorflow"}),
    }


def spread(values: list[float], digits: int) -> str:
    """The median and, of several, their range."""
    told = f"{statistics.median(values):.{digits}f}"
    if len(values) > 1:
        told += f" ({min(values):.{digits}f}–{max(values):.{digits}f})"
    return told


def table(runs: dict[str, list[dict[str, Any]]], examples: int) -> str:
    speeds = {name: [examples / row["seconds"] for run in rounds
                     for row in run["epochs"][1:] or run["epochs"]]
              for name, rounds in runs.items()}
    ours = statistics.median(speeds["flaxmill"])
    lines = ["| who | images/s | flaxmill is faster | accuracy | versions |",
             "|---|---|---|---|---|"]
    for name, rounds in runs.items():
        ends = [run["epochs"][-1]["val_accuracy"] for run in rounds]
        versions = ", ".join(f"{k} {v}" for k, v in rounds[0]["versions"].items())
        lines.append(f"| {name} | {spread(speeds[name], 1)} | "
                     f"{ours / statistics.median(speeds[name]):.2f} | {spread(ends, 3)} | "
                     f"{versions} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--steps", type=int, default=50, help="updates an epoch")
    parser.add_argument("--epochs", type=int, default=3,
                        help="timed, after one that is not; 0 times that one")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--test", type=int, default=2000, help="images to judge on")
    parser.add_argument("--precision", default="float32", help="flaxmill's: float32 or bf16")
    parser.add_argument("--convolution", default="auto", help="flaxmill's, beside its own choice")
    parser.add_argument("--eager", action="store_true", help="leave compiled PyTorch out")
    parser.add_argument("--python", default=sys.executable, help="of the others' environment")
    parser.add_argument("--json", type=Path, default=Path("networks.json"))
    asked = parser.parse_args()
    examples, found = asked.steps * asked.batch, {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "cifar10.npz"
        export(data)
        with np.load(data, allow_pickle=False) as arrays:
            fewer = {name: values[:asked.test] if "test" in name else values
                     for name, values in arrays.items()}
        np.savez(data, **fewer)
        for network in asked.networks:
            who = peers(network, asked.precision, asked.convolution)
            if asked.eager:
                del who["PyTorch, compiled"]
            before = (data, asked.batch, 1 + asked.epochs, examples)
            runs = found[network] = interleaved(who, asked.python, asked.rounds, before)
            print(f"\n{network}: {machine()}; device {runs['flaxmill'][0]['device']}; "
                  f"{asked.precision}, {asked.epochs or 1} × {asked.steps} updates of "
                  f"{asked.batch} images timed, n = {asked.rounds}; accuracy on {asked.test:,} "
                  f"images after {asked.steps * (1 + asked.epochs)} updates\n\n"
                  + table(runs, examples), flush=True)
    asked.json.write_text(json.dumps({"machine": machine(), "runs": found}))
    print(f"\neverything measured: {asked.json}")


if __name__ == "__main__":
    main()
