"""HTML pages: the templates, how numbers are written in them, and pictures as part of the page."""

import base64
import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

from engine.console.number import number
from engine.errors import one_line, tell


def typed(value: Any) -> str:
    """A setting's cell: a float as it would be typed, a dash for None."""
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def path(places: Iterable[tuple[float, float]]) -> str:
    """Of places (x, y), as SVG has it."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)


def _source(png: bytes) -> str:
    """A picture's address that holds the picture."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def render(template: str, **content: Any) -> str:
    """One HTML document without scripts or remote parts; every text in `content` is escaped."""
    return _pages().get_template(template).render(content)


@functools.cache
def _pages() -> Any:
    """The templates, compiled once."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(loader=PackageLoader("engine.report"), autoescape=True,
                        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"number": number, "typed": typed, "source": _source, "path": path}
    return pages


@contextlib.contextmanager
def spared(what: str) -> Iterator[None]:
    """A finished run is not lost for what fonts, backends or disks refuse to draw or write: that
    costs a line."""
    try:
        yield
    except Exception as error:
        tell(f"{what} could not be written: {type(error).__name__}: {one_line(error)}")
