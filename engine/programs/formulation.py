"""Which formulation trains where nobody says: on a GPU by how many bytes of patches there are."""

import dataclasses
from typing import Any

import jax

from engine.devices.memory import mib
from engine.errors import RequestError
from engine.learners.gradient import Gradient
from engine.native import library
from engine.native.choice import NATIVE
from engine.setup import Setup

# On an H200 a step of the article's network took 130 to 138 µs as products, 168 to 211 as XLA's
# convolutions, at a batch of 32, whose patches are 10 MiB, and 781 against 615 at 512. Straight
# lines through these meet at some 125 examples. No other network was measured.
MOST = 40 << 20
OFFER = "convolutions: often faster by --convolution native (C++; differs by rounding)"


def decided(learner: Gradient, variables: Any, input_shape: tuple[int, ...]) -> tuple[str, str]:
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


def chosen(ready: Setup) -> Setup:
    """What is to be trained, on a GPU by the formulation that is the faster one, told; on a CPU a
    faster one is only named."""
    learner = ready.learner
    if not learner.traced:
        return ready
    if _offered(ready):
        ready.host.console.print(OFFER)
    if ready.device.platform != "gpu":
        return ready
    how, why = decided(learner, ready.state_shapes.variables, ready.data.train.input_shape)
    if how:
        ready.host.console.print(f"formulation: {why}")
    return ready._replace(learner=dataclasses.replace(learner, formulation=how))


def _offered(ready: Setup) -> bool:
    """Whether a CPU's run that doesn't ask for the kernels would likely be faster by them: it has
    several convolutions of images, and a compiler is at hand."""
    platform, shares, asked = ready.device.platform, ready.learner.spread.shares, ready.config
    if (platform, shares, asked.convolution, asked.precision) != ("cpu", 1, "auto", "float32"):
        return False
    shapes = (x.shape for x in jax.tree.leaves(ready.state_shapes.params))
    if sum(len(shape) == 4 and min(shape[:3]) > 2 for shape in shapes) < 2:
        return False
    return bool(library.compiler())


def check_native(ready: Setup) -> None:
    """Tell what the kernels compute. Raises RequestError where --convolution native would have no
    effect, or they can't be compiled."""
    if ready.config.convolution != NATIVE:
        return
    platform, learner = ready.device.platform, ready.learner
    why = ""
    if platform != "cpu":
        why = f"is for a CPU, and this runs on a {platform.upper()}"
    elif learner.spread.shares > 1:
        why = f"is for one device, and this runs on {learner.spread.shares}"
    else:
        shape = ready.data.train.input_shape
        found = learner.census(ready.state_shapes.variables, shape)
        if not found.kernels:
            why = ("has no effect on a network without a float32 convolution over two axes, "
                   "neither dilated nor grouped, of a kernel that isn't large")
    if why:
        raise RequestError(f"--convolution native {why}: leave it out.")
    library.target(library.TARGETS[0])
    ready.host.console.print(f"formulation: {found.kernels} of {found.convolutions} convolutions "
                             "by the native kernel")
