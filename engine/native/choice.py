"""Whether the kernels are used: asked for by --convolution native, and only where they can be."""

import functools

from engine.errors import RequestError, tell
from engine.native import library

NATIVE = "native"


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
