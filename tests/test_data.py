import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import random_split

from engine.config import Config
from engine.data import named, on_device, partition
from engine.errors import RequestError
from engine.feed import batch_at, epoch_order
from engine.sets.dataset import Dataset

KEY = jax.random.key(5)


@pytest.mark.parametrize("count, size, steps, last", [(50_000, 32, 1563, 16), (37, 8, 5, 5),
                                                     (5, 5, 1, 5), (7, 3, 3, 1)])
def test_every_example_counts_once_an_epoch(count, size, steps, last):
    rows = jax.device_put(random_split(count, side=1)._replace(targets=np.arange(count)))

    @jax.jit
    def every(rows):
        order = epoch_order(KEY, 0, jnp.arange(count))
        return jax.vmap(lambda i: batch_at(rows, order, i, size))(jnp.arange(steps))

    batches, valid = every(rows)
    assert sorted(np.asarray(batches.targets)[np.asarray(valid)]) == list(range(count))
    assert int(valid[-1].sum()) == last


def test_the_order_changes_every_epoch_and_with_the_seed():
    orders = [epoch_order(jax.random.key(s), e, jnp.arange(100)) for s in (0, 1) for e in (0, 1)]
    assert len({tuple(np.asarray(o)) for o in orders}) == 4


def small_dataset(count: int = 40) -> Dataset:
    splits = {"train": random_split(count), "test": random_split(10, seed=1)}
    return Dataset("small", ("a", "b", "c", "d"), splits, "0")


def test_a_held_out_fraction_is_disjoint_and_the_same_for_every_seed():
    dataset = small_dataset()
    first, second = (
        partition(dataset, Config(validation_split="0.25", seed=seed, batch_size=4))
        for seed in (0, 1)
    )
    assert len(first.validation.rows) == 10 and len(first.train.rows) == 30
    np.testing.assert_array_equal(first.validation.rows, second.validation.rows)
    assert sorted([*first.train.rows, *first.validation.rows]) == list(range(40))


@pytest.mark.parametrize(
    "config, said",
    [
        (Config(batch_size=41, validation_split="test"), "--batch_size 41 is larger than the 40"),
        (Config(validation_split="0.01"), "leaves no validation examples of 40"),
        (Config(validation_split="1/41"), "41 folds of the 40 examples of train: type 40 .*folds"),
        (Config(validation_split="tset"), "did you mean test"),
        (Config(train_split="trian"), "did you mean train"),
    ],
)
def test_splits_that_cannot_be_are_refused(config, said):
    with pytest.raises(RequestError, match=said):
        partition(small_dataset(), config)


def test_folds_share_out_every_example_once_with_each_class_alike():
    dataset = small_dataset(43)
    labels = dataset.splits["train"].targets
    seen = []
    for number in range(1, 6):
        data = partition(dataset, Config(validation_split=f"{number}/5", batch_size=4))
        assert sorted([*data.train.rows, *data.validation.rows]) == list(range(43))
        assert len(data.validation.rows) in (8, 9)
        held = np.bincount(labels[data.validation.rows], minlength=4)
        assert (abs(held - np.bincount(labels, minlength=4) / 5) < 1.01).all()
        seen.extend(data.validation.rows)
    assert sorted(seen) == list(range(43))


@pytest.mark.parametrize("name, rows", [
    ("train", range(40)), ("train[:10]", range(10)), ("train[10:]", range(10, 40)),
    ("train[-5:]", range(35, 40)), ("train[25%:50%]", range(10, 20)), ("train[:99]", range(40)),
])
def test_a_slice_of_a_split_is_tfdss(name, rows):
    assert list(named(small_dataset(), name).rows) == list(rows)


def test_a_split_that_both_parts_share_is_placed_once():
    data = on_device(partition(small_dataset(), Config(validation_split="0.5", batch_size=4)),
                     jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    assert data.train.split.inputs is data.validation.split.inputs


@pytest.mark.parametrize("text", ["6/5", "0/5", "1/1", "1.5", "0"])
def test_a_part_that_cannot_be_is_refused(text):
    with pytest.raises(RequestError, match=f"--validation_split {text}: type a fraction"):
        partition(small_dataset(), Config(validation_split=text))
