import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from conftest import Tiny, data_of, random_split

from engine import augment, keys
from engine.config import Config, Hyper
from engine.feed import epoch_order
from engine.setup import learner_of

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 6, 3), dtype=np.uint8)


def test_off_only_scales_and_0_and_255_become_exactly_0_and_1():
    every = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    out = np.asarray(augment.augment(Config(), jax.random.key(0), every))
    assert out.dtype == np.float32 and out.ravel()[[0, -1]].tolist() == [0.0, 1.0]
    np.testing.assert_allclose(out.ravel(), np.arange(256) / 255, rtol=1e-7)


def test_every_image_is_itself_or_its_mirror():
    out = np.asarray(augment.flip(jax.random.key(0), IMAGES))
    kept, flipped = ((out == x).all((1, 2, 3)) for x in (IMAGES, IMAGES[:, :, ::-1]))
    assert (kept | flipped).all() and 16 < flipped.sum() < 48


def test_every_crop_is_a_window_of_the_padded_image_and_every_window_occurs():
    count, height, width, padding = 500, 8, 6, 2
    image = 1 + np.arange(height * width, dtype=np.uint8).reshape(height, width)
    wide = np.pad(image, padding)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width)).reshape(25, -1)
    batch = np.broadcast_to(image[None, :, :, None], (count, height, width, 1))
    out = np.asarray(jax.jit(partial(augment.crop, padding=padding))(jax.random.key(0), batch))
    hits = (out.reshape(count, 1, -1) == windows).all(-1)
    assert (hits.sum(1) == 1).all() and hits.any(0).all()


def by_hand(key, images_BxHxWxC, padding: int):
    """Mirrored and shifted image by image; the draws alone are jax's."""
    flips, crops = jax.random.split(key)
    count, height, width, _ = images_BxHxWxC.shape
    mirrored = np.asarray(jax.random.bernoulli(flips, shape=(count, 1, 1, 1))).ravel()
    corners = np.asarray(jax.random.randint(crops, (count, 2), 0, 2 * padding + 1))
    out = np.zeros_like(images_BxHxWxC)
    for i, (image, (down, right)) in enumerate(zip(images_BxHxWxC, corners, strict=True)):
        wide = np.pad(image[:, ::-1] if mirrored[i] else image,
                      ((padding, padding), (padding, padding), (0, 0)))
        out[i] = wide[down : down + height, right : right + width]
    return out


def test_steps_are_augmented_with_keys_of_their_own_and_go_down_the_mean_gradient():
    """Steps 0 and 1, in plain jax.grad."""
    data, root, rate = data_of(random_split(16, side=6), random_split(4, side=6)), \
        jax.random.key(5), 0.1
    config = Config(model=Tiny, batch_size=8, epochs=1, optimizer="sgd", flip=True, crop_padding=2)
    learner, hyper = learner_of(config, 4), Hyper(learning_rate=jnp.float32(rate))
    state = jax.jit(learner.create)(hyper, root, data)
    segment = jax.jit(learner.segment)
    images, labels = map(np.asarray, data.train.split)
    order = np.asarray(epoch_order(root, 0, np.arange(16)))

    @jax.jit
    def gradient(params, inputs, labels):
        def mean(params):
            logits = Tiny().apply({"params": params}, inputs, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.grad(mean)(params)

    plain, params = dataclasses.replace(config, flip=False, crop_padding=0), state.params
    for step in range(2):
        rows = order[8 * step : 8 * step + 8]
        key = keys.stream(root, "augment", step)
        seen = by_hand(key, images[rows], 2).astype(np.float32) / 255
        np.testing.assert_allclose(augment.augment(config, key, images[rows]), seen, rtol=1e-6)
        assert not np.allclose(seen, augment.augment(plain, key, images[rows]))
        gradients = gradient(params, seen, labels[rows])
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
        state = segment(hyper, root, root, data.train, state, np.int32(1))
        chex.assert_trees_all_close(state.params, params, atol=2e-6)
