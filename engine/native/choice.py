"""Whether the kernels are used: asked for by --convolution native, and only where they can be."""

import functools
from typing import TYPE_CHECKING

import jax

from engine.errors import RequestError, tell
from engine.native import library

if TYPE_CHECKING:
    from engine.setup import Setup

NATIVE = "native"
OFFER = "convolutions: often faster by --convolution native (C++; differs by rounding)"


def check(ready: "Setup") -> None:
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


def offered(ready: "Setup") -> bool:
    """Whether a CPU's run that doesn't ask for the kernels would likely be faster by them: it has
    several convolutions of images, and a compiler is at hand."""
    platform, shares, asked = ready.device.platform, ready.learner.spread.shares, ready.config
    if (platform, shares, asked.convolution, asked.precision) != ("cpu", 1, "auto", "float32"):
        return False
    shapes = (x.shape for x in jax.tree.leaves(ready.state_shapes.params))
    if sum(len(shape) == 4 and min(shape[:3]) > 2 for shape in shapes) < 2:
        return False
    return bool(library.compiler())


def usable(how: str, shares: int) -> str:
    """The formulation `how`, or, of a run that was trained with the kernels elsewhere, the one in
    their place: for several devices, and where they can't be compiled, which is said once."""
    if how != NATIVE:
        return how
    return NATIVE if shares == 1 and _compiled() else "auto"


@functools.cache
def _compiled() -> bool:
    try:
        library.target(library.TARGETS[0])
    except RequestError as error:
        tell(f"{error} Until then, convolutions are products over patches.")
        return False
    return True
