"""Python's last resort, on the root logger while Orbax is at work."""

import contextlib
import logging
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_standing = 0  # how many runs' it is now


@contextlib.contextmanager
def standing() -> Iterator[None]:
    """A root logger without handlers has it, which prints as it does without any: absl, by which
    Orbax logs, would configure it else, and the host's own logging.basicConfig did nothing."""
    global _standing
    last = logging.lastResort
    assert last  # Python's own
    with _LOCK:
        _standing += 1
        if not logging.root.handlers:
            logging.root.addHandler(last)
    try:
        yield
    finally:
        with _LOCK:
            _standing -= 1
            if not _standing:
                logging.root.removeHandler(last)
