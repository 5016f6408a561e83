"""What a run needs on devices that aren't here: --plan 8xH100. Nothing is run or timed.

Its program is compiled for those devices where XLA's compiler for them is installed, else for as
many of this machine's CPU.
"""

import dataclasses
import re
from typing import Any, NamedTuple

import jax

from engine import setup
from engine.data import Data
from engine.devices import choose, mesh
from engine.errors import RequestError
from engine.job import host
from engine.loggers.progress import plain_console
from engine.plan import collectives, topology
from engine.plan.chips import Chip
from engine.programs import compile, memory
from engine.programs.memory import nbytes
from engine.request import Request
from engine.setup import Setup
from engine.state import State

TAKEN = 0.75  # of the memory: jax's share of a GPU, where XLA_PYTHON_CLIENT_MEM_FRACTION is unset
_KERNEL = re.compile(r" = .* (?:fusion|custom-call|copy|sort)\(")


class Way(NamedTuple):
    """What a step takes on each device, replicated or with --fsdp: bytes of temporary memory, bytes
    exchanged by kind, and kernels launched (0 where it was compiled for no GPU)."""

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
    ways: tuple[Way, Way]
    source: str


def held(tree: Any, devices: int, fsdp: bool) -> int:
    """Bytes of a tree of shapes on each of `devices`."""
    where = mesh.on_paper(devices, fsdp).shardings(tree)
    return nbytes(jax.tree.map(
        lambda x, at: jax.ShapeDtypeStruct(at.shard_shape(x.shape), x.dtype), tree, where
    ))


def data_bytes(data: Data) -> int:
    """Of both subsets, a split that they share only once: what `data.place` puts on a device."""
    splits = {id(subset.split): subset.split for subset in (data.train, data.validation)}
    return nbytes([*splits.values(), data.train.rows, data.validation.rows])


def compiled_for(found: list[jax.Device], ready: Setup, fsdp: bool) -> jax.stages.Compiled:
    """The training program for devices that need not be here."""
    spread = mesh.spread(found, fsdp)
    # Without the microbatch that this CPU would have.
    learner = dataclasses.replace(ready.learner, config=ready.config, spread=spread)
    there = ready._replace(
        host=ready.host._replace(device=found[0]), spread=spread, learner=learner
    )
    there = there._replace(**{name: mesh.blank(getattr(ready, name), there.everywhere)
                              for name in ("data", "hyper", "root", "order")})
    return compile.segment(there, there.state_shapes).compiled


def _way(found: list[jax.Device], ready: Setup, fsdp: bool) -> Way:
    program = compiled_for(found, ready, fsdp)
    step = collectives.step(program.as_text() or "")
    traffic = collectives.read(step, len(found))
    launched = len(_KERNEL.findall(step)) if found[0].platform == "gpu" else 0
    return Way(memory.plan(program).temp, {kind: sum(sizes) for kind, sizes in traffic.items()},
               launched)


def _devices(chip: Chip, count: int) -> tuple[list[jax.Device], str]:
    """What to compile for, and in words."""
    found, missing = topology.devices(chip, count)
    if found:
        return found, f"compiled for {count:,} × {chip.name} by XLA"
    here = jax.devices("cpu")
    if len(here) < count:
        raise RequestError(f"this process has {len(here)} CPU devices, and a plan of {count} asks "
                           "for as many before jax is used: plan in a process of its own.")
    return here[:count], f"compiled for {count:,} devices of this machine's CPU ({missing})"


def settled(request: Request, count: int, chip: Chip) -> Plan:
    """The plan of a request on `count` chips.

    Convolutions are XLA's own, as on an accelerator. Raises RequestError for a batch that `count`
    devices can't share, or larger than the data, and for microbatches.
    """
    config = request.config
    if config.microbatch:
        raise RequestError("--plan reckons a batch computed at once: leave --microbatch out.")
    setup.share_of(config, count)
    found, source = _devices(chip, count)
    # A program for devices that aren't here can be written to the cache and not be read again.
    here = host.Host(choose.choose("cpu").device, plain_console(quiet=True))
    host.compute_on(here.device, compile_cache=False)
    if config.convolution == "auto":
        config = dataclasses.replace(config, convolution="direct")
    request = request._replace(config=config)
    ready = setup.settle(request, setup.load(request, here), here)
    return Plan(chip, count, config.batch_size, ready.state_shapes, data_bytes(ready.data),
                (_way(found, ready, fsdp=False), _way(found, ready, fsdp=True)), source)


def _table(plan: Plan) -> str:
    """Markdown: bytes on each device, replicated and with --fsdp."""
    room, rest = TAKEN * plan.chip.memory, dict(plan.state.variables)
    parts = {"parameters": rest.pop("params"), "batch statistics": rest,
             "optimizer state": plan.state.opt_state}
    bytes_of = {name: [held(tree, plan.devices, fsdp) for fsdp in (False, True)]
                for name, tree in parts.items() if jax.tree.leaves(tree)}
    bytes_of["data set"] = [plan.data, plan.data]
    bytes_of["temporary of a step"] = [way.temporary for way in plan.ways]
    bytes_of["in all"] = [sum(each) for each in zip(*bytes_of.values(), strict=True)]
    fits = ["yes" if total <= room else "no" for total in bytes_of["in all"]]
    sent = {f"{kind}, a step": [way.traffic.get(kind, 0) for way in plan.ways]
            for kind in collectives.KINDS if any(kind in way.traffic for way in plan.ways)}
    if any(way.kernels for way in plan.ways):
        sent["kernels, a step (not bytes)"] = [way.kernels for way in plan.ways]

    def rows(found: dict[str, list[int]]) -> list[list[str]]:
        return [[name, *(f"{value:,}" for value in values)] for name, values in found.items()]

    within = f"fits {room / 1e9:.0f} of {plan.chip.memory / 1e9:.0f} GB"
    head = ["bytes on each device", "replicated", "--fsdp"]
    lines = [head, ["---"] * len(head), *rows(bytes_of), [within, *fits], *rows(sent)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(plan: Plan) -> str:
    """The whole plan, in Markdown."""
    each = plan.batch // plan.devices
    parameters = sum(x.size for x in jax.tree.leaves(plan.state.params))
    return (f"plan: {plan.devices:,} × {plan.chip.name}; a batch of {plan.batch:,}, {each:,} "
            f"examples on each device; {parameters:,} parameters\n{plan.source}; state and data by "
            f"their shapes\n\n{_table(plan)}")


def run(request: Request, count: int, chip: Chip) -> None:
    """Print the plan; no run is begun and no folder made. To be called before jax is used."""
    setup.share_of(request.config, count)
    jax.config.update("jax_num_cpu_devices", count)
    print(report(settled(request, count, chip)))
