"""What devices send each other in a step: reckoned from shapes, and read from a compiled text.

Bytes are those of whole arrays: an all-gather's result, a reduce-scatter's operand.
"""

import math
import re
from typing import Any

import jax

from engine import mesh, metrics
from engine.plan.chips import GATHERS

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_OPERATION = re.compile(
    rf"^\s*(?:ROOT )?%?\S+ = (\(.*?\)|\S+) ({'|'.join(KINDS)})(-start)?\(", re.MULTILINE
)
_ARRAY = re.compile(r"\b[a-z]+(\d*)\w*\[([\d,]*)\]")


def nbytes(tree: Any) -> int:
    """Bytes of a tree of arrays or their shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _array_bytes(text: str) -> list[int]:
    """Bytes of every array in HLO's words for a type: f32[3,32]{1,0}, or a tuple of such."""
    return [math.prod(map(int, filter(None, sizes.split(",")))) * int(bits or 8) // 8
            for bits, sizes in _ARRAY.findall(text)]


def read(text: str, devices: int) -> dict[str, list[int]]:
    """Bytes of every collective operation of a compiled program over `devices`, by kind.

    A segment's stand in the loop's body, so they are a step's where it has no microbatches. `text`
    is `Compiled.as_text()`.
    """
    found: dict[str, list[int]] = {}
    for result, kind, start in _OPERATION.findall(text):
        arrays = _array_bytes(result)
        # Operands stand beside the results; jaxlib 0.10 leaves them out of an all-reduce's.
        if start and (kind != "all-reduce" or result.startswith("((")):
            arrays = arrays[len(arrays) // 2:]
        scale = devices if kind == "reduce-scatter" else 1
        found.setdefault(kind, []).append(scale * sum(arrays))
    return found


def reckoned(
    variables: Any, devices: int, fsdp: bool, gathers: int = GATHERS
) -> dict[str, int]:
    """Bytes a step by kind: the gradient and the tally summed, batch statistics forward and again
    backward; with `fsdp`, what is split gathered so many times, and its gradient scattered.

    A microbatch gathers and scatters as a step does. What an optimizer adds with `fsdp`
    (clip_norm's scalars, muon's products) is left out.
    """
    if devices == 1:
        return {}
    params, tally = variables["params"], jax.eval_shape(metrics.zeros)
    split = mesh.on_paper(devices, fsdp).split(params, mesh.DATA)
    # The count that the statistics are of is the tally's: the compiler sums it once.
    summed = nbytes(params) - split + nbytes(tally) + 2 * nbytes(variables["batch_stats"])
    gathered = {"all-gather": gathers * split, "reduce-scatter": split} if split else {}
    return {"all-reduce": summed} | gathered


def held(tree: Any, devices: int, fsdp: bool) -> int:
    """Bytes of `tree` on each of `devices`."""
    where = mesh.on_paper(devices, fsdp).shardings(tree)
    return nbytes(jax.tree.map(
        lambda x, at: jax.ShapeDtypeStruct(at.shard_shape(x.shape), x.dtype), tree, where
    ))
