import jax
import numpy as np

from engine import augment
from engine.config import Config

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 6, 3), dtype=np.uint8)


def test_off_means_untouched():
    same = augment.augment(Config(), jax.random.key(0), IMAGES)
    np.testing.assert_array_equal(same, IMAGES)


def test_every_image_is_itself_or_its_mirror():
    out = np.asarray(augment.flip(jax.random.key(0), IMAGES))
    kept, flipped = ((out == x).all((1, 2, 3)) for x in (IMAGES, IMAGES[:, :, ::-1]))
    assert (kept | flipped).all() and 16 < flipped.sum() < 48


def test_every_crop_is_a_window_of_the_padded_image():
    out = np.asarray(augment.crop(jax.random.key(0), IMAGES, 2))
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    found = set()
    for image, wide in zip(out, padded, strict=True):
        hits = [(i, j) for i in range(5) for j in range(5)
                if (wide[i : i + 8, j : j + 6] == image).all()]
        assert len(hits) == 1
        found.update(hits)
    assert len(found) > 15
