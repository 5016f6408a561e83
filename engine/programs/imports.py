"""What a run needs only later, imported while the device computes."""

import contextlib
import importlib
import threading

LATER = "engine.store.manager", "sklearn.metrics", "matplotlib.figure"  # in order of their use


def _all() -> None:
    with contextlib.suppress(Exception):  # who needs it imports it again, and is told
        for name in LATER:
            importlib.import_module(name)


def begin() -> None:
    """Import in the background what saving, scoring and drawing need: seconds that nobody waits
    for, as the main thread waits for the device meanwhile. No daemon: some of it is C++, which must
    not be cut off at Python's end."""
    threading.Thread(target=_all, name="imports").start()
