"""Which formulation a GPU trains by where nobody says: by how many bytes of patches there are."""

import dataclasses
from typing import TYPE_CHECKING

from engine.programs.memory import mib

if TYPE_CHECKING:
    from engine.setup import Setup

# On an H200 a step of the article's network took 130 to 138 µs as products, 168 to 211 as XLA's
# convolutions, at a batch of 32, whose patches are 10 MiB, and 781 against 615 at 512. Straight
# lines through these meet at some 125 examples. No other network was measured.
MOST = 40 << 20


def patches(ready: "Setup", examples: int = 1) -> int:
    """Bytes of what the products would be over; 0 where there are none."""
    if not ready.learner.traced:
        return 0
    shape = ready.data.train.input_shape
    return ready.learner.census(ready.state_shapes.variables, shape, examples).patches


def decided(ready: "Setup") -> tuple[str, str]:
    """The formulation that trains faster what a GPU computes at once, and why; both "" where one
    was asked for, or there is no convolution."""
    asked, shares = ready.learner.config, ready.learner.shares
    examples = asked.microbatch or max(asked.batch_size // shares, 1)
    if asked.convolution != "auto" or not (size := patches(ready, examples)):
        return "", ""
    of = f"image patches of {examples} examples are {mib(size)}"
    if size <= MOST:
        return "product", f"products over patches ({of}, of {mib(MOST)} that pay on a GPU)"
    return "direct", f"XLA's convolutions ({of}, more than the {mib(MOST)} that pay on a GPU)"


def chosen(ready: "Setup") -> "Setup":
    """What is to be trained, on a GPU by the formulation that is the faster one, told."""
    how, why = decided(ready) if ready.device.platform == "gpu" else ("", "")
    if not how:
        return ready
    ready.host.console.print(f"formulation: {why}")
    return ready._replace(learner=dataclasses.replace(ready.learner, formulation=how))
