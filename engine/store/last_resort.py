"""Python's last resort, on the root logger while Orbax is at work."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def standing() -> Iterator[None]:
    """A root logger without handlers has one that prints what would be without any: absl, by which
    Orbax logs, would configure it else, and the host's own logging.basicConfig did nothing."""
    stead = logging.StreamHandler()
    stead.setLevel(logging.WARNING)
    if not logging.root.handlers:
        logging.root.addHandler(stead)
    try:
        yield
    finally:
        logging.root.removeHandler(stead)
