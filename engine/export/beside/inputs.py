"""What the model beside this file takes, made as it was for training; needs NumPy, and Pillow for
pictures. model.json says which of the two it takes.

    import inputs
    inputs.pictures(["cat.jpg", "dog.png"])   # uint8 [2, height, width, channels]
    inputs.rows([{"age": 31, "sex": "f"}])    # float32 [1, features]; None, NaN, "", "NA" are none
"""

import datetime
import json
import re
from pathlib import Path

import numpy as np

# A PNG's transparent colour, which Pillow leaves as the file has it, as pixels are, by raw mode.
CLEAR = {"L;2": lambda grey: 85 * grey, "L;4": lambda grey: 17 * grey,
         "RGB;16B": lambda rgb: tuple(value >> 8 for value in rgb)}  # fmt: skip
GIVEN = json.loads(Path(__file__).with_name("model.json").read_text(encoding="utf-8"))["inputs"]


def pictures(files):
    """Upright as EXIF says, 16 bits brought to 8, on the background's colour unless the model
    sees alpha, then bilinear in the model's size, as Pillow resizes."""
    from PIL import Image, ImageColor, ImageOps

    _, height, width, channels = GIVEN["shape"]
    mode, made = {1: "L", 3: "RGB", 4: "RGBA"}[channels], []
    for file in files:
        with Image.open(file) as opened:
            if opened.format == "PNG" and "transparency" in opened.info:
                counted = CLEAR.get(str(opened.tile[0].args), lambda clear: clear)
                opened.info["transparency"] = counted(opened.info["transparency"])
            Image.Image.getexif(opened)  # a PNG's that stands before the pixels is kept from here
            # Pillow turns TIFF by itself.
            tiff = opened.format == "TIFF"
            picture = opened.copy() if tiff else ImageOps.exif_transpose(opened)
            if picture.mode[0] == "I":
                deep, clear = np.asarray(picture), picture.info.get("transparency")
                picture = Image.fromarray(((deep.astype(np.uint32) + 128) // 257).astype(np.uint8))
                if clear is not None:
                    picture.putalpha(Image.fromarray(np.uint8(255) * (deep != clear)))
            if mode != "RGBA" and picture.has_transparency_data:
                above = picture.convert("RGBA")
                picture = Image.new("RGB", above.size, ImageColor.getrgb(GIVEN["background"]))
                picture.paste(above, mask=above)
            picture = picture.convert(mode)
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            made.append(np.asarray(picture).reshape(height, width, channels))
    return np.stack(made)


def rows(table):
    """Of dictionaries, a value a column; numbers standardised, words one by one or as codes."""
    features = []
    for column in GIVEN["columns"]:
        values = [_there(column, row[column["name"]]) for row in table]
        make = _words if column["type"] == "Words" else _numbers
        features += make(column, values)
    with np.errstate(over="ignore"):
        made = np.stack(features, axis=1).astype(np.float32)
    if not np.isfinite(made).all():
        raise ValueError("a number is infinite, or too far from those of training: mend it")
    return made


def _there(column, value):
    """None where there is none, as a table's cell says it, unless that is a word of training."""
    if isinstance(value, str):
        text = value.strip()
        return None if text in GIVEN["missing"] and text not in column.get("values", ()) else text
    return None if value is None or value != value else value


def _number(value):
    return float({"true": 1, "false": 0}.get(str(value).lower(), value))


def _numbers(column, values):
    number = _days if column["kind"] == "date" else _number
    found = np.array([np.nan if value is None else number(value) for value in values])
    filled = np.where(np.isnan(found), column["median"], found)
    scaled = (filled - column["mean"]) / column["scale"] if column["scale"] else 0 * filled
    return [scaled, np.isnan(found)] if column["missing"] else [scaled]


def _days(text):
    """Since 1970, of a date, with a time or not: 2024-05-31T12:00:00+00:00, 2024/05/31, 31.05.2024.
    """
    written = re.sub(r"^(\d{4})/(\d\d)/(\d\d)(?!\d)", r"\1-\2-\3", str(text))
    written = re.sub(r"^(\d\d)\.(\d\d)\.(\d{4})(?!\d)", r"\3-\2-\1", written)
    time = datetime.datetime.fromisoformat(written)
    time = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    return time.timestamp() / 86400


def _words(column, values):
    known = {word: number for number, word in enumerate(column["values"], 1)}
    none = len(known) + 1 if column["missing"] else 0
    codes = np.array([none if value is None else known.get(_word(value), 0) for value in values])
    if column["embedded"]:
        return [codes]
    return [codes == number for number in range(1, len(known) + 1 + column["missing"])]


def _word(value):
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)
