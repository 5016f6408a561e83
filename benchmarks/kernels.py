"""The kernels of a training step on a GPU, which need not be here: XLA's compiler tells them.

python -m benchmarks.kernels [--chip H100] [--model cnn] [--batch_size 32] [--convolution product]
    [--plain]

On random images of CIFAR's shape, by Adam. `--plain` compiles the step as a CPU computes it. XLA
tunes products by trying them, which it can't here: on the card it may split sums otherwise.
"""

import argparse
from collections import Counter

import numpy as np

from engine import settling
from engine.config import Config
from engine.console.progress import plain_console
from engine.devices import choose
from engine.job import host
from engine.learners.gradient import Gradient
from engine.parts.reading import load
from engine.plan import plan, topology
from engine.plan.chips import CHIPS
from engine.plan.kernels import Kernel, kernels
from engine.request import Request


class Plain(Gradient):
    """One that learns everywhere as on a CPU."""

    def on(self, platform: str) -> Gradient:
        return self


def of_a_step(chip: str, config: Config, plain: bool = False) -> list[Kernel]:
    """The kernels of an update, compiled for one such GPU."""
    here = host.Host(choose.choose("cpu").device, plain_console(quiet=True))
    host.compute_on(here.device, compile_cache=False)
    found, missing = topology.devices(CHIPS[chip], 1)
    if missing:
        raise SystemExit(missing)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5120, 32, 32, 3), dtype=np.uint8)
    request = Request(config, data=(images, random.integers(0, 10, 5120, dtype=np.int32)))
    ready = settling.settle(*load(request, here), here)
    if plain:
        ready = ready._replace(learner=Plain(**vars(ready.learner)))
    return kernels(plan.step(plan.compiled_for(found, ready, fsdp=False).as_text() or ""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--chip", default="H100")
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--convolution", default="product")
    parser.add_argument("--plain", action="store_true")
    asked = vars(parser.parse_args())
    chip, plain = asked.pop("chip"), asked.pop("plain")
    rows = of_a_step(chip, Config(**asked, shuffle="once"), plain)
    for row in rows:
        print(f"| {row.name} | {row.kind} | {row.shape} | {row.source.split('/')[-1]} |")
    print(f"{len(rows)} kernels:", ", ".join(
        f"{count} {kind}" for kind, count in Counter(row.kind for row in rows).most_common()))
