"""Which formulation trains where nobody says: on a GPU by how many bytes of patches there are."""

import dataclasses
from typing import TYPE_CHECKING, Any

from engine.native import choice as native
from engine.programs.memory import mib

if TYPE_CHECKING:
    from engine.learners.gradient import Gradient
    from engine.setup import Setup

# On an H200 a step of the article's network took 130 to 138 µs as products, 168 to 211 as XLA's
# convolutions, at a batch of 32, whose patches are 10 MiB, and 781 against 615 at 512. Straight
# lines through these meet at some 125 examples. No other network was measured.
MOST = 40 << 20


def decided(learner: "Gradient", variables: Any, input_shape: tuple[int, ...]) -> tuple[str, str]:
    """The formulation by which a GPU trains faster what it computes at once, and why; both "" where
    one was asked for, or there is no convolution."""
    asked = learner.config
    examples = asked.microbatch or max(asked.batch_size // learner.spread.shares, 1)
    if asked.convolution != "auto":
        return "", ""
    patches = learner.census(variables, input_shape, examples).patches
    if not patches:
        return "", ""
    of = f"image patches of {examples} examples are {mib(patches)}"
    if patches <= MOST:
        return "product", f"products over patches ({of}, of {mib(MOST)} that pay on a GPU)"
    return "direct", f"XLA's convolutions ({of}, more than the {mib(MOST)} that pay on a GPU)"


def chosen(ready: "Setup") -> "Setup":
    """What is to be trained, on a GPU by the formulation that is the faster one, told; on a CPU a
    faster one is only named."""
    learner = ready.learner
    if not learner.traced:
        return ready
    if native.offered(ready):
        ready.host.console.print(native.OFFER)
    if ready.device.platform != "gpu":
        return ready
    how, why = decided(learner, ready.state_shapes.variables, ready.data.train.input_shape)
    if how:
        ready.host.console.print(f"formulation: {why}")
    return ready._replace(learner=dataclasses.replace(learner, formulation=how))
