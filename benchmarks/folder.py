#!/usr/bin/env python3
"""How long a folder of many small pictures takes to be listed, checked and decoded: folder.py
FOLDER [COUNT]. What is missing of the COUNT pictures, 32 × 32 JPEGs in ten classes, is made first.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[1]))
from engine.config import Reading  # noqa: E402
from engine.pictures import image_folder, listing  # noqa: E402


def make(root: Path, count: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    for n in range(count):
        path = root / str(n % 10) / f"{n:06}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise[n % 100]).save(path)


def main(root: Path, count: int) -> None:
    make(root, count)
    os.environ["XDG_CACHE_HOME"] = os.fspath(root / ".cache")  # hidden, so no part of the set
    works: dict[str, Callable[[str, Reading], object]] = {
        "listed": listing.of, "listed and checked": image_folder.listed,
        "listed, checked and decoded": image_folder.load,
        "again, from the cache": image_folder.load,
    }
    for what, work in works.items():
        wall, processor = time.perf_counter(), time.process_time()
        work(os.fspath(root), Reading())
        print(f"{what}: {time.perf_counter() - wall:.1f} s, of processors "
              f"{time.process_time() - processor:.1f} s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((*sys.argv[2:], "100000")[0]))
