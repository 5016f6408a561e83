"""How many of the article's training runs an hour, by how many are trained at once.

python -m benchmarks.population [--python OTHER_VENV/bin/python] [--members 1 --members 64]

Every way to train N members spends `--epochs` of the first `--examples` CIFAR-10 images on each, in
a process of its own, the ways in turn: A B A B. Compilation and start-up are left out. A run is ten
epochs of 50,000 images, so runs an hour are extrapolated from the time an image of a member took.
Prints Markdown tables and writes everything measured as JSON.

A CPU has to be idle otherwise: PyTorch's threads spin while one waits for another, and beside a
busy program its rows come out many times slower. OMP_NUM_THREADS=1 avoids that, but leaves PyTorch
one core where JAX still has all.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.article import Peer, export, interleaved, machine

BATCH = 32
IMAGES_A_RUN = 10 * 50_000
NOT_RUN = "–"

Runs = dict[int, list[dict[str, Any]]]  # a way's rounds, by number of members


def _ours(way: str, **more: str) -> Peer:
    return Peer("flaxmill_population.py", {"WAY": way} | more, ours=True)


def _torch(way: str, **more: str) -> Peer:
    return Peer("pytorch_population.py", {"WAY": way} | more)


BASELINE = "flaxmill, one after another"
SWEEP = "flaxmill, a sweep on a CPU"
WAYS = {
    BASELINE: _ours("alone"),
    SWEEP: _ours("sweep"),
    "flaxmill, vmap, grouped convolutions": _ours("direct"),
    "flaxmill, vmap, batched product": _ours("product"),
    "flaxmill, vmap, batched product, shared order": _ours("product", SHARED="1"),
    "PyTorch, one after another": _torch("alone"),
    "PyTorch, torch.func": _torch("ensemble"),
    "PyTorch, torch.func, shared order": _torch("ensemble", SHARED="1"),
}


def seconds(run: dict[str, Any]) -> float:
    return sum(epoch["seconds"] for epoch in run["epochs"])


def hourly(run: dict[str, Any], members: int, examples: int) -> float:
    """Runs of the article an hour, at the speed of this measurement."""
    images = members * examples * len(run["epochs"])
    return 3600 * images / (seconds(run) * IMAGES_A_RUN)


def expected(runs: Runs, members: int) -> float:
    """Seconds of a measurement, in proportion to the largest one so far; 0 before the first."""
    if not runs:
        return 0.0
    most = max(runs)
    return statistics.median(map(seconds, runs[most])) * members / most


def measure(asked: argparse.Namespace, data: Path) -> dict[str, Runs]:
    """What each way measured; --json is kept up to date on the way."""
    found: dict[str, Runs] = {name: {} for name in asked.way}
    going = list(found)
    for members in asked.members:
        for name in list(going):
            if (wait := expected(found[name], members)) > asked.most_seconds:
                print(f"not run from {members} members on: {name} (about {wait:.0f} s expected, "
                      f"--most_seconds {asked.most_seconds:g})")
                going.remove(name)
        runs = interleaved(
            {name: WAYS[name] for name in going}, asked.python, asked.rounds,
            before=(data, BATCH, asked.epochs, asked.examples), after=(members,),
        )
        for name in runs:
            found[name][members] = runs[name]
        going = list(runs)
        asked.json.write_text(json.dumps(
            {"machine": machine(), "batch": BATCH, "epochs": asked.epochs,
             "examples": asked.examples, "runs": found}
        ))
        print(f"measured: {members} members", flush=True)
    return {name: runs for name, runs in found.items() if runs}


def table(found: dict[str, Runs], sizes: list[int], cell: Callable[[str, int], str]) -> str:
    """A row a way, a column a number of members."""
    lines = [f"| members | {' | '.join(map(str, sizes))} |", "|---" * (len(sizes) + 1) + "|"]
    for name, runs in found.items():
        cells = [cell(name, n) if n in runs else NOT_RUN for n in sizes]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def turns(runs: list[dict[str, Any]]) -> str:
    """How much faster a sweep was than one after another in the same process, epoch by epoch."""
    epochs = [epoch for run in runs for epoch in run["epochs"]]
    ratios = [epoch["alone"] / epoch["seconds"] for epoch in epochs]
    whole = sum(epoch["alone"] for epoch in epochs) / sum(epoch["seconds"] for epoch in epochs)
    return f"{whole:.2f}; of an epoch {spread(ratios)}, n = {len(ratios)}"


def report(found: dict[str, Runs], sizes: list[int], examples: int) -> str:
    """The tables, and what ran where."""

    def rates(name: str, members: int) -> list[float]:
        return [hourly(run, members, examples) for run in found[name][members]]

    def rate(name: str, members: int) -> str:
        return f"{statistics.median(rates(name, members)):,.1f}"

    def ratio(name: str, members: int) -> str:
        if name == BASELINE or members not in found[BASELINE]:
            return NOT_RUN
        rounds = zip(rates(name, members), rates(BASELINE, members), strict=True)
        return spread([theirs / base for theirs, base in rounds])

    def in_turn(name: str, members: int) -> str:
        return turns(found[name][members])

    lines = ["Runs an hour, the median:\n", table(found, sizes, rate),
             f"\nTimes “{BASELINE}”, by round: median (min–max):\n", table(found, sizes, ratio)]
    if SWEEP in found:
        lines += [f"\nTimes “{BASELINE}” in the same process, in turn, whole and by epoch:\n",
                  table({SWEEP: found[SWEEP]}, sizes, in_turn)]
    lines += ["\n| way | device | versions |", "|---|---|---|"]
    for name, runs in found.items():
        run = runs[min(runs)][0]
        versions = ", ".join(f"{package} {number}" for package, number in run["versions"].items())
        lines.append(f"| {name} | {run['device']} | {versions} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="of the peers' own environment")
    parser.add_argument("--members", type=int, action="append", help="default: 1, 2, 4, ... 64")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--examples", type=int, default=3200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", action="append", choices=list(WAYS), help="default: all")
    parser.add_argument(
        "--most_seconds", type=float, default=60,
        help="leave a way out from the first number of members at which it would take longer, in "
             "proportion to the number before; the first is always run",
    )
    parser.add_argument("--json", type=Path, default=Path("population.json"))
    asked = parser.parse_args()
    asked.members = sorted(set(asked.members or [1, 2, 4, 8, 16, 32, 64]))
    asked.way = list(dict.fromkeys([BASELINE, *(asked.way or WAYS)]))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "cifar10.npz"
        export(data)
        found = measure(asked, data)
    print(f"\n{machine()}; batch {BATCH}, n = {asked.rounds} rounds of {asked.epochs} "
          f"epochs of {asked.examples:,} images of every member.\n")
    print(report(found, asked.members, asked.examples))
    print(f"\neverything measured: {asked.json}")


if __name__ == "__main__":
    main()
