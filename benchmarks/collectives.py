"""What the devices of a run send each other in a step, read from the compiled program.

python -m benchmarks.collectives [--devices 1 --devices 2] [--chip H100]

Compiles the article's training, with 32 examples of the batch on each device: for so many forced
CPU devices, each time in a child process; with --chip for such GPUs, of which none need be here
(pip install -e ".[plan]"). Nothing is run or timed. Prints a Markdown table: operations and bytes
of whole arrays.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from configs.article import config as ARTICLE
from configs.article import hyper as HYPER
from engine.config import Config
from engine.devices.choose import spare_threads
from engine.plan.chips import CHIPS
from engine.request import Request

EACH = 32  # examples of a batch on each device
WAYS: tuple[dict[str, Any], ...] = ({"fsdp": False}, {"fsdp": True})


def measured(way: dict[str, Any], count: int, chip: str = "") -> dict[str, Any]:
    """Parameter bytes, and bytes of every operation by kind: of this process's CPU devices, or of
    so many chips."""
    import jax

    from engine import setup
    from engine.job import host
    from engine.loggers.progress import plain_console
    from engine.plan import plan, topology
    from engine.programs.memory import nbytes

    here = jax.devices("cpu")
    config = dataclasses.replace(ARTICLE, batch_size=EACH * count)
    if chip:
        config = dataclasses.replace(config, convolution="direct")
    found, missing = topology.devices(CHIPS[chip], count) if chip else (here[:count], "")
    assert found, missing
    quiet = host.Host(here[0], plain_console(quiet=True))
    ready = setup.settle(Request(config, HYPER), _blank(config), quiet)
    text = plan.compiled_for(found, ready, **way).as_text() or ""
    return {"params": nbytes(ready.state_shapes.params),
            "read": plan.exchanged(plan.step(text), count)}


def _blank(config: Config):
    """Images without content; how many changes nothing."""
    from engine.sources.dataset import Dataset, Split

    images = np.zeros((config.batch_size, 32, 32, 3), np.uint8)
    split = Split(images, np.zeros(config.batch_size, np.int32))
    return Dataset("blank", tuple("0123456789"), {"train": split, "test": split}, "")


def child(way: dict[str, Any], count: int) -> dict[str, Any]:
    """`measured` in a process of so many CPU devices."""
    flag = f"--xla_force_host_platform_device_count={count}"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag}
    spare_threads(env)
    code = f"import json; from benchmarks import collectives as c; " \
           f"print(json.dumps(c.measured({way}, {count})))"
    return json.loads(subprocess.check_output([sys.executable, "-c", code], env=env, text=True))


def row(way: dict[str, Any], count: int, found: dict[str, Any]) -> str:
    kinds = ", ".join(f"{len(sizes)} {kind} ({sum(sizes):,})"
                      for kind, sizes in sorted(found["read"].items()))
    total = sum(map(sum, found["read"].values()))
    name = "--fsdp" if way["fsdp"] else "data-parallel"
    cells = [count, name, kinds or "none", f"{total:,}", f"{total / found['params']:.3f}"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, action="append", help="default: 1, 2, 4, 8")
    parser.add_argument("--chip", default="", choices=[c.name for c in CHIPS.values() if c.cores])
    asked = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"  # to compile is all
    print("| devices | | collectives a step (bytes) | bytes a step | ÷ parameters' bytes |\n"
          "|---|---|---|---|---|")
    for count in asked.devices or [1, 2, 4, 8]:
        for way in WAYS:
            found = measured(way, count, asked.chip) if asked.chip else child(way, count)
            print(row(way, count, found), flush=True)


if __name__ == "__main__":
    main()
