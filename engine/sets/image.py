"""An encoded picture → pixels. Its format and size are judged before anything is decoded."""

import contextlib
import functools
import re
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageFile

from engine.errors import RequestError, nearest, unknown
from engine.sets.limits import regular

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels
# Photographs; Pillow reads forty formats more, which nobody needs and few have tested.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm",
           ".pgm", ".pbm", ".pnm")  # fmt: skip
# Above the 61 million of a full-frame camera. Decoding so many takes 250 MB to 1.2 GB.
MOST_PIXELS = 64_000_000
MOST_SIDE = 1 << 16  # Pillow keeps a pointer and more for every row
MOST_BYTES = 8 * MOST_PIXELS  # four channels of 16 bits, uncompressed
WHITE = "white"
# A PNG's transparent colour, which Pillow leaves as the file has it, as pixels are, by raw mode.
_CLEAR = {"L;2": lambda grey: 85 * grey, "L;4": lambda grey: 17 * grey,
          "RGB;16B": lambda rgb: tuple(value >> 8 for value in rgb)}  # fmt: skip
_TURNS = {  # EXIF's orientation → what brings it upright; from 5 on height and width change places
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


class Undecodable(ValueError):
    """A picture that is refused, and why."""


class Outsized(Undecodable):
    """One that has too many pixels."""


class Unusable(RequestError):
    """A file that is no picture to read, and the `reason`."""

    def __init__(self, path: str, reason: str, message: str = ""):
        super().__init__(message or f"{path} is not an image that can be read: {reason}.")
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:  # of a worker's, which comes by pickle
        return type(self), ("", self.reason, str(self))


class Header(NamedTuple):
    """What is known of a picture before it is decoded: its `shape` [H, W, C] as it is seen, C as of
    `channels`, and whether it has `frames` (or pages) besides the first, which alone is read."""

    shape: tuple[int, int, int]
    frames: bool


@functools.cache
def colour(background: str) -> tuple[int, ...]:
    """Red, green and blue of a colour's name or #rrggbb, as Pillow knows them. Raises
    RequestError."""
    found: tuple[int, ...]
    try:
        found = ImageColor.getrgb(background)
    except ValueError:
        found = ()
    if len(found) != 3:  # four are of a colour that itself lets light through
        near = nearest(background, ImageColor.colormap)
        raise unknown("background", background, near or [WHITE, "black", "grey", "#rrggbb"])
    return found


def channels(picture: Image.Image, background: str = WHITE) -> int:
    """1 where it is grey, on a background that is too if it lets one through; else 3. Raises
    Undecodable for numbers without a known range."""
    if picture.mode[0] == "F" or (picture.mode == "I" and picture.format not in ("PNG", "PPM")):
        raise Undecodable("its 32 bits or floats have no known range: save it with 8 or 16 bits")
    if picture.mode[0] not in "1LI" or picture.mode == "LAB":
        return 3
    red, green, blue = colour(background)
    return 1 if red == green == blue or not picture.has_transparency_data else 3


def pixels(
    picture: Image.Image, mode: str, size: tuple[int, int] | None = None, background: str = WHITE
) -> np.ndarray:
    """uint8 [H, W, C] in Pillow's `mode`: upright as its EXIF says, 16 bits x as round(x / 257), on
    `background` unless the mode has alpha itself; then, if given, brought to `size` (width,
    height), bilinear."""
    orientation = _orientation(picture)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    if picture.mode[0] == "I":
        deep, clear = np.asarray(picture), picture.info.get("transparency")
        picture = Image.fromarray(((deep.astype(np.uint32) + 128) // 257).astype(np.uint8))
        if clear is not None:
            picture.putalpha(Image.fromarray(np.uint8(255) * (deep != clear)))
    if mode != "RGBA" and picture.has_transparency_data:
        above = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        picture = Image.new("RGB", above.size, colour(background))
        picture.paste(above, mask=above)
    if picture.mode != mode:
        picture = picture.convert(mode)
    if size and picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    found = np.asarray(picture)
    return found[..., None] if found.ndim == 2 else found


def _orientation(picture: Image.Image) -> int:
    """EXIF's, where it stands before the pixels; 1 is upright. Pillow turns TIFF by itself."""
    try:
        # A PNG's own getexif would decode all of it, to look behind the pixels too.
        found = Image.Image.getexif(picture).get(ExifTags.Base.Orientation)
    except Exception:  # whatever is written there: the pixels are none the worse
        return 1
    return found if found in _TURNS and picture.format != "TIFF" else 1


def decode(
    file: BinaryIO, mode: str, size: tuple[int, int] | None = None, background: str = WHITE
) -> np.ndarray:
    """The `pixels` of an encoded picture. Raises Undecodable for a format not in FORMATS, more than
    MOST_PIXELS, numbers without a known range, and damaged or truncated content."""
    with _judged(file) as picture:
        return pixels(picture, mode, size, background)


def resize(images_NxHxWxC: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, size, size, C], C 1 or 3, as `decode` resizes."""
    mode = MODES[images_NxHxWxC.shape[-1]]
    flat = images_NxHxWxC.squeeze(-1) if mode == "L" else images_NxHxWxC
    return np.stack([pixels(Image.fromarray(one), mode, (size, size)) for one in flat])


def check(path: str, background: str = WHITE) -> Header:
    """The header of an image file. Raises Unusable unless it is one that `read` accepts."""
    with _file(path) as file, _judged(file) as picture:
        height, width = _upright(picture)
        # A photograph's MPO has a preview or a second view besides, which is no frame.
        frames = picture.format != "MPO" and getattr(picture, "is_animated", False)
        return Header((height, width, channels(picture, background)), frames)


def sides(file: BinaryIO) -> tuple[int, int]:
    """Height and width of an encoded picture, by its header. Raises Undecodable."""
    with _judged(file) as picture:
        return _upright(picture)


def _upright(picture: Image.Image) -> tuple[int, int]:
    """Height and width as it is seen."""
    height, width = picture.height, picture.width
    return (width, height) if _orientation(picture) > 4 else (height, width)


def read(path: str, image_HxWxC: tuple[int, ...], background: str = WHITE) -> np.ndarray:
    """An image file as uint8 [H, W, C], C one of MODES. Raises Unusable where it can't be."""
    height, width, depth = image_HxWxC
    with _file(path) as file:
        return decode(file, MODES[depth], (width, height), background)


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[Image.Image, int]]:
    """An image file, upright, its header accepted, and the number that is white in it, of a grey
    one of up to 8 bits: 255 but where it has fewer. Raises Unusable."""
    with _file(path) as file, _judged(file) as picture:
        turn, white = _TURNS.get(_orientation(picture)), _white(picture)
        if turn is None:
            yield picture, white
        else:
            turned = picture.transpose(turn)
            turned.format = picture.format
            yield turned, white


def _white(picture: ImageFile.ImageFile) -> int:
    """Of one that isn't decoded yet, since Pillow brings its numbers to 255."""
    args = picture.tile[0].args if picture.tile else ""
    if picture.format == "PPM" and picture.mode == "L" and isinstance(args, tuple):
        return int(args[1])
    bits = re.match(r"\W*L;([24])", str(args))
    return 1 if picture.mode == "1" else (1 << int(bits[1])) - 1 if bits else 255


@contextlib.contextmanager
def _judged(file: BinaryIO) -> Iterator[ImageFile.ImageFile]:
    """The image, its header accepted and not yet decoded; its faults as Undecodable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(file, formats=FORMATS)
        with picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if max(picture.size) > MOST_SIDE:
                raise Outsized(f"a side of it has more than {MOST_SIDE:,} pixels; shrink it")
            channels(picture)
            if picture.format == "PNG" and "transparency" in picture.info:
                counted = _CLEAR.get(str(picture.tile[0].args), lambda clear: clear)
                picture.info["transparency"] = counted(picture.info["transparency"])
            yield picture
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Outsized(f"it has more than {MOST_PIXELS:,} pixels; shrink it") from None
    except Image.UnidentifiedImageError:
        raise Undecodable(f"its content is no {', '.join(FORMATS)}") from None
    except (Undecodable, RequestError):
        raise
    except Exception as error:  # Pillow's readers raise what they like
        raise Undecodable(f"it is damaged: {error or type(error).__name__}") from None


@contextlib.contextmanager
def _file(path: str) -> Iterator[BinaryIO]:
    """A regular file, open; its faults as Unusable."""
    try:
        regular(path, MOST_BYTES)
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise Unusable(path, "no such file", f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise Unusable(path, str(error)) from None
