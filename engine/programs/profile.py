"""Where a program's time goes: a trace for xprof, TensorBoard and Perfetto, and its top rows.

On a GPU these are kernels, read from its streams: one that belongs to a graph names no operation
but the graph, so it is known by its own name, which XLA gives it after its fusion.
"""

import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from engine.devices.program import Program
from engine.errors import RequestError
from engine.setup import Setup
from engine.state import State
from engine.stream.streamed import Feed
from engine.width import columns, shortened

TOP = 10
NAME = 60  # characters of a kernel's name, which in C++ may have hundreds
GPU = "/device:GPU"
PROFILED = 20


class Operation(NamedTuple):
    """Of one compiled operation or a GPU's kernel: its name, seconds in all, what it came from, how
    often it ran."""

    name: str
    seconds: float
    source: str
    times: int


class Event(NamedTuple):
    """Something ran, from `start` on, in nanoseconds; `operation` is its name in the program, or
    ""."""

    line: str
    name: str
    operation: str
    start: float
    duration: float


def trace(folder: Path, work: Callable[[], Any]) -> Path:
    """Run `work` under jax's profiler; the .xplane.pb (perfetto_trace.json.gz lies beside it)."""
    with jax.profiler.trace(folder, create_perfetto_trace=True):
        jax.block_until_ready(work())
    return max(folder.glob("plugins/profile/*/*.xplane.pb"), key=lambda p: p.stat().st_mtime)


def _events(xplane: Path, plane_name: str) -> Iterator[Event]:
    """All of the planes whose names begin so; of GPUs the first one's."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn as jax makes its types, which aborts where that is an error.
        warnings.simplefilter("ignore", DeprecationWarning)
        planes = [plane for plane in jax.profiler.ProfileData.from_file(str(xplane)).planes
                  if plane.name.startswith(plane_name)]
        for plane in planes[:1] if plane_name == GPU else planes:
            for line in plane.lines:
                for event in line.events:
                    yield Event(line.name, event.name, str(dict(event.stats).get("hlo_op", "")),
                                event.start_ns, event.duration_ns)


def _sources(hlo: str) -> dict[str, str]:
    """Of jax's path of each operation, the end: without the loop around it."""
    return dict(re.findall(
        r'^\s*(?:ROOT )?%?([\w.-]+) = .*?op_name="(?:[^"]*(?:closed_call|body)/)?([^"]*)"',
        hlo, re.MULTILINE))


def _summed(events: list[Event], source: Callable[[Event], str]) -> list[Operation]:
    """By name, the most expensive first."""
    seconds, counts, sources = Counter[str](), Counter[str](), {}
    for event in events:
        seconds[event.name] += event.duration / 1e9  # type: ignore[assignment]
        counts[event.name] += 1
        sources[event.name] = source(event)
    return [Operation(name, s, sources[name], counts[name]) for name, s in seconds.most_common()]


def operations(xplane: Path, hlo: str) -> list[Operation]:
    """Every operation of the trace, the most expensive first. `hlo`: the compiled program's text.

    Threads add up: on two cores, an operation that both work on counts both.
    """
    sources = _sources(hlo)
    # Loops and calls hold others' time, and CPU threads mark an operation's end.
    events = [event for event in _events(xplane, "") if event.name == event.operation
              and not re.match(r"(while|call|conditional|command_buffer)\b", event.name)]
    return _summed(events, lambda event: sources.get(event.name, ""))


class Kernels(NamedTuple):
    """What a GPU ran, the most expensive first; the seconds in which any ran, and those from the
    first one's start to the last one's end."""

    found: list[Operation]
    busy: float
    seconds: float


def kernels(xplane: Path, hlo: str) -> Kernels:
    """Kernels and copies of the first GPU's streams. `hlo`: the compiled program's text."""
    sources = _sources(hlo)
    of_kernels = {re.sub(r"\W", "_", name): source for name, source in sources.items()}
    events = sorted((event for event in _events(xplane, GPU) if event.line.startswith("Stream")),
                    key=lambda event: event.start)
    busy, end = 0.0, events[0].start if events else 0.0
    first = end
    for event in events:  # streams overlap
        until = event.start + event.duration
        busy += max(until - max(event.start, end), 0)
        end = max(end, until)
    found = _summed(events, lambda event: of_kernels.get(
        event.name, sources.get(event.operation, "")))
    return Kernels(found, busy / 1e9, (end - first) / 1e9)


def table(found: list[Operation], steps: int) -> str:
    """The ten most expensive operations, in milliseconds a step."""
    total = sum(operation.seconds for operation in found)
    rows = [f"{'ms a step':>9}  {'share':>5}  operation"]
    for name, seconds, source, _ in found[:TOP]:
        row = f"{1000 * seconds / steps:9.3f}  {seconds / total:5.1%}  {name}  "
        rows.append(row + shortened(source, columns(sys.stdout) - len(row)))
    return "\n".join(rows)


def kernel_table(ran: Kernels, steps: int) -> str:
    """The ten most expensive kernels, in microseconds a step, and what all of them come to."""
    if not ran.found:
        return "the GPU's streams are empty: its driver may let administrators alone trace kernels"
    total = sum(kernel.seconds for kernel in ran.found)
    rows = [f"{'µs a step':>9}  {'share':>5}  {'a step':>6}  kernel"]
    for name, seconds, source, times in ran.found[:TOP]:
        row = (f"{1e6 * seconds / steps:9.1f}  {seconds / total:5.1%}  {times / steps:6.1f}  "
               f"{name[:NAME]}  ")
        rows.append(row + shortened(source, columns(sys.stdout) - len(row)))
    launches = sum(kernel.times for kernel in ran.found) / steps
    return "\n".join([*rows, (
        f"{launches:.1f} kernels and copies a step, busy for {1e6 * ran.busy / steps:.1f} of "
        f"{1e6 * ran.seconds / steps:.1f} µs: idle for {1 - ran.busy / ran.seconds:.0%}, launched "
        "one by one, as XLA makes no graphs while it is traced")])


def told(ready: Setup, feed: Feed, segment: Program, state: State, path: Path) -> str:
    """Trace PROFILED steps, or what its epoch has left, from a copy of `state` into `path`; the
    dearest operations in words. Raises RequestError where the run has none left."""
    step, epoch = int(state.step), ready.lengths.epoch
    if step >= ready.lengths.total:
        raise RequestError(f"--profile traces updates, and the run has made all {step} of its own: "
                           "type more --epochs, or leave it out.", shared=True)
    steps = min(PROFILED, epoch - step % epoch, feed.most(step))
    inputs = ready.inputs | {"train": feed.train(step)}

    def work(state: State) -> State:
        return segment(**inputs, state=state, count=np.int32(steps))

    jax.block_until_ready(work(jax.tree.map(jnp.copy, state)))  # warm-up
    copied = jax.block_until_ready(jax.tree.map(jnp.copy, state))
    xplane, hlo = trace(path, lambda: work(copied)), segment.compiled.as_text() or ""
    if ready.device.platform == "gpu":
        rows = kernel_table(kernels(xplane, hlo), steps)
    else:
        rows = table(operations(xplane, hlo), steps)
    return (f"profile of {steps} steps in {path}, for xprof, TensorBoard and ui.perfetto.dev:\n"
            + rows)
