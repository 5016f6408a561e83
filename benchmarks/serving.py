"""A served run under load.

python -m benchmarks.serving RUN BODY [--requests 1000] [--clients 8]

RUN is a run's folder, BODY a file to send: a picture, a .csv or a .json. The server is a process
of its own; each client is a thread with a connection of its own that sends its next request when
the last is answered. Prints the p50, p90 and p99 of a request's milliseconds, requests a second,
and how many were not answered by 200; exits 1 where there are such.
"""

import argparse
import http.client
import mimetypes
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.article import HERE, machine

SECONDS = 600


def started(run: str, device: str) -> tuple[subprocess.Popen, int]:
    """A server, ready, and its port."""
    command = [sys.executable, str(HERE.parent / "launch.py"), "serve", run, "--port", "0",
               "--device", device, "--request_rate", "1000000"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"http://.*:(\d+)", line):
            return server, int(found[1])
    raise SystemExit(f"the server ended with status {server.wait()}")


def client(port: int, kind: str, body: bytes, count: int, found: list[tuple[int, float]]) -> None:
    """Adds the status and the seconds of each request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    for _ in range(count):
        begun = time.perf_counter()
        connection.request("POST", "/predict", body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        found.append((answer.status, time.perf_counter() - begun))
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("body", type=Path)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    kind = mimetypes.guess_type(asked.body.name)[0] or "application/octet-stream"
    server, port = started(asked.run, asked.device)
    try:
        found: list[tuple[int, float]] = []
        each = -(-asked.requests // asked.clients)
        threads = [threading.Thread(target=client, args=(
            port, kind, asked.body.read_bytes(), each, found)) for _ in range(asked.clients)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - begun
    finally:
        server.terminate()
        server.wait(SECONDS)
    wrong = [status for status, _ in found if status != 200]
    p50, p90, p99 = np.percentile([1000 * seconds for _, seconds in found], (50, 90, 99))
    print(machine())
    print(f"{len(found):,} requests of {asked.clients} clients: p50 {p50:.1f} ms, "
          f"p90 {p90:.1f} ms, p99 {p99:.1f} ms, {len(found) / took:.0f} a second; "
          f"not 200: {len(wrong)}")
    sys.exit(bool(wrong) or len(found) < asked.requests)


if __name__ == "__main__":
    main()
