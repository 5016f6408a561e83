"""What can be held of a set, and how one is refused."""

import math
import os
import stat

from engine.devices.choose import host_memory
from engine.errors import RequestError, sides

# Above ImageNet's 1,431,167 images, and its 16 GB at 64 × 64: they lie in memory, undivided.
MOST_EXAMPLES = 2_000_000
MOST_BYTES = 18_000_000_000


def room(shape: tuple[int, ...], itemsize: int = 1) -> int:
    """How many inputs of that shape, of `itemsize` bytes a number, a split may hold."""
    return min(MOST_EXAMPLES, MOST_BYTES // (itemsize * math.prod(shape)))


class TooLarge(RequestError):
    """A set that the memory can't hold, and the `reason` in words."""

    def __init__(self, name: str, reason: str,
                 instead: str = "type a smaller --image_size, or take a smaller set"):
        super().__init__(f"{name}: {reason}: {instead}.")
        self.reason = reason


def free_bytes(times: int = 1) -> int:
    """How many can be held so many times over in the memory that is free now, MOST_BYTES at most.
    """
    memory = host_memory()
    return min(MOST_BYTES, memory[1] // times) if memory else MOST_BYTES


def fits(name: str, count: int, shape: tuple[int, ...]) -> None:
    """Raise TooLarge where so many pictures, uint8, can't be held, or not in the memory that is
    free now."""
    most = min(MOST_EXAMPLES, free_bytes() // math.prod(shape))
    if count > most:
        raise TooLarge(name, f"its {count:,} pictures of {sides(shape)} are more than "
                             f"the {most:,} that can be held")


def regular(path: str, most: int) -> os.stat_result:
    """Of a file that may be opened. Raises OSError, ValueError for no file, or too large a one."""
    seen = os.stat(path)
    if not stat.S_ISREG(seen.st_mode):  # opening a pipe would wait for its writer
        raise ValueError("it is no regular file")
    if seen.st_size > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return seen


def refused(name: str, path: str, reason: object, instead: str) -> RequestError:
    """That a set of the user's own can't be had, and what to do."""
    reason = getattr(reason, "strerror", None) or reason  # an OSError's, without its path
    return RequestError(f"{name}:{path}: {reason}; {instead}.")


def varying(name: str, first_HxW: tuple[int, ...], other_HxW: tuple[int, ...]) -> RequestError:
    """The refusal of images that can't be one array."""
    return RequestError(f"the images of {name} vary in size ({first_HxW}, then {other_HxW}): pass "
                        "--image_size, 64 for example")
