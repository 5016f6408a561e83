"""What streaming costs: host memory of a set that is larger, and speed beside a resident set.

python -m benchmarks.streaming memory FOLDER  # makes 4 GB of pictures in FOLDER, where they aren't
python -m benchmarks.streaming speed ROUNDS   # CIFAR-10, in turn in one process
"""

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
SIDE, BYTES = 256, 4_000_000_000
EVERY = 0.2  # seconds between two looks at the memory
STEPS = 120  # of a round


class Coarse(nn.Module):
    """Sees every eighth pixel: the reading is what takes time."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dense(self.num_classes)(x[:, ::8, ::8].reshape(len(x), -1))


def pictures(folder: Path) -> int:
    """Two classes of noise, uncompressed, so that they have as many bytes on disk; how many."""
    count, draw = -(-BYTES // (3 * SIDE * SIDE)), np.random.default_rng(0)
    head = f"P6 {SIDE} {SIDE} 255\n".encode()
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number}.ppm"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(head + draw.bytes(3 * SIDE * SIDE))
    return count


def used(process: psutil.Process) -> tuple[int, int]:
    """Bytes of it and all below it: resident, where what they share counts in each, and without."""
    resident = proportional = 0
    for one in (process, *process.children(recursive=True)):
        try:
            found = one.memory_full_info()
        except psutil.Error:
            continue
        resident, proportional = resident + found.rss, proportional + found.pss
    return resident, proportional


def memory(folder: Path) -> None:
    """Trains an epoch on the pictures, and prints the most memory that its processes had."""
    count, began = pictures(folder), time.perf_counter()
    with tempfile.TemporaryDirectory() as runs:
        run = subprocess.Popen([
            sys.executable, str(ROOT / "launch.py"), "--dataset", f"image_folder:{folder}",
            "--model", f"{__file__}:Coarse", "--validation_split", "0.1", "--batch_size", "32",
            "--epochs", "1", "--device", "cpu", "--run_dir", f"{runs}/run", "--stream",
        ], cwd=ROOT)
        most = [(0, 0)]
        while run.poll() is None:
            most.append(used(psutil.Process(run.pid)))
            time.sleep(EVERY)
    resident, proportional = (max(each) / 1e6 for each in zip(*most, strict=True))
    print(f"{count:,} pictures of {SIDE} × {SIDE}, {BYTES / 1e9:.1f} GB: status {run.returncode} "
          f"after {time.perf_counter() - began:.0f} s; at most {resident:,.0f} MB resident, "
          f"{proportional:,.0f} MB where what processes share counts once")


def _stepper(place, data, rows: int, held: contextlib.ExitStack) -> Callable[[], float]:
    """A function that trains STEPS steps of the article's network, and tells their seconds."""
    from engine.config import Config, Hyper
    from engine.job import host
    from engine.programs import compile
    from engine.request import Request
    from engine.settling import setup
    from engine.stream.streamed import feed_of

    config = Config(batch_size=32, epochs=1000, train_split=f"train[:{rows}]",
                    validation_split="test[:64]")
    ready = setup(Request(config, Hyper(), place, data), host.begin(place))
    create = jax.jit(ready.create, out_shardings=ready.where(ready.state_shapes))
    state = create(ready.hyper, ready.root)
    program, feed = compile.segment(ready, state), held.enter_context(feed_of(ready, 0))

    def go() -> float:
        nonlocal state
        began, end = time.perf_counter(), int(state.step) + STEPS
        while (step := int(state.step)) < end:
            epoch = ready.lengths.epoch
            count = min(end - step, feed.most(step), epoch - step % epoch)
            inputs = ready.inputs | {"train": feed.train(step)}
            state = jax.block_until_ready(
                program(**inputs, state=state, count=np.int32(count)))
        return time.perf_counter() - began

    return go


def speed(rounds: int) -> None:
    """Images a second of a streamed set over those of a resident one, in turn."""
    from engine import sources
    from engine.place import Place

    data, rows = sources.load("cifar10"), 32 * STEPS * 8
    streamed = Place(device="cpu", stream=True)
    with contextlib.ExitStack() as held:
        ways = {
            "resident": _stepper(Place(device="cpu"), data, rows, held),
            "streamed from memory": _stepper(streamed, data, rows, held),
            "streamed from array_record": _stepper(streamed, None, rows, held),
        }
        for go in ways.values():
            go()
        seconds = [{name: go() for name, go in ways.items()} for _ in range(rounds)]
    for name in ways:
        ratios = sorted(row["resident"] / row[name] for row in seconds)
        print(f"{name}: {STEPS * 32 / statistics.median(r[name] for r in seconds):,.0f} images/s; "
              f"{statistics.median(ratios):.2f} of resident ({ratios[0]:.2f} to {ratios[-1]:.2f}, "
              f"n = {rounds})")


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        memory(Path(sys.argv[2]))
    else:
        speed(int(sys.argv[2]))
