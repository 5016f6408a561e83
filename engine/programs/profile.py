"""Where a program's time goes: a trace for xprof, TensorBoard and Perfetto, and its top rows."""

import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from engine.loggers.width import columns, cut
from engine.programs.program import Plain, Program
from engine.setup import Setup
from engine.state import State
from engine.stream.streamed import Feed

TOP = 10
PROFILED = 20


class Operation(NamedTuple):
    """Of one compiled operation: its name in the program, seconds in all, and what it came from."""

    name: str
    seconds: float
    source: str


def trace(folder: Path, work: Callable[[], Any]) -> Path:
    """Run `work` under jax's profiler; the .xplane.pb (perfetto_trace.json.gz lies beside it)."""
    with jax.profiler.trace(folder, create_perfetto_trace=True):
        jax.block_until_ready(work())
    return max(folder.glob("plugins/profile/*/*.xplane.pb"), key=lambda p: p.stat().st_mtime)


def operations(xplane: Path, hlo: str) -> list[Operation]:
    """Every operation of the trace, the most expensive first. `hlo`: the compiled program's text.

    Threads add up: on two cores, an operation that both work on counts both.
    """
    # Of jax's path of an operation, the end: without the loop around it.
    sources = dict(re.findall(
        r'^\s*(?:ROOT )?%?([\w.-]+) = .*?op_name="(?:[^"]*(?:closed_call|body)/)?([^"]*)"',
        hlo, re.MULTILINE))
    seconds: Counter[str] = Counter()
    with warnings.catch_warnings():
        # Python 3.12 and later warn as jax makes its types, which aborts where that is an error.
        warnings.simplefilter("ignore", DeprecationWarning)
        for plane in jax.profiler.ProfileData.from_file(str(xplane)).planes:
            for event in (event for line in plane.lines for event in line.events):
                # Loops and calls hold others' time, and CPU threads mark an operation's end.
                if event.name == dict(event.stats).get("hlo_op") and not re.match(
                        r"(while|call|conditional|command_buffer)\b", event.name):
                    seconds[event.name] += event.duration_ns / 1e9
    return [Operation(name, s, sources.get(name, "")) for name, s in seconds.most_common()]


def table(found: list[Operation], steps: int) -> str:
    """The ten most expensive operations, in milliseconds a step."""
    total = sum(operation.seconds for operation in found)
    rows = [f"{'ms a step':>9}  {'share':>5}  operation"]
    for name, seconds, source in found[:TOP]:
        row = f"{1000 * seconds / steps:9.3f}  {seconds / total:5.1%}  {name}  "
        rows.append(row + cut(source, columns(sys.stdout) - len(row)))
    return "\n".join(rows)


def told(
    ready: Setup, feed: Feed, segment: Program | Plain, state: State, path: Path
) -> str:
    """Trace PROFILED steps from a copy of `state` into `path`; the dearest operations in words."""
    step = int(state.step)
    steps = min(PROFILED, ready.lengths.epoch, feed.most(step))
    inputs = ready.inputs | {"train": feed.train(step)}

    def work() -> State:
        return segment(**inputs, state=jax.tree.map(jnp.copy, state), count=np.int32(steps))

    jax.block_until_ready(work())  # warm-up
    found = operations(trace(path, work), segment.compiled.as_text() or "")
    return (f"profile of {steps} steps in {path}, for xprof, TensorBoard and ui.perfetto.dev:\n"
            + table(found, steps))
