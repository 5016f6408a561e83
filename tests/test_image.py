"""Pictures as people's cameras and programs write them, against NumPy and Pillow's own words."""

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from engine import sources
from engine.config import Reading
from engine.errors import RequestError
from engine.sets import image

UPRIGHT = {  # EXIF 2.3, orientation → what the stored rows and columns are turned by to be seen
    1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1), 8: lambda x: np.rot90(x),
}  # fmt: skip


def noise(*shape: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def saved(picture: Image.Image, path: Path, **how) -> str:
    picture.save(path, **how)
    return str(path)


def whole(path: str, background: str = "white") -> np.ndarray:
    """As its own header says."""
    return image.read(path, image.check(path, background).shape, background)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
def test_exif_orientation_is_applied(orientation, ending, tmp_path):
    tag, stored = Image.Exif(), noise(5, 8, 3)
    tag[ExifTags.Base.Orientation] = orientation
    how = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(ending, {})
    path = saved(Image.fromarray(stored), tmp_path / f"x.{ending}", exif=tag, **how)
    if ending == "jpg":
        stored = np.asarray(Image.open(path))
    seen = UPRIGHT[orientation](stored)
    assert image.check(path).shape == seen.shape
    assert np.array_equal(whole(path), seen)
    assert np.array_equal(seen, np.asarray(ImageOps.exif_transpose(Image.open(path))))


@pytest.mark.parametrize("exif", [
    b"Exif\0\0nonsense", b"",
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",  # 99
])  # fmt: skip
def test_an_orientation_that_is_none_is_upright(exif, tmp_path):
    path = saved(Image.fromarray(noise(5, 8, 3)), tmp_path / "x.png", exif=exif)
    assert np.array_equal(whole(path), noise(5, 8, 3))


def composed(colour_HxWx3: np.ndarray, alpha_HxW: np.ndarray, below: tuple) -> np.ndarray:
    share = alpha_HxW[..., None] / 255
    return np.rint(share * colour_HxWx3 + (1 - share) * np.array(below)).astype(np.uint8)


@pytest.mark.parametrize("background, below", [
    ("white", (255, 255, 255)), ("Black", (0, 0, 0)), ("#ff8000", (255, 128, 0)),
])  # fmt: skip
def test_alpha_is_composed_on_the_background(background, below, tmp_path):
    every = np.stack(np.meshgrid(np.arange(256), np.arange(0, 256, 5)), -1).astype(np.uint8)
    colours, alpha = np.repeat(every[..., :1], 3, -1), every[..., 1]
    colours[..., 1] //= 2
    path = saved(Image.fromarray(np.dstack([colours, alpha])), tmp_path / "x.png")
    assert np.array_equal(whole(path, background), composed(colours, alpha, below))

    grey = Image.merge("LA", [Image.fromarray(colours[..., 0]), Image.fromarray(alpha)])
    path = saved(grey, tmp_path / "grey.png")
    expected = composed(np.repeat(colours[..., :1], 3, -1), alpha, below)
    found = whole(path, background)
    assert found.shape[-1] == (3 if background == "#ff8000" else 1)
    assert np.array_equal(found, expected[..., : found.shape[-1]])


def test_a_transparent_colour_of_a_palette_is_the_background(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for how in ({"transparency": 1}, {"transparency": bytes([255, 0, 128])}):
        found = whole(saved(picture, tmp_path / "x.png", **how), "black")
        last = 255 if how == {"transparency": 1} else 128
        assert found.tolist() == [[[255, 0, 0], [0, 0, 0], [0, 0, last]]]
    found = whole(saved(picture, tmp_path / "x.gif", transparency=1), "white")
    assert found.tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    rgb = Image.fromarray(np.array([[[9, 9, 9], [7, 8, 9]]], np.uint8))
    found = whole(saved(rgb, tmp_path / "y.png", transparency=(7, 8, 9)))
    assert found.tolist() == [[[9, 9, 9], [255, 255, 255]]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_the_background_of_any_depth(bits, tmp_path):
    """Its neighbours aren't, those that 16 bits round to the same among them."""
    values = np.arange(2**bits) if bits < 16 else 20000 + np.arange(-2, 3)
    clear = 1 if bits < 16 else 20000
    row = "".join(f"{value:0{bits}b}" for value in values)
    row += "0" * (-len(row) % 8)
    samples = bytes(int(row[at : at + 8], 2) for at in range(0, len(row), 8))
    path = str(tmp_path / "x.png")
    Path(path).write_bytes(png((len(values), 1, bits, 0), samples, struct.pack(">H", clear)))
    grey = np.rint(values * 255 / (2**bits - 1)).astype(np.uint8)
    assert whole(path, "#202020")[0, :, 0].tolist() == \
        np.where(values == clear, 32, grey).tolist()
    found = whole(path, "lime")[0]
    assert (found == (0, 255, 0)).all(-1).tolist() == (values == clear).tolist()


def test_a_transparent_colour_of_16_bits_is_the_background(tmp_path):
    samples = np.array([[20000, 30000, 40000], [30000, 30000, 40000]], ">u2")
    clear = struct.pack(">HHH", *samples[0].tolist())
    (tmp_path / "x.png").write_bytes(png((2, 1, 16, 2), samples.tobytes(), clear))
    assert whole(str(tmp_path / "x.png")).tolist() == [[[255, 255, 255], [117, 117, 156]]]


def png(head: tuple[int, int, int, int], row: bytes, clear: bytes) -> bytes:
    """Of one row; `head` is width, height, bits and kind of colour, `clear` the transparent one."""
    def chunk(name: bytes, content: bytes) -> bytes:
        return (struct.pack(">I", len(content)) + name + content
                + struct.pack(">I", zlib.crc32(name + content)))

    return b"\x89PNG\r\n\x1a\n" + b"".join([
        chunk(b"IHDR", struct.pack(">IIBBBBB", *head, 0, 0, 0)), chunk(b"tRNS", clear),
        chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")])


def test_alpha_is_composed_before_a_picture_is_resized(tmp_path):
    """What no one sees has no colour to bleed."""
    stored = np.zeros((4, 4, 4), np.uint8)
    stored[:2] = (255, 255, 255, 255)
    path = saved(Image.fromarray(stored), tmp_path / "x.png")
    assert (image.read(path, (2, 2, 3)) == 255).all()


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_16_bits_are_scaled_to_8(name, tmp_path):
    every = np.arange(65536).astype(np.uint16).reshape(256, 256)
    found = whole(saved(Image.fromarray(every), tmp_path / name))
    assert found.shape == (256, 256, 1)
    assert np.array_equal(found[..., 0], np.rint(every / 257).astype(np.uint8))
    assert found[0, 0, 0] == 0 and found[-1, -1, 0] == 255


def test_a_fault_comes_whole_from_a_worker():
    for fault in (image.Unusable("a.png", "it is damaged"), image.Unusable("b", "no", "b: no.")):
        got = pickle.loads(pickle.dumps(fault))
        assert (type(got), str(got), got.reason) == (image.Unusable, str(fault), fault.reason)


def test_numbers_without_a_range_are_refused(tmp_path):
    for dtype in (np.float32, np.int32):
        path = saved(Image.fromarray(noise(6, 6).astype(dtype)), tmp_path / "x.tif")
        for read in (image.check, lambda path: image.read(path, (6, 6, 1))):
            with pytest.raises(RequestError, match="32 bits or floats have no known range: save"):
                read(path)


def test_other_modes_are_what_pillow_makes_of_them(tmp_path):
    rgb = Image.fromarray(noise(6, 7, 3))
    for mode, name in (("CMYK", "x.jpg"), ("CMYK", "x.tif"), ("P", "x.png"), ("P", "x.bmp"),
                       ("RGB", "x.ppm"), ("RGB", "x.jfif"), ("YCbCr", "x.jpeg")):
        path = saved(rgb.convert(mode), tmp_path / name)
        assert np.array_equal(whole(path), np.asarray(Image.open(path).convert("RGB"))), name
    for mode, name in (("1", "x.png"), ("L", "x.pgm"), ("1", "x.pbm"), ("L", "x.jpg")):
        path = saved(rgb.convert(mode), tmp_path / name)
        assert np.array_equal(whole(path)[..., 0], np.asarray(Image.open(path).convert("L"))), name
    blue = whole(saved(Image.new("LAB", (2, 2), (150, 140, 90)), tmp_path / "lab.tif"))[0, 0]
    assert blue.tolist() == [133, 136, 209]  # and no grey, which it was taken for by its L
    assert {*image.ENDINGS} >= {".jfif", ".ppm", ".pgm", ".tif"}


@pytest.mark.parametrize("background, words", [
    ("wite", "unknown background 'wite': did you mean white"),
    ("?", "choose from #rrggbb, black, grey, white"), ("", "unknown background ''"),
    ("#ffffff80", "unknown background"), ("rgb(300,0)", "unknown background"), ("x" * 999, "unkn"),
])  # fmt: skip
def test_a_background_that_is_no_colour_is_refused(background, words):
    with pytest.raises(RequestError, match=words):
        sources.load("digits", reading=Reading(background=background))
