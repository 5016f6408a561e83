"""What a run would need and how fast it would be on devices that aren't here: --plan 8xH100.

A step is compiled for those devices where XLA's compiler for them is installed, else for this
machine's CPU; everything else is reckoned on paper, from shapes and from the nominal figures in
chips.py.
"""

import dataclasses
import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from engine import memory, mesh, setup, step
from engine.config import Config, Hyper
from engine.data import Data
from engine.devices import choose as devices
from engine.errors import RequestError
from engine.plan import chips, collectives, topology
from engine.plan.chips import Chip
from engine.run import compile_segment
from engine.setup import Setup
from engine.state import State

_KERNEL = re.compile(r" = .* (?:fusion|custom-call|copy|sort)\(")


class Share(NamedTuple):
    """Bytes that each of `devices` holds, and bytes a step that they exchange, by kind."""

    devices: int
    params: int
    batch_stats: int
    optimizer: int
    data: int
    temporary: int
    traffic: dict[str, int]

    @property
    def total(self) -> int:
        return self.params + self.batch_stats + self.optimizer + self.data + self.temporary

    @property
    def touched(self) -> int:
        """By an update: the gradient read, parameters, batch statistics and optimizer state read
        and written."""
        return 3 * self.params + 2 * (self.batch_stats + self.optimizer)


class Step(NamedTuple):
    """Seconds of one update of `batch` examples on `devices`; neither part hides the other."""

    devices: int
    batch: int
    compute: float
    exchange: float

    @property
    def seconds(self) -> float:
        return self.compute + self.exchange

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.batch / self.seconds


class Way(NamedTuple):
    """What compiling a step tells: bytes of temporary memory on each device; bytes exchanged, by
    kind, and kernels launched, where it was compiled for all of them."""

    temporary: int
    traffic: dict[str, int] | None = None
    kernels: int = 0


class Plan(NamedTuple):
    """All that the prediction rests on. `flops` are one example's, forward and both gradients;
    `data` bytes on each device; `ways` replicated and with fsdp, compiled as `source` says."""

    chip: Chip
    devices: int
    batch: int
    state: State
    data: int
    ways: tuple[Way, Way]
    source: str
    flops: float


def share(plan: Plan, devices: int, fsdp: bool) -> Share:
    """What each of `devices` holds."""
    return Share(
        devices,
        collectives.held(plan.state.params, devices, fsdp),
        collectives.held(plan.state.batch_stats, devices, fsdp),
        collectives.held(plan.state.opt_state, devices, fsdp),
        plan.data,
        plan.ways[fsdp].temporary,
        collectives.reckoned(plan.state.variables, devices, fsdp),
    )


def predicted(plan: Plan, devices: int, batch: int, fsdp: bool) -> Step:
    """A step of `batch` examples, spread evenly over `devices`."""
    own = share(plan, devices, fsdp)
    # A layer's two arrays are summed together, forward and backward: a sum for each array.
    sums = len(jax.tree.leaves(plan.state.batch_stats))
    return Step(
        devices, batch,
        chips.compute_seconds(plan.chip, plan.flops * batch / devices, own.touched),
        chips.exchange_seconds(plan.chip, devices, own.traffic, sums),
    )


def counts(devices: int) -> list[int]:
    """1, 2, 4, ... and `devices`."""
    return [2**n for n in range((devices - 1).bit_length())] + [devices]


def growing(plan: Plan, fsdp: bool) -> list[Step]:
    """Ever more devices, each with the share that the asked count has: the batch grows."""
    each = plan.batch // plan.devices
    return [predicted(plan, n, each * n, fsdp) for n in counts(plan.devices)]


def shared(plan: Plan, fsdp: bool) -> list[Step]:
    """Ever more devices that share the asked batch, where they can."""
    return [predicted(plan, n, plan.batch, fsdp)
            for n in counts(plan.devices) if plan.batch % n == 0]


def overtaken(steps: list[Step]) -> int | None:
    """The first of the counts at which the exchange takes longer than the computation."""
    return next((at.devices for at in steps if at.exchange > at.compute), None)


def flops_of_example(model: nn.Module, variables: Any, image_HxWxC: tuple[int, ...]) -> float:
    """XLA's count for one example's gradient. Outside any loop, where it is sound: of a loop it
    counts the body once, whatever its length."""

    def loss(params, batch_stats, image_HxWxC, label):
        batch = step.Batch(image_HxWxC[None], label[None], jnp.ones(1, bool))
        variables = {"params": params, "batch_stats": batch_stats}
        logits_1xC, _ = step.learning(model, variables, batch, jax.random.key(0))
        return step.cross_entropy(logits_1xC, batch.targets)[0]

    image = jax.ShapeDtypeStruct(image_HxWxC, jnp.float32)
    label = jax.ShapeDtypeStruct((), jnp.int32)
    given = variables["params"], variables["batch_stats"], image, label
    cost: Any = jax.jit(jax.grad(loss)).lower(*given).cost_analysis()
    return cost["flops"]


def kernels(text: str) -> int:
    """Fusions, convolutions and the like in the longest loop of a compiled program: a step's."""
    bodies = re.findall(r" while\(.*body=%?([\w.]+)", text)
    found = (re.search(rf"^%?{re.escape(name)} .*?^}}", text, re.MULTILINE | re.DOTALL)
             for name in bodies)
    return max((len(_KERNEL.findall(body[0])) for body in found if body), default=0)


def data_bytes(data: Data) -> int:
    """Of both subsets, a split that they share only once: what `data.place` puts on a device."""
    splits = {id(subset.split): subset.split for subset in (data.train, data.validation)}
    return collectives.nbytes([*splits.values(), data.train.rows, data.validation.rows])


def _compiled_here(ready: Setup, count: int) -> tuple[Way, Way]:
    """One device's share of the batch, for this machine's CPU. What --fsdp gathers is added on
    paper, as if all of it were whole at once."""
    state = ready.state_shapes
    each = ready.config.batch_size // count
    alone = dataclasses.replace(ready.config, batch_size=each)
    temporary = memory.plan(compile_segment(ready, alone, state).compiled).temp
    traffic = collectives.reckoned(state.variables, count, fsdp=True, gathers=1)
    gathered = traffic.get("all-gather", 0)
    return Way(temporary), Way(temporary + gathered)


def compiled_for(found: list[jax.Device], ready: Setup, config: Config) -> jax.stages.Compiled:
    """The training program of `config` for devices that aren't here."""
    there = ready._replace(config=config, device=found[0], spread=mesh.spread(found, config))
    there = there._replace(**{name: mesh.blank(getattr(ready, name), there.everywhere)
                              for name in ("data", "hyper", "root", "order")})
    return compile_segment(there, config, there.state_shapes).compiled


def _compiled_there(ready: Setup, found: list[jax.Device], fsdp: bool) -> Way:
    program = compiled_for(found, ready, dataclasses.replace(ready.config, fsdp=fsdp))
    text = program.as_text() or ""
    traffic = collectives.read(text, len(found))
    return Way(memory.plan(program).temp, {kind: sum(sizes) for kind, sizes in traffic.items()},
               kernels(text))


def settled(config: Config, hyper: Hyper, count: int, chip: Chip) -> Plan:
    """The plan of `config` on `count` chips.

    Convolutions are XLA's own, as on an accelerator. Raises RequestError for a batch that `count`
    devices can't share, or larger than the data, and for what nobody reckons.
    """
    if config.microbatch:
        raise RequestError("--plan reckons a batch computed at once: leave --microbatch out.")
    setup.share_of(config, count)
    # A program for devices that aren't here can be written to the cache and not be read again.
    config = dataclasses.replace(config, compile_cache=False)
    device = devices.choose("cpu").device
    setup.compute_on(device, config)
    if config.convolution == "auto":
        config = dataclasses.replace(config, convolution="direct")
    ready = setup.settle(
        config, hyper, device, setup.load(config), setup.plain_console(quiet=True)
    )
    ready = ready._replace(config=config)  # without the microbatch that this CPU would have
    state = ready.state_shapes
    found, missing = topology.devices(chip, count)
    if found:
        ways = _compiled_there(ready, found, False), _compiled_there(ready, found, True)
        source = f"compiled for {count:,} × {chip.name} by XLA"
    else:
        ways = _compiled_here(ready, count)
        source = f"compiled for this machine's CPU ({missing}); what --fsdp gathers, on paper"
    return Plan(
        chip, count, config.batch_size, state, data_bytes(ready.data), ways, source,
        flops_of_example(ready.model, state.variables, ready.data.train.image_shape),
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _memory(plan: Plan) -> str:
    """Bytes on each device, replicated and with --fsdp."""
    ways = [share(plan, plan.devices, fsdp) for fsdp in (False, True)]
    room = chips.TAKEN * plan.chip.memory

    def row(name: str, values: list[int], source: str) -> list[str]:
        return [name, *(f"{value:,}" for value in values), source]

    rows = [
        row("parameters", [w.params for w in ways], "paper: shapes"),
        *([row("batch statistics", [w.batch_stats for w in ways], "paper: shapes")]
          if plan.state.batch_stats else []),
        row("optimizer state", [w.optimizer for w in ways], "paper: shapes"),
        row("data set, uint8", [w.data for w in ways], "paper: shapes"),
        row("temporary of a step", [w.temporary for w in ways], plan.source),
        row("in all", [w.total for w in ways], ""),
        [f"fits {room / 1e9:.0f} of {plan.chip.memory / 1e9:.0f} GB",
         *("yes" if w.total <= room else "no" for w in ways), "paper: what jax takes of a GPU"],
    ]
    for kind in ("all-reduce", "all-gather", "reduce-scatter"):
        paper = [way.traffic.get(kind, 0) for way in ways]
        compiled = [way.traffic.get(kind, 0) for way in plan.ways if way.traffic is not None]
        same = f"; {plan.source}, the same" if compiled == paper else ""
        rows.append(row(f"{kind}, a step", paper, f"paper: shapes{same}"))
        if compiled and not same:
            rows.append(row(f"{kind}, a step", compiled, plan.source))
    if all(way.kernels for way in plan.ways):
        rows.append(row("kernels, a step (not bytes)", [way.kernels for way in plan.ways],
                        plan.source))
    return _table(["bytes on each device", "replicated", "--fsdp", "how it is known"], rows)


def _times(steps: list[Step]) -> str:
    """A row a number of devices, and where the exchange overtakes the computation."""
    head = ["devices", "batch", "compute, ms", "exchange, ms", "step, ms", "images/s", "efficiency"]
    rows = [[f"{at.devices:,}", f"{at.batch:,}", f"{1e3 * at.compute:.3f}",
             f"{1e3 * at.exchange:.3f}", f"{1e3 * at.seconds:.3f}", f"{at.rate:,.0f}",
             f"{at.rate / (at.devices * steps[0].rate):.1%}"] for at in steps]
    found = overtaken(steps)
    last = f"the exchange takes longer than the computation from {found:,} devices on" if found \
        else f"the computation takes longer than the exchange up to {steps[-1].devices:,} devices"
    return f"{_table(head, rows)}\n\n{last}"


def report(plan: Plan, fsdp: bool) -> str:
    """The whole prediction, in Markdown; every line says whether it was compiled or reckoned."""
    chip, each = plan.chip, plan.batch // plan.devices
    parameters = sum(x.size for x in jax.tree.leaves(plan.state.params))
    way = "with --fsdp" if fsdp else "data-parallel"
    return "\n\n".join([
        f"plan: {plan.devices:,} × {chip.name}, {way}; a batch of {plan.batch:,}, {each:,} "
        f"examples on each device; {parameters:,} parameters",
        f"chip, nominal: {chip.flops / 1e12:,.1f} TFLOP/s {chip.precision}, "
        f"{chip.memory / 1e9:.0f} GB at {chip.memory_bandwidth / 1e9:,.0f} GB/s; "
        f"{chip.link / 1e9:.0f} GB/s among {chip.linked}, {chip.network / 1e9:.1f} GB/s beyond",
        f"assumed: {chips.EFFICIENCY:.0%} of the peak, {1e6 * chips.HOP_SECONDS:.0f} µs a hop, an "
        "exchange that starts when the computation is done; nothing for the launch of kernels, "
        "which is most of a small network's step: the times are the least, the rates the most",
        f"FLOPs: {plan.flops * each:,.0f} a step on each device, {plan.flops:,.0f} an example, by "
        "XLA's cost analysis of one gradient outside a loop (of a loop it counts the body once)",
        _memory(plan),
        f"Reckoned on paper, {each:,} examples on each device:",
        _times(growing(plan, fsdp)),
        f"Reckoned on paper, a batch of {plan.batch:,} shared:",
        _times(shared(plan, fsdp)),
    ])


def run(config: Config, hyper: Hyper, count: int, chip: Chip) -> None:
    """Print the plan; no run is begun and no folder made."""
    print(report(settled(config, hyper, count, chip), config.fsdp))
