"""What is asked for: what to compute, from where on, where, and of which data."""

from typing import Any, NamedTuple

from engine.config import Config, Hyper
from engine.place import Place


class Request(NamedTuple):
    """`data` are objects in memory, as `fit` takes them; None where the config names a set."""

    config: Config = Config()
    hyper: Any = Hyper()
    place: Place = Place()
    data: Any = None
