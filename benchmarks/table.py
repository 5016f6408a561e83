"""The time and memory that a table of a million rows takes to read: python -m benchmarks.table.

The file is made first, of normal numbers with six digits, ten columns of words and a label; each
reading is a process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

_READ = """
import resource, sys, time
from engine import sources
from engine.tables import table
start, before = time.perf_counter(), time.process_time()
split = sources.load(sys.argv[1]).splits["train"]
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{split.inputs.shape}: {seconds:.1f} s, {time.process_time() - before:.1f} s of processors, "
      f"{peak / 1024:,.0f} MiB at the most", flush=True)
"""


_MAKE = """
import sys
import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet
rows, columns = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
words = np.array([f"word {n}" for n in range(30)])
arrays = {f"number {n}": rng.standard_normal(rows).round(6) for n in range(columns - 11)}
arrays |= {f"kind {n}": words[rng.integers(30, size=rows)] for n in range(10)}
table = pa.table(arrays | {"label": rng.integers(3, size=rows)})
csv.write_csv(table, sys.argv[3])
parquet.write_table(table, sys.argv[4])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "t.csv"), Path(folder, "t.parquet")
        # A process of its own: the peak of those it starts would begin with its own.
        subprocess.run([sys.executable, "-c", _MAKE, str(asked.rows), str(asked.columns),
                        *map(str, files)], check=True)
        for file in files:
            print(f"{file.suffix}, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
            for _ in range(asked.rounds):
                subprocess.run([sys.executable, "-c", _READ, f"table:{file}"], check=True)


if __name__ == "__main__":
    main()
