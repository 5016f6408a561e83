"""What every source returns: decoded images and labels on the host."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Split(NamedTuple):
    """images uint8 [N, H, W, C], labels int32 [N]: NumPy on the host, jax arrays on a device."""

    images: Any
    labels: Any


@dataclass(frozen=True)
class Dataset:
    """Named splits of one image-classification set; `fingerprint` changes when its bytes do."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    fingerprint: str
