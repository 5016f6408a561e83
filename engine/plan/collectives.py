"""What devices send each other in a step: of shapes and a compiled text.

Bytes sent are those of whole arrays: an all-gather's result, a reduce-scatter's operand.
"""

import math
import re

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


def read(text: str, devices: int) -> dict[str, list[int]]:
    """Bytes of every collective operation of a compiled text over `devices`, by kind."""
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
