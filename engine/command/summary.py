"""A network's layers as a table: what each gives, its parameters, FLOPs of one example.

Read from the traced equations, so that functions without variables, such as activations and
poolings, have their lines, and any network is told: Linen, NNX, or neither.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax import nnx
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params

from engine.doors import handed
from engine.doors.functions import unwrapped
from engine.doors.network import Linen
from engine.doors.nnx import NNX
from engine.errors import sides
from engine.job.host import Host
from engine.learners import fitting
from engine.learners.chosen import learner_of
from engine.parts.reading import featured, load
from engine.request import Request

Path = tuple[str, ...]
_FUNCTIONS = "jax/_src/nn/functions.py"  # where jax.nn has its activations
_SAME = {"reshape", "broadcast_in_dim", "transpose", "convert_element_type", "squeeze"}
_MOVES = _SAME | {"copy", "concatenate", "slice", "pad", "gather", "stop_gradient", "select_n",
                  "dynamic_slice", "rev", "iota", "split", "expand_dims"}
_POOLS = {"reduce_window_max": "max_pool", "reduce_window_sum": "avg_pool", "reduce_window": "pool"}


class Part(NamedTuple):
    """A line's share: the layer's path, what is called there, its output's shape, FLOPs."""

    path: Path
    called: str
    shape: tuple[int, ...]
    flops: int


def summary(request: Request, host: Host) -> str:
    """Raises RequestError where the network does not fit the data."""
    request, dataset = load(request, host)
    _, data, columns = featured(request, dataset)
    learner = learner_of(request.config, data.num_outputs, columns=columns)
    inputs = jax.ShapeDtypeStruct((1, *data.train.input_shape), "float32")
    fitting.network(learner, inputs, data.num_outputs)
    return table(learner.network, inputs)


def table(network: Any, inputs: jax.ShapeDtypeStruct) -> str:
    """The layers in the order of their calls, for `inputs` [1, ...]; containers have a line."""
    variables = jax.eval_shape(network.init, jax.random.key(0), inputs)
    traced = jax.make_jaxpr(lambda v, x: network.apply(v, x, False)[0])(variables, inputs).jaxpr
    paths = [_holder(path[1:]) for path, _ in jax.tree_util.tree_leaves_with_path(variables)]
    owners: dict[Var, Path] = dict(zip(traced.invars, paths, strict=False))
    made = unwrapped(network)
    classes = _classes(made, handed.shapes(network, inputs))
    counts: dict[Path, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        holder = _holder(path)
        counts[holder] = counts.get(holder, 0) + math.prod(leaf.shape)
    root = 1 if isinstance(made, Linen) else 0  # whose scopes begin with the class of the whole
    lines = _lines(list(_parts(traced, owners, root)), counts, classes)
    kept = sum(math.prod(x.shape) for x in jax.tree.leaves(variables)) - sum(counts.values())
    more = [f"and {kept:,} other variables, such as batch statistics"] if kept else []
    rows = [("layer", "output", "parameters", "FLOPs"), *lines]
    wide = [max(len(row[at]) for row in rows) for at in range(4)]
    shown = [f"{a:{wide[0]}}  {b:{wide[1]}}  {c:>{wide[2]}}  {d:>{wide[3]}}".rstrip()
             for a, b, c, d in rows]
    return "\n".join([*shown, *more])


def _holder(path: tuple[Any, ...]) -> Path:
    """The layer's path of a variable's."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path[:-1])


def _classes(network: Any, inputs: Any) -> dict[Path, str]:
    """What the layers are, by their paths; nothing of what is no module."""
    found: dict[Path, str] = {}

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        found[tuple(context.module.path)] = type(context.module).__name__
        return call(*args, **kwargs)

    if isinstance(network, Linen):
        with nn.intercept_methods(note):
            jax.eval_shape(network.init, jax.random.key(0), inputs)
    if isinstance(network, NNX):
        module = nnx.eval_shape(lambda: network.make(nnx.Rngs(0)))
        found = {tuple(map(str, path)): type(each).__name__
                 for path, each in nnx.iter_graph(module) if isinstance(each, nnx.Module)}
    return found


def _parts(jaxpr: Jaxpr, owners: dict[Var, Path], root: int, scope: str = "", times: int = 1
           ) -> Iterator[Part]:
    """Of every equation. It belongs to the layer whose variable it takes, else to its scope;
    `owners` are the layers of variables, `root` how many words of a scope name the whole."""
    for eqn in jaxpr.eqns:
        taken = [owners[x] for x in eqn.invars if not isinstance(x, Literal) and x in owners]
        if eqn.primitive.name in _SAME and taken:
            owners[eqn.outvars[0]] = taken[0]
            continue
        name = "/".join(filter(None, (scope, str(eqn.source_info.name_stack))))
        path = taken[0] if taken else tuple(filter(None, name.split("/")[root:]))
        called = _called(eqn)
        if inner := list(jaxprs_in_params(eqn.params)):
            flops = 0
            for body in inner:
                known = zip(eqn.invars, body.invars, strict=False)
                own = {b: owners[a] for a, b in known if isinstance(a, Var) and a in owners}
                found = list(_parts(body, own, root, name, times * eqn.params.get("length", 1)))
                flops += sum(part.flops for part in found)
                if not called:
                    yield from found
            if called:
                yield Part(path, called, _shape(eqn.outvars[0]), flops)
        elif eqn.outvars:
            yield Part(path, called, _shape(eqn.outvars[0]), times * _flops(eqn))


def _called(eqn: JaxprEqn) -> str:
    """The activation or the pooling that an equation is of, or ""."""
    name = eqn.primitive.name
    if name in _POOLS:
        return f"{_POOLS[name]} {sides(eqn.params['window_dimensions'][1:-1])}"
    if name == "reduce_sum" and len(_shape(eqn.invars[0])) == 4 and eqn.params["axes"] == (1, 2):
        return "mean of all places"
    if name in ("tanh", "logistic"):
        return name
    traceback: Any = eqn.source_info.traceback
    frames = traceback.frames if traceback else ()
    inner = [frame.function_name for frame in frames if frame.file_name.endswith(_FUNCTIONS)]
    return inner[-1].strip("_") if inner else ""


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


def _flops(eqn: JaxprEqn) -> int:
    """Two for each product that is added, one for each element of whatever else computes."""
    name, out = eqn.primitive.name, math.prod(_shape(eqn.outvars[0]))
    if name == "conv_general_dilated":
        kernel, spec = _shape(eqn.invars[1]), eqn.params["dimension_numbers"].rhs_spec
        return 2 * out * math.prod(kernel) // kernel[spec[0]]
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * out * math.prod(_shape(eqn.invars[0])[axis] for axis in contracted)
    if name.startswith(("reduce_", "argmax", "cumsum")):
        return math.prod(_shape(eqn.invars[0]))
    return 0 if name in _MOVES else out


def _lines(parts: list[Part], counts: Mapping[Path, int], classes: Mapping[Path, str]
           ) -> list[tuple[str, str, str, str]]:
    """Neighbours of one layer, or of one call, are a line; one that comes again adds nothing."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if last and (last.path, last.called) == (part.path, part.called):
            merged[-1] = part._replace(flops=last.flops + part.flops)
        elif part.called or part.path in counts:
            merged.append(part)
    lines, told, waiting = [], set(), dict(counts)  # a layer's own parameters are told once
    for path, called, shape, flops in merged:
        for depth in range(1, len(path) + (not called)):
            if path[:depth] not in told and depth < len(path):
                lines.append((_indented(path[:depth], classes), "", "", ""))
            told.add(path[:depth])
        own = "  " * len(path) + called if called else _indented(path, classes)
        count = "" if called or path not in waiting else f"{waiting.pop(path):,}"
        lines.append((own, sides(shape[1:]), count, f"{flops:,}"))
    lines.append(("total", "", f"{sum(counts.values()):,}", f"{sum(p.flops for p in parts):,}"))
    return lines


def _indented(path: Path, classes: Mapping[Path, str]) -> str:
    """A layer's own name, and its class where the name doesn't say it; of the whole, its class."""
    kind = classes.get(path, "")
    if not path:
        return kind or "the network"
    more = f" ({kind})" if kind and not path[-1].startswith(kind) else ""
    return "  " * (len(path) - 1) + path[-1] + more
