"""The embedded set: scikit-learn's 1,797 real 8x8 digits. No network, no data folder."""

from collections.abc import Sequence

import numpy as np

from engine.examples import Split
from engine.sets import cache, image
from engine.sets.dataset import Dataset, asked
from engine.sets.limits import fits
from engine.sets.names import DIGITS

IMAGE_SIZE = 32
_CLASSES = tuple("0123456789")


def load(image_size: int = 0, splits: Sequence[str] | None = None) -> Dataset:
    """Images NxSxSx1 uint8, S = `image_size` or 32; `test` is a stratified fifth, always the same.
    Raises RequestError for a split other than train and test."""
    # Imported late: scikit-learn takes a second that no other source should pay.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    wanted = asked(DIGITS, ("train", "test"), splits)
    small_Nx8x8, labels_N = load_digits(return_X_y=True)
    bytes_Nx8x8x1 = np.rint(small_Nx8x8.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    size, labels = image_size or IMAGE_SIZE, labels_N.astype(np.int32)
    fits(DIGITS, len(labels), (size, size, 1))
    images = image.resize(bytes_Nx8x8x1, size)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
    )
    rows = {"train": np.sort(train), "test": np.sort(test)}
    found = {split: Split(images[rows[split]], labels[rows[split]]) for split in wanted}
    return cache.together(DIGITS, {name: cache.entry(one, _CLASSES) for name, one in found.items()})
