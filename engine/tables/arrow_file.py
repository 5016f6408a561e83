"""An open file as Arrow's own threads read it, without Python's interpreter.

Arrow takes a file of Python's too. But a reader that goes while one of its threads asks for more
waits for that thread, and holds the interpreter that the thread waits for: with damaged CSV one
process in seven hung at its end, or was aborted (apache/arrow#38676).
"""

from typing import BinaryIO

import pyarrow as pa


def native(file: BinaryIO) -> pa.NativeFile:
    """The file from its beginning."""
    file.seek(0)
    return pa.OSFile(f"/dev/fd/{file.fileno()}")
