"""What a run needs on devices that aren't here: --plan 8xH100. Nothing is run or timed.

Its program is compiled for those devices where XLA's compiler for them is installed, else for as
many of this machine's CPU.
"""

import dataclasses
import math
import re
from typing import Any, NamedTuple

import jax

from engine import settling
from engine.console.progress import plain_console
from engine.devices import choose, memory, mesh
from engine.devices.memory import nbytes
from engine.errors import RequestError
from engine.job import host
from engine.learners import chosen
from engine.parts.reading import load
from engine.plan import topology
from engine.plan.chips import Chip
from engine.plan.kernels import kernels
from engine.programs import compile, formulation
from engine.request import Request
from engine.setup import Setup
from engine.state import State

TAKEN = 0.75  # of the memory: jax's share of a GPU, where XLA_PYTHON_CLIENT_MEM_FRACTION is unset
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_OPERATION = re.compile(
    rf"^\s*(?:ROOT )?%?\S+ = (\(.*?\)|\S+) ({'|'.join(KINDS)})(-start)?\(", re.MULTILINE
)
_ARRAY = re.compile(r"\b[a-z]+(\d*)\w*\[([\d,]*)\]")  # such as f32[3,32]{1,0}


def step(text: str) -> str:
    """The body of the longest loop in a compiled program, which is a step's; all of it where there
    is no loop. `text` is `Compiled.as_text()`."""
    names = re.findall(r" while\(.*body=%?([\w.-]+)", text)
    bodies = (re.search(rf"^%?{re.escape(name)} .*?^}}", text, re.MULTILINE | re.DOTALL)
              for name in names)
    return max((body[0] for body in bodies if body), key=len, default=text)


def exchanged(text: str, devices: int) -> dict[str, list[int]]:
    """Bytes of every collective operation of a compiled text over `devices`, by kind: of the whole
    array, which is an all-gather's result and a reduce-scatter's operand."""
    found: dict[str, list[int]] = {}
    for result, kind, start in _OPERATION.findall(text):
        arrays = [math.prod(map(int, filter(None, sizes.split(",")))) * int(bits or 8) // 8
                  for bits, sizes in _ARRAY.findall(result)]
        # Operands stand beside the results; jaxlib 0.10 leaves them out of an all-reduce's.
        if start and (kind != "all-reduce" or result.startswith("((")):
            arrays = arrays[len(arrays) // 2:]
        scale = devices if kind == "reduce-scatter" else 1
        found.setdefault(kind, []).append(scale * sum(arrays))
    return found


class Way(NamedTuple):
    """A step on each device: bytes of temporary memory, bytes exchanged by kind, and kernels
    launched (0 where it was compiled for no GPU)."""

    temporary: int
    traffic: dict[str, int]
    kernels: int


class Plan(NamedTuple):
    """`state` are its shapes, `data` bytes on each device, `ways` replicated and with --fsdp,
    compiled as `source` says."""

    chip: Chip
    devices: int
    batch: int
    state: State
    data: int
    ways: list[Way]
    source: str


def held(tree: Any, devices: int, fsdp: bool) -> int:
    """Bytes of a tree of shapes on each of `devices`."""
    where = mesh.on_paper(devices, fsdp).shardings(tree)
    return nbytes(jax.tree.map(
        lambda x, at: jax.ShapeDtypeStruct(at.shard_shape(x.shape), x.dtype), tree, where
    ))


def there(found: list[jax.Device], ready: Setup, fsdp: bool) -> Setup:
    """The same on devices that need not be here, without this CPU's microbatch."""
    spread = mesh.spread(found, fsdp)
    learner = dataclasses.replace(ready.learner, config=ready.config, spread=spread).on(
        found[0].platform)
    at = ready.host._replace(device=found[0])
    laid = ready._replace(host=at, learner=learner)
    laid = laid._replace(**{name: mesh.blank(getattr(ready, name), laid.everywhere)
                            for name in ("data", "hyper", "root", "order")})
    return formulation.chosen(laid)


def compiled_for(found: list[jax.Device], ready: Setup, fsdp: bool) -> jax.stages.Compiled:
    """The training program for devices that need not be here."""
    ready = there(found, ready, fsdp)
    return compile.segment(ready, ready.state_shapes).compiled


def _way(found: list[jax.Device], ready: Setup, fsdp: bool) -> Way:
    program = compiled_for(found, ready, fsdp)
    body = step(program.as_text() or "")
    sent = {kind: sum(sizes) for kind, sizes in exchanged(body, len(found)).items()}
    launched = kernels(body) if found[0].platform == "gpu" else []
    return Way(memory.needed(program).temp, sent, len(launched))


def settled(request: Request, count: int, chip: Chip) -> Plan:
    """The plan of a request on `count` chips, compiled for them or as many CPU devices.

    Convolutions are computed as there. Raises RequestError for microbatches.
    """
    config = request.config
    if config.microbatch:
        raise RequestError("--plan reckons a batch computed at once: leave --microbatch out.")
    found, missing = topology.devices(chip, count)
    source = f"{count:,} devices of this machine's CPU ({missing})" if missing else \
        f"{count:,} × {chip.name} by XLA"
    # A program for devices that aren't here can be written to the cache and not be read again.
    here = host.Host(choose.choose("cpu").device, plain_console(quiet=True))
    host.compute_on(here.device, compile_cache=False)
    if config.convolution != "product" and (missing or config.convolution != "auto"):
        config = dataclasses.replace(config, convolution="direct")
    request = request._replace(config=config)
    ready = settling.settle(*load(request, here), here)
    if found:
        learner = there(found, ready, fsdp=False).learner
        _, why = formulation.decided(learner, ready.state_shapes.variables,
                                     ready.data.train.input_shape)
        source += f"; {why}" if why else ""
    train, validation = ready.data.train, ready.data.validation
    splits = [train.split] if validation.split is train.split else [train.split, validation.split]
    ways = [_way(found or jax.devices("cpu")[:count], ready, fsdp) for fsdp in (False, True)]
    return Plan(chip, count, config.batch_size, ready.state_shapes,
                nbytes([splits, train.rows, validation.rows]), ways, f"compiled for {source}")


def report(plan: Plan) -> str:
    """The whole plan, in Markdown: bytes on each device, replicated and with --fsdp."""
    room, rest = TAKEN * plan.chip.memory, dict(plan.state.variables)
    parts = {"parameters": rest.pop("params"), "batch statistics": rest,
             "optimizer state": plan.state.opt_state}
    rows = {name: [held(tree, plan.devices, fsdp) for fsdp in (False, True)]
            for name, tree in parts.items() if jax.tree.leaves(tree)}
    rows["data set"] = [plan.data, plan.data]
    rows["temporary of a step"] = [way.temporary for way in plan.ways]
    rows["in all"] = totals = [sum(each) for each in zip(*rows.values(), strict=True)]
    rows |= {f"{kind}, a step": [way.traffic.get(kind, 0) for way in plan.ways]
             for kind in KINDS if any(kind in way.traffic for way in plan.ways)}
    if any(way.kernels for way in plan.ways):
        rows["kernels, a step (not bytes)"] = [way.kernels for way in plan.ways]
    lines = [["bytes on each device", "replicated", "--fsdp"], ["---"] * 3,
             *([name, *(f"{value:,}" for value in values)] for name, values in rows.items()),
             [f"fits {room / 1e9:.0f} of {plan.chip.memory / 1e9:.0f} GB",
              *("yes" if total <= room else "no" for total in totals)]]
    parameters = sum(x.size for x in jax.tree.leaves(plan.state.params))
    return (f"plan: {plan.devices:,} × {plan.chip.name}; a batch of {plan.batch:,}, "
            f"{plan.batch // plan.devices:,} examples on each device; {parameters:,} parameters\n"
            f"{plan.source}; state and data by their shapes\n\n"
            + "\n".join(f"| {' | '.join(line)} |" for line in lines))


def run(request: Request, count: int, chip: Chip) -> None:
    """Print the plan; no run is begun and no folder made. To be called before jax is used."""
    chosen.share_of(request.config, count)
    jax.config.update("jax_num_cpu_devices", count)
    print(report(settled(request, count, chip)))
