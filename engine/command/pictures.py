"""Image files to predict: sound ones, and those that can't be read. Reading tells which."""

from collections.abc import Iterator, Sequence

import numpy as np

from engine.command.output import FILE
from engine.config import Reading
from engine.errors import RequestError, tell, visible
from engine.sets import image

SHOWN = 10


class Pictures:
    """The `files` that run's pictures of `shape` [H, W, C] are to be made of.

    Every header is read at once. Raises RequestError that names all files at fault, unless they are
    to be skipped."""

    key = FILE

    def __init__(self, files: Sequence[str], shape: tuple[int, ...], reading: Reading):
        self._files, self._shape, self._reading = files, shape, reading
        self._faults: dict[str, str] = {}
        self.keys = [file for file in files if self._has_header(file)]
        if self._faults and not reading.skip_bad:
            for file in self.keys:  # to name those too that end too early
                self._decoded(file)
            raise self._refused()

    def batches(self, size: int) -> Iterator[tuple[list[str], np.ndarray]]:
        """Files and pictures uint8 [size, H, W, C], or fewer. Those left out are told at the end.
        Raises RequestError where there are some at fault and not to be skipped, or none that
        isn't."""
        skip, found = self._reading.skip_bad, 0
        for start in range(0, len(self.keys), size):
            read = [(file, self._decoded(file)) for file in self.keys[start : start + size]]
            sound = [(file, picture) for file, picture in read if picture is not None]
            if sound and (skip or not self._faults):
                yield [file for file, _ in sound], np.stack([picture for _, picture in sound])
                found += len(sound)
        if self._faults and not (skip and found):
            raise self._refused()
        if self._faults:
            tell(f"left out {self._described()}")

    def _has_header(self, file: str) -> bool:
        try:
            image.check(file, self._reading.background)
        except RequestError as error:
            self._faults[file] = str(error)
        return file not in self._faults

    def _decoded(self, file: str) -> np.ndarray | None:
        try:
            return image.read(file, self._shape, self._reading.background)
        except RequestError as error:
            self._faults[file] = str(error)
            return None

    def _described(self) -> str:
        """How many files are at fault, and why the first ones are, a line each."""
        faults = [*self._faults.values()]
        reasons = [f"  {visible(reason, '')}" for reason in faults[:SHOWN]]
        more = [f"  and {len(faults) - SHOWN:,} more"] * (len(faults) > SHOWN)
        count = f"{len(faults):,} of {len(self._files):,} pictures, which can't be read:"
        return "\n".join([count, *reasons, *more])

    def _refused(self) -> RequestError:
        instead = "mend" if self._reading.skip_bad else "mend, or leave out by --skip_bad,"
        return RequestError(f"{instead} {self._described()}")
