"""Whether inputs are a table, in memory or in files."""

import sys
from typing import Any


def is_frame(inputs: Any) -> bool:
    """Whether it is a pandas DataFrame; where pandas isn't imported, nothing is."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(inputs, pandas.DataFrame)


def is_stored(inputs: Any) -> bool:
    """Whether it is a table that lies in files; where that module isn't imported, nothing is."""
    module = sys.modules.get("engine.tables.stored_table")
    return module is not None and isinstance(inputs, module.StoredTable)


def has_columns(inputs: Any) -> bool:
    """Whether it is a table, in memory or in files, whose columns aren't features yet."""
    return is_frame(inputs) or is_stored(inputs)
