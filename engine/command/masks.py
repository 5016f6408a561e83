"""Predicted classes of pixels as PNG files, one a picture: numbers of classes, with a palette."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from engine.disk import files
from engine.drawn.masks import palette
from engine.errors import RequestError, repeated, visible
from engine.sets import image

MOST = 256  # classes that a palette has


def check(folder: str, pictures: Sequence[str]) -> None:
    """Raise RequestError where the masks of `pictures` can't be written into `folder`, before
    anything is computed."""
    said, names = f"--output {visible(folder, '')}", [_name(file) for file in pictures]
    if os.path.splitext(folder)[1] or os.path.isfile(folder):
        raise RequestError(f"{said}: type a folder, into which the mask of each picture goes.")
    if not os.path.isdir(os.path.dirname(os.path.abspath(folder))):
        raise RequestError(f"{said}: there is no folder to put it in: make that first.")
    if twice := repeated(names):
        raise RequestError(f"{said}: two of the pictures would be {visible(twice[0], '')} there: "
                           "predict one folder at a time.")
    if os.path.realpath(folder) in {os.path.dirname(os.path.realpath(file)) for file in pictures}:
        raise RequestError(f"{said} holds what is to be predicted: name another folder.")


def writer(folder: str, names: Sequence[str]) -> Callable[[Sequence[str], np.ndarray], None]:
    """What writes the masks, int [B, H, W], of pictures' files, each of its picture's own size."""
    colours = palette(names[:MOST]).ravel().tolist()
    os.makedirs(folder, exist_ok=True)

    def add(pictures: Sequence[str], said_BxHxW: np.ndarray) -> None:
        for file, mask in zip(pictures, said_BxHxW, strict=True):
            height, width, _ = image.check(file).shape
            if len(names) > MOST:
                made = Image.fromarray(mask.astype(np.uint16))
            else:
                made = Image.fromarray(mask.astype(np.uint8)).convert("P")
                made.putpalette(colours)
            with files.replacing(Path(folder, _name(file))) as out:
                made.resize((width, height), Image.Resampling.NEAREST).save(out, "PNG")

    return add


def _name(file: str) -> str:
    return f"{os.path.splitext(os.path.basename(file))[0]}.png"
