"""Modules that are imported in the background, while the device computes."""

import importlib
import threading

SAVING = "engine.store.manager"  # Orbax
DRAWING = "matplotlib.figure", "scipy.stats"  # scikit-learn brings the second


def ahead(*names: str) -> None:
    """Import them one after another; who needs one before that waits for it, as ever."""
    def each() -> None:
        for name in names:
            importlib.import_module(name)

    threading.Thread(target=each, name="imports").start()
