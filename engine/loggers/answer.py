"""What a logger answers to an epoch's row."""

from collections.abc import Callable
from typing import Any

from engine.doors.bring import short
from engine.errors import RunError


def reason(logger: Callable, answer: Any) -> str:
    """Why it wants to stop, or "". Raises RunError for what is neither true nor false."""
    try:
        return "a logger asked for it" if answer is True else str(answer) if answer else ""
    except ValueError:  # of an array
        raise RunError(f"logger {short(logger)} gave {answer!r:.40}: give a reason to stop, True, "
                       "or nothing.") from None
