"""An encoded picture → pixels. Its format and size are judged before anything is decoded."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from engine.errors import RequestError
from engine.sources.dataset import regular

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels
# Photographs; Pillow reads forty formats more, which nobody needs and few have tested.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# Above the 61 million of a full-frame camera. Decoding so many takes 250 to 500 MB, of WebP 1 GB.
MOST_PIXELS = 64_000_000
MOST_SIDE = 1 << 16  # Pillow keeps a pointer and more for every row
MOST_BYTES = 8 * MOST_PIXELS  # four channels of 16 bits, uncompressed


class Unreadable(ValueError):
    """A picture that is refused, and why."""


def channels(picture: Image.Image) -> int:
    """1 where it is grey, else 3: alpha is dropped. Raises Unreadable for more than 8 bits."""
    if picture.mode[0] in "IF":
        raise Unreadable("its 16 bits or more would be cut off at 255: save it with 8")
    return 1 if picture.mode in ("1", "L", "LA") else 3


def pixels(picture: Image.Image, mode: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 [H, W, C] in Pillow's `mode`, brought to `size` (width, height) if given, bilinear."""
    if picture.mode != mode:
        picture = picture.convert(mode)
    if size and picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    found = np.asarray(picture)
    return found[..., None] if found.ndim == 2 else found


def decode(file: BinaryIO, mode: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """The `pixels` of an encoded picture. Raises Unreadable for a format not in FORMATS, more than
    MOST_PIXELS, more than 8 bits, and damaged or truncated content."""
    with _judged(file) as picture:
        return pixels(picture, mode, size)


def resize(images_NxHxWxC: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, size, size, C], C 1 or 3, as `decode` resizes."""
    mode = MODES[images_NxHxWxC.shape[-1]]
    flat = images_NxHxWxC.squeeze(-1) if mode == "L" else images_NxHxWxC
    return np.stack([pixels(Image.fromarray(one), mode, (size, size)) for one in flat])


def check(path: str) -> tuple[int, int, int]:
    """The shape [H, W, C] of an image file, C as of `channels`, by its header. Raises RequestError
    unless it is one that `read` accepts."""
    with _file(path) as file, _judged(file) as picture:
        return picture.height, picture.width, channels(picture)


def read(path: str, image_HxWxC: tuple[int, ...]) -> np.ndarray:
    """An image file as uint8 [H, W, C], C one of MODES. Raises RequestError where it can't be."""
    height, width, depth = image_HxWxC
    with _file(path) as file:
        return decode(file, MODES[depth], (width, height))


@contextlib.contextmanager
def _judged(file: BinaryIO) -> Iterator[Image.Image]:
    """The image, its header accepted and not yet decoded; its faults as Unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(file, formats=FORMATS)
        with picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if max(picture.size) > MOST_SIDE:
                raise Unreadable(f"a side of it has more than {MOST_SIDE:,} pixels; shrink it")
            channels(picture)
            yield picture
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unreadable(f"it has more than {MOST_PIXELS:,} pixels; shrink it") from None
    except Image.UnidentifiedImageError:
        raise Unreadable(f"its content is no {', '.join(FORMATS)}") from None
    except Unreadable:
        raise
    except Exception as error:  # Pillow's readers raise what they like
        raise Unreadable(f"it is damaged: {error or type(error).__name__}") from None


@contextlib.contextmanager
def _file(path: str) -> Iterator[BinaryIO]:
    """A regular file, open; its faults as RequestError."""
    try:
        regular(path, MOST_BYTES)
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise RequestError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not an image that can be read: {error}.") from None
