"""Each augmentation against NumPy, Pillow or the standard library, given the same draws; and what a
run makes of them."""

import colorsys
import dataclasses
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import QUICK, on_devices
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from samples import Normed, Tiny, data_of, random_split
from scipy.ndimage import map_coordinates

from engine import keys
from engine.augmentations import (
    box,
    chain,
    colour,
    crop,
    cutmix,
    cutout,
    erasing,
    flip,
    mixup,
    randaugment,
    rotation,
    suited,
)
from engine.command import names
from engine.config import Config, Hyper
from engine.doors.checks import check
from engine.doors.course import durations
from engine.errors import RequestError
from engine.examples import Split, Subset
from engine.feed import epoch_order
from engine.learners.chosen import learner_of
from engine.sweep import population
from engine.tasks.classification import Classification

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (64, 8, 6, 3), dtype=np.uint8)
PICTURES = RANDOM.random((20, 9, 7, 3), dtype=np.float32)
VALID = np.arange(20) < 17
TARGETS = np.eye(5, dtype=np.float32)[RANDOM.integers(0, 5, 20)]
STRENGTHS = {"rotation": 40.0, "cutout": 3.0, "erasing": 0.7, "mixup": 0.8,
             "brightness": 0.9, "contrast": 0.8, "saturation": 1.2, "hue": 0.4}
quickly = partial(jax.jit, compiler_options=QUICK)


def augmented(config, key, inputs, hyper=Hyper(), classes=3):  # noqa: B008  # a tuple
    """By a run's own chain, of which all are valid, and their targets."""
    targets = jnp.arange(len(inputs), dtype=jnp.int32) % classes
    learner = learner_of(dataclasses.replace(config, model=Tiny), classes)
    return chain.augmented(learner, hyper, key, Split(inputs, targets), targets >= 0)[:2]


def test_off_only_scales_and_0_and_255_become_exactly_0_and_1():
    every = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    out, targets = map(np.asarray, augmented(Config(), jax.random.key(0), every))
    assert out.dtype == np.float32 and out.ravel()[[0, -1]].tolist() == [0.0, 1.0]
    np.testing.assert_allclose(out.ravel(), np.arange(256) / 255, rtol=1e-7)
    assert targets.dtype == np.int32 and targets.tolist() == [0, 1, 2, 0]


def test_every_image_is_itself_or_its_mirror():
    drawn = flip.draw(jax.random.key(0), len(IMAGES))
    out = np.asarray(flip.apply(IMAGES, drawn))
    kept, flipped = ((out == x).all((1, 2, 3)) for x in (IMAGES, IMAGES[:, :, ::-1]))
    assert (kept | flipped).all() and 16 < flipped.sum() < 48
    np.testing.assert_array_equal(flipped, drawn)


def test_every_crop_is_a_window_of_the_padded_image_and_every_window_occurs():
    count, height, width, padding = 500, 8, 6, 2
    image = 1 + np.arange(height * width, dtype=np.uint8).reshape(height, width)
    wide = np.pad(image, padding)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width)).reshape(25, -1)
    batch = np.broadcast_to(image[None, :, :, None], (count, height, width, 1))
    corners = crop.draw(jax.random.key(0), count, padding)
    out = np.asarray(quickly(partial(crop.apply, padding=padding))(batch, corners))
    hits = (out.reshape(count, 1, -1) == windows).all(-1)
    assert (hits.sum(1) == 1).all() and hits.any(0).all()


# Against NumPy: of each, its draw and what it makes of PICTURES. One program for all strengths.
@quickly
def _all(strengths):
    of, count, shape = jax.random.key(3), len(PICTURES), PICTURES.shape
    pictures, targets = jnp.asarray(PICTURES), jnp.asarray(TARGETS)
    angles = rotation.draw(of, count, strengths["rotation"])
    middles = cutout.draw(of, count, shape[1:])
    erased = erasing.draw(of, shape, strengths["erasing"])
    partners, share = mixup.partners(of, VALID), 1 - strengths["mixup"]  # drawn elsewhere
    cut = cutmix.draw(of, shape[1:], share)
    own = cutmix.kept(shape[1:], cut)
    factors = colour.draw(of, count, strengths)
    return {
        "rotation": (angles, rotation.apply(pictures, angles)),
        "cutout": (middles, cutout.apply(pictures, middles, strengths["cutout"])),
        "erasing": (erased, erasing.apply(pictures, erased)),
        "mixup": ((partners, share), (mixup.apply(pictures, partners, share),
                                      mixup.apply(targets, partners, share))),
        "cutmix": ((partners, cut), (cutmix.apply(pictures, partners, cut),
                                     mixup.apply(targets, partners, own))),
        **{name: (factors[name], colour.apply(pictures, {name: factors[name]}))
           for name in colour.OPERATIONS},
    }


@cache
def every(strength: float = 1.0):
    """Of STRENGTHS times this."""
    return jax.device_get(_all({k: np.float32(v * strength) for k, v in STRENGTHS.items()}))


def turned(angles, pictures=PICTURES):
    """Each pixel from where it was before the picture was turned, by SciPy."""
    out, (height, width) = np.zeros_like(pictures), pictures.shape[1:3]
    y, x = np.mgrid[:height, :width] - np.array([[[height - 1]], [[width - 1]]]) / 2
    for picture, angle, found in zip(pictures, np.deg2rad(np.float64(angles)), out, strict=True):
        places = (np.cos(angle) * y + np.sin(angle) * x + (height - 1) / 2,
                  np.cos(angle) * x - np.sin(angle) * y + (width - 1) / 2)
        for c in range(3):
            found[..., c] = map_coordinates(picture[..., c], places, order=1, mode="grid-constant")
    return out


def squared(middles):
    out, side = PICTURES.copy(), int(STRENGTHS["cutout"])
    for picture, (y, x) in zip(out, middles - side // 2, strict=True):
        picture[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 0
    return out


def erased_by(drawn):
    out = PICTURES.copy()
    for picture, (y, x), (tall, wide), noise in zip(out, *drawn, strict=True):
        picture[y : y + tall, x : x + wide] = noise[y : y + tall, x : x + wide]
    return out


def mixed(drawn):
    partners, share = drawn
    return tuple(share * x + (1 - share) * x[partners] for x in (PICTURES, TARGETS))


def pasted(drawn):
    partners, (((y, x),), ((tall, wide),)) = drawn
    out, area = PICTURES.copy(), np.float32(tall * wide / (9 * 7))
    out[:, y : y + tall, x : x + wide] = PICTURES[partners][:, y : y + tall, x : x + wide]
    return out, (1 - area) * TARGETS + area * TARGETS[partners]


LUMA = PICTURES @ np.float32([0.299, 0.587, 0.114])


def blended(other, factor):
    return np.clip(PICTURES * factor + other * (1 - factor), 0, 1)


def another_hue(turns):
    def one(pixel, turn):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((h + turn) % 1, s, v)

    return np.array([[one(pixel, turn) for pixel in picture.reshape(-1, 3)]
                     for picture, turn in zip(PICTURES, turns.ravel(), strict=True)]
                    ).reshape(PICTURES.shape)


BY_HAND = {
    "rotation": turned, "cutout": squared, "erasing": erased_by, "mixup": mixed, "cutmix": pasted,
    "brightness": partial(blended, 0), "saturation": partial(blended, LUMA[..., None]),
    "contrast": partial(blended, LUMA.mean((1, 2))[:, None, None, None]), "hue": another_hue,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_each_is_what_numpy_makes_of_the_same_draw(name):
    drawn, made = every()[name]
    wanted = BY_HAND[name](drawn)
    chex.assert_trees_all_close(made, wanted, atol=3e-6)
    first = made[0] if isinstance(made, tuple) else made
    assert not np.allclose(first, PICTURES, atol=1e-3)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_strength_of_0_changes_nothing(name):
    _, made = every(0.0)[name]
    same = (PICTURES, TARGETS) if isinstance(made, tuple) else PICTURES
    chex.assert_trees_all_close(made, same, atol=1e-6 if name == "hue" else 0)


def test_draws_are_as_far_apart_as_they_may_be():
    drawn = {name: value for name, (value, _) in every().items()}
    assert 30 < drawn["rotation"].max() <= 40 and -40 <= drawn["rotation"].min() < -30
    assert 0 <= drawn["saturation"].min() and drawn["saturation"].max() <= 2.2
    assert -0.4 <= drawn["hue"].min() < -0.2 and 0.2 < drawn["hue"].max() <= 0.4
    assert (drawn["cutout"].min(0) == 0).all() and (drawn["cutout"].max(0) == (8, 6)).all()


@pytest.mark.slow
def test_a_quarter_turn_is_numpys():
    square = jnp.asarray(PICTURES[:, :7])
    turned = rotation.apply(square, jnp.full(20, 90.0))
    np.testing.assert_allclose(turned, np.rot90(square, axes=(1, 2)), atol=1e-5)


@pytest.mark.slow
def test_erased_rectangles_lie_within_and_have_the_papers_areas_and_ratios():
    shape = 2000, 32, 32, 1
    corner, sides, noise = map(np.asarray, quickly(partial(erasing.draw, images=shape))(
        jax.random.key(0), probability=jnp.float32(0.5)))
    tall, wide = sides[there := sides.all(1)].T
    assert 900 < there.sum() < 1100 and not sides[~there].any()
    assert (corner >= 0).all() and (corner + sides).max(0).tolist() == [32, 32]
    share, ratio = tall * wide / 32**2, tall / wide
    assert 0.015 < share.min() and share.max() < 0.42 and 0.15 < share.mean() < 0.25
    assert 0.25 < ratio.min() < 0.4 and 2.5 < ratio.max() < 4
    assert 0.45 < noise.mean() < 0.55
    # Of a line of pixels hardly one fits, and what doesn't is none.
    sides = erasing.draw(jax.random.key(0), (50, 1, 40, 1), jnp.float32(1)).sides
    assert (np.asarray(sides) < (1, 40)).all()


def test_partners_are_a_permutation_of_the_valid_ones_alone():
    valid = np.array([1, 1, 0, 1, 1, 0, 1, 1], bool)
    keys = jax.random.split(jax.random.key(0), 300)
    found = np.asarray(quickly(jax.vmap(mixup.partners, (0, None)))(keys, valid))
    assert (found[:, ~valid] == np.flatnonzero(~valid)).all()
    assert (np.sort(found[:, valid]) == np.flatnonzero(valid)).all()
    assert all(set(column) == set(np.flatnonzero(valid)) for column in found[:, valid].T)


@pytest.mark.slow
def test_shares_are_of_the_beta_distribution_and_1_without_strength():
    share = quickly(jax.vmap(mixup.share, (0, None)))
    keys = jax.random.split(jax.random.key(1), 2000)
    for alpha in (0.2, 1.0):
        shares = np.asarray(share(keys, jnp.float32(alpha)))
        assert abs(shares.mean() - 0.5) < 0.03
        assert abs(shares.var() / (1 / (4 * (2 * alpha + 1))) - 1) < 0.1
    assert (share(keys, jnp.float32(0)) == 1).all()


@pytest.mark.slow
def test_cutmix_cuts_the_area_that_it_drew_where_nothing_is_cut_off():
    keys, share = jax.random.split(jax.random.key(1), 500), np.float32(RANDOM.random(500))
    draw = quickly(jax.vmap(partial(cutmix.draw, shape=(40, 40, 3))))
    corner, sides = jax.device_get(draw(keys, share=share))
    inner = ((corner > 0) & (corner + sides < 40)).all((1, 2))
    side = 2 * (np.floor(np.sqrt(1 - share) * np.float32(40)).astype(int) // 2)
    assert 50 < inner.sum() and (sides[inner, 0] == side[inner, None]).all()
    assert (corner >= 0).all() and (corner + sides <= 40).all()


def test_a_box_may_reach_beyond_the_picture():
    mask = box.inside((3, 4, 1), jnp.array([[-1, 2]]), jnp.array([[3, 9]]))
    assert np.asarray(mask[0, ..., 0]).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0] * 4]


SOURCE = np.random.default_rng(5).integers(20, 230, (12, 12, 3))
SOURCE = np.uint8(Image.fromarray(np.uint8(SOURCE)).resize((33, 32), Image.Resampling.BICUBIC))


def by_pillow(name: str, sign: float, part: float) -> np.ndarray:
    """What Pillow makes of SOURCE, as a part of the strongest; warps are SciPy's."""
    image, factor = Image.fromarray(SOURCE), 1 + sign * 0.9 * part
    match name:
        case "identity":
            return SOURCE / 255
        case "solarize":
            return np.asarray(ImageOps.solarize(image, 256 * (1 - part))) / 255
        case "posterize":
            return np.asarray(ImageOps.posterize(image, 8 - round(4 * part))) / 255
        case "autocontrast" | "equalize":
            return np.asarray(getattr(ImageOps, name)(image)) / 255
        case "brightness" | "color" | "contrast" | "sharpness":
            return np.asarray(getattr(ImageEnhance, name.title())(image).enhance(factor)) / 255
        case "rotate":
            return turned([sign * 30 * part], np.float32(SOURCE[None] / 255))[0]
    y, x = np.mgrid[:32, :33].astype(float)
    by = sign * part
    x, y = {"shear_x": (x + 0.3 * by * (y - 15.5), y), "shear_y": (x, y + 0.3 * by * (x - 16)),
            "translate_x": (x + by * 33 * 150 / 331, y),
            "translate_y": (x, y + by * 32 * 150 / 331)}[name]
    return np.stack([map_coordinates(SOURCE[..., c] / 255, (y, x), order=1, mode="grid-constant")
                     for c in range(3)], -1)


OPERATED = quickly(randaugment.apply)
COUNT = len(randaugment.OPERATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("magnitude", [10, 5, 0])
def test_randaugments_operations_are_pillows(magnitude):
    """To a level and a half of 255: Pillow rounds on the way. 0 changes nothing but by two."""
    images = np.repeat(np.float32(SOURCE[None] / 255), 2 * COUNT, 0)
    operations = np.tile(np.arange(COUNT, dtype=np.int32), 2)
    signs = np.repeat(np.float32([1, -1]), COUNT)
    drawn = randaugment.Drawn(operations[None], signs[None])
    out = np.asarray(OPERATED(images, drawn, np.float32(magnitude)))
    assert 0 <= out.min() and out.max() <= 1
    for image, operation, sign in zip(out, operations, signs, strict=True):
        name = randaugment.OPERATIONS[operation]
        unchanged = magnitude == 0 and name not in ("autocontrast", "equalize")
        wanted = SOURCE / 255 if unchanged else by_pillow(name, sign, magnitude / 10)
        most = 1e-6 if unchanged else 1.5 / 255
        assert abs(image - wanted).max() <= most, (name, sign)
        assert unchanged or name == "identity" or abs(image - SOURCE / 255).max() > 0.01, name


@pytest.mark.slow
def test_randaugment_draws_every_operation_and_sign_of_each_round_alike():
    operation, sign = map(np.asarray, randaugment.draw(jax.random.key(0), 2, 2000))
    for of_round in operation:
        assert (abs(np.bincount(of_round, minlength=COUNT) / (2000 / COUNT) - 1) < 0.4).all()
    assert (operation[0] != operation[1]).mean() > 0.85
    assert abs(sign.mean()) < 0.1 and set(sign.ravel()) == {-1, 1}


@pytest.mark.slow
def test_smoothing_is_pillows():
    smoothed = Image.fromarray(SOURCE).filter(ImageFilter.SMOOTH)
    ours = randaugment.smooth(jnp.float32(SOURCE[None] / 255))[0]
    assert abs(ours - np.asarray(smoothed) / 255).max() < 0.6 / 255


# A run's chain

def darker(key, inputs):
    return inputs * jax.random.uniform(key, (len(inputs), 1, 1, 1))


HYPER = Hyper(magnitude=jnp.float32(4), cutmix=jnp.float32(1.5),
              **{k: jnp.float32(v) for k, v in STRENGTHS.items()})


@pytest.mark.slow
def test_a_run_asks_for_all_in_their_order_each_with_a_key_of_its_own():
    """Moved, coloured, erased, the user's own, mixed: of a masked batch."""
    config = Config(model=Tiny, flip=True, crop_padding=1, randaugment=1, augment=darker)
    images, labels, valid = IMAGES[:6], np.arange(6, dtype=np.int32) % 3, np.arange(6) < 5
    key, count, shape = jax.random.key(9), 6, IMAGES.shape[1:]

    @quickly
    def by_hand(key, x):
        h, of = HYPER, partial(jax.random.fold_in, key)
        flips, crops = jax.random.split(key)
        x = crop.apply(flip.apply(x, flip.draw(flips, count)), crop.draw(crops, count, 1), 1)
        x = x.astype(jnp.float32) / 255
        x = rotation.apply(x, rotation.draw(of(3), count, h.rotation))
        x = randaugment.apply(x, randaugment.draw(of(4), 1, count), h.magnitude)
        x = colour.apply(x, colour.draw(of(5), count, h._asdict()))
        x = cutout.apply(x, cutout.draw(of(6), count, shape), h.cutout)
        x = darker(of(2), erasing.apply(x, erasing.draw(of(7), (count, *shape), h.erasing)))
        partners, shares, boxes, coin = jax.random.split(of(8), 4)
        partner = mixup.partners(partners, valid)
        share = mixup.share(shares, jnp.where(jax.random.bernoulli(coin), h.cutmix, h.mixup))
        cut = cutmix.draw(boxes, shape, share)
        both = [(mixup.apply(y, partner, share)) for y in (x, jnp.eye(3)[labels])]
        cuts = [cutmix.apply(x, partner, cut),
                mixup.apply(jnp.eye(3)[labels], partner, cutmix.kept(shape, cut))]
        return jax.tree.map(partial(jnp.where, jax.random.bernoulli(coin)), cuts, both)

    learner = learner_of(config, 3)
    ours = quickly(lambda key, x: chain.augmented(learner, HYPER, key, Split(x, labels), valid)[:2])
    seen = set()
    for key in jax.random.split(jax.random.key(9), 4):
        chex.assert_trees_all_close(ours(key, images), tuple(by_hand(key, images)), atol=2e-6)
        seen.add(bool(jax.random.bernoulli(jax.random.split(jax.random.fold_in(key, 8), 4)[3])))
    assert seen == {True, False}


@pytest.mark.slow
def test_of_two_ways_to_mix_one_without_strength_is_never_drawn():
    keys, images = jax.random.split(jax.random.key(0), 8), jnp.asarray(IMAGES[:4])

    def mixed(**strengths):
        hyper = Hyper(**{name: jnp.float32(value) for name, value in strengths.items()})
        return quickly(jax.vmap(lambda key: augmented(Config(), key, images, hyper)))(keys)

    for name, other in (("mixup", "cutmix"), ("cutmix", "mixup")):
        alone = mixed(**{name: 9.0})
        assert abs(np.asarray(alone[0]) - IMAGES[:4] / 255).max() > 0.1
        chex.assert_trees_all_close(mixed(**{name: 9.0, other: 0.0}), alone, atol=1e-6)


def test_the_users_own_may_change_targets_too():
    def other(key, inputs, targets):
        return inputs * 0, targets + 1

    inputs, targets = augmented(Config(augment=other), jax.random.key(0), IMAGES[:4])
    assert not inputs.any() and targets.tolist() == [1, 2, 3, 1]


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


@pytest.mark.slow
def test_steps_are_augmented_with_keys_of_their_own_and_go_down_the_mean_gradient():
    """Steps 0 and 1, in plain jax.grad."""
    data, root, rate = data_of(random_split(16, side=6), random_split(4, side=6)), \
        jax.random.key(5), 0.1
    config = Config(model=Tiny, batch_size=8, epochs=1, optimizer="sgd", flip=True, crop_padding=2)
    learner, hyper = learner_of(config, 4), Hyper(learning_rate=jnp.float32(rate))
    state = quickly(learner.create)(hyper, root, data)
    segment = quickly(learner.segment)
    images, labels = map(np.asarray, data.train.split[:2])
    order = np.asarray(epoch_order(root, 0, np.arange(16)))

    @quickly
    def gradient(params, inputs, labels):
        def mean(params):
            logits = Tiny().apply({"params": params}, inputs, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.grad(mean)(params)

    seen_by, params = quickly(lambda key, x: augmented(config, key, x)[0]), state.params
    for step in range(2):
        rows = order[8 * step : 8 * step + 8]
        key = keys.stream(root, "augment", step)
        seen = by_hand(key, images[rows], 2).astype(np.float32) / 255
        np.testing.assert_allclose(seen_by(key, images[rows]), seen, rtol=1e-6)
        assert not np.allclose(seen, images[rows] / 255)
        gradients = gradient(params, seen, labels[rows])
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
        state = segment(hyper, root, root, data.train, state, np.int32(1))
        chex.assert_trees_all_close(state.params, params, atol=2e-6)


# Mixed labels in a run: 13 pictures of batch 8, the last of 5, in two microbatches.
MIXED = Config(model=Tiny, batch_size=8, epochs=2, optimizer="sgd", microbatch=4)
DATA = data_of(random_split(13, side=6), random_split(4, side=6))
ALPHAS = np.float32([0.0, 0.4, 3.0])


@cache
def programs(config: Config):
    learner = learner_of(config, 4)
    return learner, quickly(learner.create), quickly(learner.segment)


def run_of(config: Config, alpha, *lengths: int):
    _, create, segment = programs(config)
    hyper, root = Hyper(np.float32(0.1), mixup=np.float32(alpha)), jax.random.key(5)
    state = create(hyper, root, DATA)
    for count in lengths:
        state = segment(hyper, root, root, DATA.train, state, np.int32(count))
    return jax.device_get(state)


@pytest.mark.slow
def test_mixed_steps_go_down_the_mean_gradient_and_count_the_larger_label():
    start, order = run_of(MIXED, 3.0), np.asarray(epoch_order(jax.random.key(5), 0, np.arange(13)))
    images, labels = map(np.asarray, DATA.train.split[:2])

    @quickly
    def gradient(params, inputs, targets):
        def mean(params):
            log_p = jax.nn.log_softmax(Tiny().apply({"params": params}, inputs, train=True))
            return -(targets * log_p).sum(-1).mean(), log_p

        return jax.grad(mean, has_aux=True)(params)

    params, loss, correct = start.params, 0.0, 0
    for step, count in enumerate((8, 5)):
        rows = order[8 * step : 8 * step + 8]
        key = jax.random.fold_in(keys.stream(jax.random.key(5), "augment", step), mixup.PURPOSE.key)
        partners, shares, *_ = jax.random.split(key, 4)
        partner = np.asarray(mixup.partners(partners, np.arange(8) < count))[:count]
        assert partner.max() < count
        share = np.float32(mixup.share(shares, jnp.float32(3)))
        x, y = images[rows] / np.float32(255), np.eye(4, dtype=np.float32)[labels[rows]]
        x, y = (share * z + (1 - share) * z[partner] for z in (x, y))
        slope, log_p = gradient(params, x, y)
        loss -= (y * log_p).sum()
        correct += (np.asarray(log_p).argmax(1) == y.argmax(1)).sum()
        params = jax.tree.map(lambda p, g: p - np.float32(0.1) * g, params, slope)
    end = run_of(MIXED, 3.0, 2)
    chex.assert_trees_all_close(end.params, params, atol=2e-6)
    np.testing.assert_allclose(end.tally.loss_sum, loss, rtol=1e-5)
    assert end.tally.correct == correct and end.tally.count == 13


@pytest.mark.slow
def test_mixing_resumes_bit_for_bit_and_without_strength_is_off():
    chex.assert_trees_all_equal(run_of(MIXED, 0.4, 2, 1), run_of(MIXED, 0.4, 1, 1, 1))
    off, still = run_of(MIXED, 0.0, 2), _unmixed(MIXED, 2)
    chex.assert_trees_all_close(off.params, still.params, atol=1e-6)


def _unmixed(config: Config, count: int):
    learner, hyper, root = learner_of(config, 4), Hyper(np.float32(0.1)), jax.random.key(5)
    state = quickly(learner.create)(hyper, root, DATA)
    return jax.device_get(quickly(learner.segment)(hyper, root, root, DATA.train, state,
                                                   np.int32(count)))


@pytest.mark.slow
def test_each_member_of_a_population_is_its_run_alone_at_its_own_strength():
    learner, hyper = programs(MIXED)[0], Hyper(np.full(3, 0.1, np.float32), mixup=ALPHAS)
    lengths, none = durations(MIXED, 13), np.zeros(3, np.int32)
    runs = quickly(lambda hyper: population.create_all(
        learner, hyper, none + 5, none, np.arange(3, dtype=np.int32),
        input_shape=DATA.train.input_shape, lengths=lengths))(hyper)
    folded = DATA.train._replace(rows=DATA.train.rows[None])
    runs = quickly(lambda runs: population.segment(
        learner, population.Layout(), runs, None, folded, np.int32(3)))(runs)
    for at, alpha in enumerate(ALPHAS):
        found = jax.tree.map(lambda x, at=at: np.asarray(x)[at], runs.members.state.params)
        chex.assert_trees_all_equal(found, run_of(MIXED, alpha, 3).params)


@pytest.mark.slow
def test_of_a_network_with_batch_statistics_too_the_last_batch_is_its_own_size():
    config = dataclasses.replace(MIXED, model=Normed, microbatch=0)
    whole = run_of(config, 0.4, 2)
    assert whole.tally.count == 13 and np.isfinite(whole.tally.loss_sum)
    chex.assert_trees_all_equal(whole, run_of(config, 0.4, 1, 1))


@pytest.mark.slow
def test_two_devices_mix_the_whole_batch_as_one_does():
    on_devices(2, """
import chex, jax, numpy as np, test_augment as t
from engine.devices import mesh
from engine.learners.chosen import learner_of
from engine.config import Hyper

hyper, root = Hyper(np.float32(0.1), mixup=np.float32(0.4), cutmix=np.float32(1.0),
                    rotation=np.float32(20), erasing=np.float32(0.5)), jax.random.key(5)
found = []
for spread in (mesh.ALONE, mesh.spread(jax.devices(), False), mesh.spread(jax.devices(), True)):
    for microbatch in (0, 2):
        config = t.dataclasses.replace(t.MIXED, microbatch=microbatch)
        learner = learner_of(config, 4, spread)
        state = jax.jit(learner.create)(hyper, root, t.DATA)
        state = jax.jit(learner.segment)(hyper, root, root, t.DATA.train, state, np.int32(3))
        found.append(jax.device_get((state.params, state.tally)))
for other in found[1:]:
    chex.assert_trees_all_close(other, found[0], atol=5e-6)
""")


def test_the_loss_of_shares_is_the_share_of_the_losses():
    logits, labels = RANDOM.normal(size=(9, 5)).astype(np.float32), RANDOM.integers(0, 5, (2, 9))
    one, other = np.int32(labels)
    for smoothing in (None, 0.2):
        task, hyper = Classification(), Hyper(label_smoothing=smoothing)
        shares = np.float32(0.3 * np.eye(5)[one] + 0.7 * np.eye(5)[other])
        first, second, both = quickly(lambda *targets, task=task, hyper=hyper: [
            task.loss(logits, y, hyper) for y in targets])(one, other, shares)
        np.testing.assert_allclose(both, 0.3 * first + 0.7 * second, rtol=1e-5)
        for predicted, right in ((other, 9), ((one + 1) % 5, (other == (one + 1) % 5).sum())):
            tally = task.tally(first, jnp.eye(5)[predicted], shares, np.ones(9, bool))
            assert tally.correct == right


# What has no meaning

def suits(shape, kind=np.uint8, config=Config(), hyper=Hyper(), task="classification",  # noqa: B008
          numbers=(-1, 0, 1, 2)):
    inputs = np.zeros((4, *shape), kind) + (0 if kind == np.uint8 else np.array(numbers).reshape(
        4, *[1] * len(shape)))
    learner = learner_of(dataclasses.replace(config, model=Tiny, task=task), 3)
    suited.check(learner, hyper, Subset(Split(inputs.astype(kind), np.arange(4)), np.arange(4)))


@pytest.mark.parametrize("said, shape, asked", [
    ("--rotation 15 is for pictures, .*and the inputs are 6: leave", (6,), {"rotation": 15.0}),
    ("--cutmix 1 is for pictures", (6,), {"cutmix": 1.0}),
    ("--randaugment 2 is for pictures", (8, 2), {"randaugment": 2}),
    ("--hue 0.1 is for colours, .*no effect on pictures of 8 × 8 × 1", (8, 8, 1), {"hue": 0.1}),
    ("--saturation 0.1 is for colours", (8, 8, 1), {"saturation": 0.1}),
    ("--cutout 9 is larger than the pictures of 8 × 12 pixels: type 8", (8, 12, 3), {"cutout": 9}),
])
def test_what_the_inputs_have_no_axes_colours_or_room_for(said, shape, asked):
    config, hyper = Config(randaugment=asked.pop("randaugment", 0)), Hyper(**asked)
    with pytest.raises(RequestError, match=said):
        suits(shape, config=config, hyper=hyper)


def test_what_suits():
    suits((8, 12, 3), config=Config(randaugment=2), hyper=Hyper(cutout=8.0, hue=0.5, mixup=1.0))
    suits((6,), np.float32, hyper=Hyper(mixup=0.2))
    suits((8, 8, 1), np.float32, hyper=Hyper(rotation=9.0, cutmix=1.0, cutout=2.0))
    suits((8, 8, 1), hyper=Hyper(mixup=0.2), task="multilabel")


def test_colours_are_of_pictures_from_0_to_1():
    for name in ("brightness", "contrast", "erasing"):
        with pytest.raises(RequestError, match=f"--{name} 0.3 is for .*these are from -1 to 2"):
            suits((8, 8, 3), np.float32, hyper=Hyper(**{name: 0.3}))
    for numbers in ((-1, 0, 1, 1), (0, 0, 1, 2)):
        with pytest.raises(RequestError, match=f"these are from {numbers[0]} to {numbers[-1]}"):
            suits((8, 8, 3), np.float32, hyper=Hyper(erasing=0.3), numbers=numbers)


KEYS = {"flip": 0, "crop": 1, "rotation": 3, "randaugment": 4, "colour": 5, "cutout": 6,
        "erasing": 7, "mixup": 8, "cutmix": 8}  # runs of before draw by them; 2 is the user's own


def test_each_augmentation_says_what_it_is_for_and_keeps_its_key():
    """A file that said nothing suited everything, codes too; a new one takes the next number."""
    found = {each.__name__.rpartition(".")[2]: each.PURPOSE.key for each in chain.ORDER}
    assert sorted(found) == [*names._augmentations()], "in chain.ORDER, each file with an apply"
    assert found.items() >= KEYS.items() and chain.OWN == 2
    more = [key for name, key in found.items() if name not in KEYS]
    assert sorted(more) == [*range(9, 9 + len(more))]
    flags = [flag for each in chain.ORDER for flag in each.PURPOSE.flags]
    assert len(flags) == len({*flags}) == len({*flags} & {*Hyper._fields, *vars(Config())})
    assert {flag for each in chain.ORDER for flag in each.PURPOSE.colours} <= {*flags}


def test_what_makes_other_numbers_is_not_for_codes_of_words():
    with pytest.raises(RequestError, match="--mixup 0.2 makes other numbers of inputs, and --embed"
                       " makes codes of words: leave it out"):
        suits((6,), np.float32, Config(embed=True), Hyper(mixup=0.2))
    suits((8, 8, 1), np.float32, Config(embed=True), Hyper(mixup=0.2))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_numbers_are_not_mixed(name):
    with pytest.raises(RequestError, match=f"--{name} 0.2 mixes labels, and task regression"):
        suits((8, 8, 3), hyper=Hyper(**{name: 0.2}), task="regression")


@pytest.mark.parametrize("said, asked", [
    ("--mixup -0.1: type a finite number of 0 or more", {"mixup": -0.1}),
    ("--contrast nan: type a finite", {"contrast": float("nan")}),
    ("--rotation 181: type 180 or less", {"rotation": 181}),
    ("--hue 0.6: type 0.5 or less", {"hue": 0.6}),
    ("--erasing 1.5: type 1 or less", {"erasing": 1.5}),
    ("--cutout 2.5: type a whole number of pixels", {"cutout": 2.5}),
    ("--magnitude 9 has no effect without RandAugment: type --randaugment 2", {"magnitude": 9}),
    ("--magnitude 11: type 10 or less", {"magnitude": 11, "randaugment": 1}),
    ("--randaugment -1: type 0 or more", {"randaugment": -1}),
    ("--mixup mixes numbers, and --embed makes codes", {"mixup": 0.2, "embed": True}),
])
def test_what_cannot_be_meant(said, asked):
    static = {name: asked.pop(name) for name in ("randaugment", "embed") if name in asked}
    with pytest.raises(RequestError, match=said):
        check(Config(**static), Hyper(**asked))


def test_a_swept_cutout_is_judged_for_every_run():
    suited.check_size(Hyper(cutout=8.0), (8, 9, 1))
    with pytest.raises(RequestError, match="--cutout 9 is larger than"):
        suited.check_size(Hyper(cutout=9.0), (8, 9, 1))
