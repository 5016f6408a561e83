"""An encoded picture → pixels. Its format and size are judged before anything is decoded."""

import contextlib
import os
import stat
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from engine.errors import RequestError

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels
GREY = ("1", "L", "LA")
# Photographs; Pillow reads forty formats more, which nobody needs and few have tested.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# Above the 61 million of a full-frame camera. Decoding so many takes 250 to 500 MB, of WebP 1 GB.
MOST_PIXELS = 64_000_000
MOST_BYTES = 8 * MOST_PIXELS  # four channels of 16 bits, uncompressed
_BILINEAR = Image.Resampling.BILINEAR


class Unreadable(ValueError):
    """A picture that is refused, and why."""


def decode(file: BinaryIO, mode: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Pixels uint8 [H, W, C] in Pillow's `mode`, brought to `size` (width, height) if given.

    The sides' ratio is not kept. Raises Unreadable for a format not in FORMATS, more than
    MOST_PIXELS, and damaged or truncated content.
    """
    with _judged(file) as image:
        picture = image if image.mode == mode else image.convert(mode)
        if size and picture.size != size:
            picture = picture.resize(size, _BILINEAR)
        pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def resize(images_NxHxWxC: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, size, size, C], C 1 or 3, as `decode` resizes."""
    flat = images_NxHxWxC[..., 0] if images_NxHxWxC.shape[-1] == 1 else images_NxHxWxC
    resized = [Image.fromarray(one).resize((size, size), _BILINEAR) for one in flat]
    return np.stack([np.asarray(one) for one in resized]).reshape(
        len(flat), size, size, images_NxHxWxC.shape[-1]
    )


def check(path: str) -> tuple[int, int, int]:
    """The shape [H, W, C] of an image file, C 1 where it is grey and else 3; decodes nothing.

    Raises RequestError unless it is a file whose header `read` accepts.
    """
    with _file(path) as file, _judged(file) as image:
        return image.height, image.width, 1 if image.mode in GREY else 3


def read(path: str, image_HxWxC: tuple[int, ...]) -> np.ndarray:
    """An image file as uint8 [H, W, C], C one of MODES. Raises RequestError where it can't be."""
    height, width, channels = image_HxWxC
    with _file(path) as file:
        return decode(file, MODES[channels], (width, height))


@contextlib.contextmanager
def _judged(file: BinaryIO) -> Iterator[Image.Image]:
    """The image, its header accepted and not yet decoded; its faults as Unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=FORMATS)
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if image.mode[0] in "IF":
                raise Unreadable("its 16 bits or more would be cut off at 255: save it with 8")
            yield image
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
        seen = os.stat(path)
        if not stat.S_ISREG(seen.st_mode):  # opening a pipe would wait for its writer
            raise Unreadable("it is no regular file")
        if seen.st_size > MOST_BYTES:
            raise Unreadable(f"it has more than {MOST_BYTES:,} bytes")
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise RequestError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not an image that can be read: {error}.") from None
