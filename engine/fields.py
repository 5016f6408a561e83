"""Fields of Config and Place: what is known of each, and the plain Python values that they hold."""

import contextlib
import dataclasses
import os
from typing import Any

from engine.disk.files import is_number, is_text


def option(
    default: Any, help: str, choices: tuple[str, ...] = (), least: int = 0, brought: bool = False,
    traced: bool = True, duration: bool = False,
) -> Any:
    """A field of Config or Place. `least` bounds a number; a `brought` one may be FILE.py:NAME or,
    in Python, an object; one that is not `traced` never enters a program, so that two Configs that
    differ in it alone are equal, and compile once. A `duration` is epochs, or such as 300st."""
    metadata = {"help": help, "choices": choices, "least": least, "brought": brought,
                "duration": duration}
    return dataclasses.field(default=default, metadata=metadata, compare=traced)


def fits(value: Any, default: Any) -> bool:
    """Whether `value` may stand where `default` does; None stands for a number left out."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(map(is_text, value))
    if default is None or type(default) is float:
        return is_number(value) or default is value is None
    return type(value) is type(default)


def plain(value: Any) -> Any:
    """Of one of NumPy's or jax's numbers, Python's; a row of them as a list; a path as text; all
    else as it is."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "dtype") and getattr(value, "ndim", 2) < 2 and hasattr(value, "tolist"):
        with contextlib.suppress(TypeError):  # of a tracer, which has no value yet
            return value.tolist()
    return value


def made_plain(asked: Any) -> None:
    """Make the fields of a frozen Config or Place `plain`, and of their defaults' types where that
    loses nothing: 2.0 epochs are 2, 0.2 is "0.2", and [30, 60] "30,60"."""
    for f in dataclasses.fields(asked):
        value = plain(getattr(asked, f.name))
        if type(f.default) is int and type(value) is float and value.is_integer():
            value = int(value)
        elif type(f.default) is str and not f.metadata["brought"]:
            several = value if isinstance(value, list | tuple) else ()
            each = [plain(one) for one in several or (value,)]
            if (several or value != "") and all(type(one) in (str, int, float) for one in each):
                value = ",".join(map(str, each))
        object.__setattr__(asked, f.name, value)
