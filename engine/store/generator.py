"""Settings of jax by which the same key gives other numbers: kept of a run, and the same where it
is gone on with."""

from pathlib import Path
from typing import Any

from engine.errors import RequestError
from engine.optim.late import jax

SETTINGS = "jax_default_prng_impl", "jax_threefry_partitionable"


def facts() -> dict[str, Any]:
    """Of config.json."""
    return {"jax": {name: getattr(jax.config, name) for name in SETTINGS}}


def check(path: Path, content: dict[str, Any], found: dict[str, Any]) -> None:
    """Raise RequestError where the run in `path`, of such a `content`, is under other settings than
    the facts `found` now: it would meet its examples in another order."""
    was, now = content.get("jax"), found.get("jax")
    if not (isinstance(was, dict) and isinstance(now, dict)):  # of a run of before nobody knows
        return
    for name in SETTINGS:
        if name in was and was[name] != now.get(name):
            raise RequestError(f"{path} holds a run whose random numbers are under {name} "
                               f"{was[name]!r}, now {now.get(name)!r}: to resume it, "
                               f"jax.config.update({name!r}, {was[name]!r}) before it, or type "
                               f"{name.upper()}={was[name]} before the command.")
