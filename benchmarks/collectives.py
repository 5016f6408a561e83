"""What the devices of a run send each other in a step, read from the compiled program.

python -m benchmarks.collectives [--devices 1 --devices 2]

Compiles the article's training for so many forced CPU devices, each in a child process, with 32
examples of the batch on each device, data-parallel and with --fsdp. Nothing is run or timed. Prints
a Markdown table: operations and bytes of whole arrays, and whether the reckoning of --plan agrees.
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
from engine.devices import spare_threads

EACH = 32  # examples of a batch on each device


def measured(fsdp: bool) -> dict[str, Any]:
    """Of this process's CPU devices: parameter bytes, bytes of every operation, bytes reckoned."""
    import jax

    from engine import collectives, mesh, setup
    from engine.run import compile_segment
    from engine.sources.dataset import Dataset, Split

    device, devices = jax.devices("cpu")[0], jax.device_count()
    config = dataclasses.replace(ARTICLE, batch_size=EACH * devices, fsdp=fsdp)
    images = np.zeros((config.batch_size, 32, 32, 3), np.uint8)  # how many changes nothing
    split = Split(images, np.zeros(config.batch_size, np.int32))
    dataset = Dataset("blank", tuple("0123456789"), {"train": split, "test": split}, "")
    ready = setup.settle(config, HYPER, device, dataset, setup.plain_console(quiet=True),
                         mesh.spread(device, config))
    state = ready.state_shapes
    text = compile_segment(ready, ready.config, state).compiled.as_text()
    return {
        "params": collectives.nbytes(state.params),
        "read": collectives.read(text, devices),
        "reckoned": collectives.reckoned(state.params, devices, fsdp),
    }


def child(devices: int, fsdp: bool) -> dict[str, Any]:
    """`measured` in a process of so many CPU devices."""
    flag = f"--xla_force_host_platform_device_count={devices}"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag}
    spare_threads(env)
    code = f"import json; from benchmarks import collectives as c; " \
           f"print(json.dumps(c.measured({fsdp})))"
    return json.loads(subprocess.check_output([sys.executable, "-c", code], env=env, text=True))


def row(devices: int, fsdp: bool, found: dict[str, Any]) -> str:
    read = {kind: sum(sizes) for kind, sizes in found["read"].items()}
    kinds = ", ".join(f"{len(sizes)} {kind} ({sum(sizes):,})"
                      for kind, sizes in sorted(found["read"].items()))
    total = sum(read.values())
    cells = [devices, "--fsdp" if fsdp else "data-parallel", kinds or "none", f"{total:,}",
             f"{total / found['params']:.3f}", "yes" if read == found["reckoned"] else "no"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, action="append", help="default: 1, 2, 4, 8")
    counts = parser.parse_args().devices or [1, 2, 4, 8]
    print("| devices | | collectives a step (bytes) | bytes a step | ÷ parameters' bytes "
          "| as reckoned |\n|---|---|---|---|---|---|")
    for devices in counts:
        for fsdp in (False, True):
            print(row(devices, fsdp, child(devices, fsdp)), flush=True)


if __name__ == "__main__":
    main()
