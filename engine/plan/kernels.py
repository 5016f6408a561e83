"""What a program that XLA compiled for a GPU launches, read from its text."""

import re
from typing import NamedTuple

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?(\S+) = (.+?) ([a-z][a-z-]*)\(")
_KIND = re.compile(r'custom_call_target="([^"]*)"|kind=(\w+)')
_SOURCE = re.compile(r'op_name="([^"]*)"')
NOT_LAUNCHED = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast")


class Kernel(NamedTuple):
    """One launch, or copy: XLA's name for it, its opcode and kind, such as `fusion kLoop`, its
    result's shape, and the operation of jax's that it came from, "" where it doesn't say."""

    name: str
    kind: str
    shape: str
    source: str


def kernels(body: str) -> list[Kernel]:
    """Those of one computation, in the order in which they are launched. What GPUs send each other
    is among them."""
    found = []
    for line in body.splitlines()[1:]:
        instruction = _INSTRUCTION.match(line)
        if not instruction or instruction[3] in NOT_LAUNCHED or instruction[3].endswith("-done"):
            continue
        name, shape, opcode = instruction.groups()
        kind, source = _KIND.search(line), _SOURCE.search(line)
        found.append(Kernel(
            name, f"{opcode} {kind[1] or kind[2]}" if kind else opcode,
            re.sub(r"\{[^{}]*\}", "", shape), source[1] if source else ""))
    return found
