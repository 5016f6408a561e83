"""Packages that not every run needs, which flaxmill's extras bring."""

import importlib
import importlib.util

from engine.errors import RequestError, one_line


def need(what: str, extra: str, *packages: str, imports: bool = True, instead: str = "") -> None:
    """Raise RequestError where one of the `packages` that `what` needs isn't there or, where it
    `imports` them, can't be imported: it tells to install them, or what to do `instead`."""
    for name in packages:
        try:
            found = importlib.util.find_spec(name)
            if found is None or found.origin is None:  # a folder of that name, such as ./wandb
                raise ImportError(f"No module named {name!r}")
            if imports:
                importlib.import_module(name)
        except ImportError as error:
            raise RequestError(f"{what} needs {' and '.join(packages)} ({one_line(error)}): pip "
                               f"install 'flaxmill[{extra}]'{instead}.") from None
