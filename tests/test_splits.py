"""Slices, shares, folds and groups: which examples they stand for."""

import dataclasses

import numpy as np
import pytest
import tensorflow_datasets as tfds
from samples import random_split
from tensorflow_datasets.core.splits import SplitInfo

from engine.config import Config, Parts
from engine.data import judging, named, partition, unlabelled
from engine.errors import RequestError
from engine.examples import Split
from engine.parts import inventory
from engine.parts.targets import suited
from engine.sets.dataset import Dataset
from engine.sets.splits import Fold, chosen, parted

SPECS = ["train", "train[:10]", "train[10:]", "train[-5:]", "train[25%:50%]",
         "train[:10%]+train[50%:60%]", "train[:1_0] + test", "train+test[-3:]", "train[33%:34%]",
         "train[:66.6%]", "all", "train[30:20]", "train[-100%:100%]"]


def tfds_rows(spec: str, sizes: dict[str, int]) -> list[tuple[str, list[int]]]:
    """What tensorflow-datasets itself makes of the words."""
    infos = {n: SplitInfo(name=n, shard_lengths=[size], num_bytes=0, filename_template=None)
             for n, size in sizes.items()}
    if spec == "all":
        return [(name, list(range(size))) for name, size in sizes.items()]
    parts = tfds.core.ReadInstruction.from_spec(spec).to_absolute(infos)
    return [(p.splitname, [*range(sizes[p.splitname])][p.from_ : p.to]) for p in parts]


@pytest.mark.parametrize("spec", SPECS)
def test_slices_are_those_of_tensorflow_datasets(spec):
    sizes = {"train": 37, "test": 11}
    found = [(name, rows.tolist()) for name, rows in chosen(spec, sizes, "it")]
    assert found == tfds_rows(spec, sizes)


@pytest.mark.parametrize("spec, said", [
    ("trian[:5]", r"did you mean train\?$"), ("train[5]", "no part of a split"),
    ("train[a:b]", "no part of a split"), ("train[::2]", "no part of a split"),
    ("train[1shard:]", "no part of a split"), ("train+", "unknown split"),
    ("train[1-2:]", "no part of a split"),
    ("train[:200%]", "no part of a split"), ("train[-100.1%:]", "no part of a split"),
    ("train[:60%]+train[40%:]", "names 7 examples of train twice"),
    ("test+train+test", "names 11 examples of test twice"),
])
def test_words_that_are_no_part_are_refused(spec, said):
    with pytest.raises(RequestError, match=said):
        chosen(spec, {"train": 37, "test": 11}, "it")


def test_a_set_without_train_is_told_what_is_learned_from():
    with pytest.raises(RequestError, match="mean training.* to learn from is called train, or by"):
        chosen("train", {"training": 37}, "arrays")


@pytest.mark.parametrize("train, validation", [
    ("train[:0]", "test"), ("train[50%:10%]", "0.1"), ("train", "test[:0]"),
    ("train[:0]+test[5:1]", "0.1"),
])
def test_a_part_without_an_example_is_refused(train, validation):
    dataset = Dataset("it", tuple("abcd"), {"train": random_split(8), "test": random_split(6)}, "0")
    with pytest.raises(RequestError, match=r"\] names no examples of it"):
        partition(dataset, Config(train_split=train, validation_split=validation, batch_size=2))


@pytest.mark.parametrize("counts, share, held", [
    ([6, 200], 0.1, [1, 20]),  # the rare one had none
    ([50, 30, 20], 0.1, [5, 3, 2]), ([1, 99], 0.1, [0, 10]),  # one alone is there to learn from
    ([2, 2, 2, 2], 0.5, [1, 1, 1, 1]), ([10, 10, 10], 0.1, [1, 1, 1]),
    ([100, 2, 2], 0.03, [1, 1, 1]), ([5, 5, 5, 5], 0.1, None),  # too few for all
])
def test_a_share_is_stratified_and_its_size_is_exact(counts, share, held):
    targets = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    out = parted(targets.astype(np.int32), share)
    found = np.bincount(targets[out], minlength=len(counts))
    assert out.sum() == round(share * len(targets)) == found.sum()
    assert held is None or found.tolist() == held


def test_a_share_of_many_classes_is_in_proportion():
    """Largest remainders: no class is off by one example or more, where each has many."""
    counts = np.random.default_rng(2).integers(40, 400, 100)
    targets = np.repeat(np.arange(100, dtype=np.int32), counts)
    out = parted(targets, 0.2)
    assert (abs(np.bincount(targets[out]) - 0.2 * counts) < 1).all()


@pytest.mark.parametrize("share", [0.1, 0.25, Fold(2, 4)])
def test_no_group_is_divided_and_classes_keep_their_share(share):
    rng = np.random.default_rng(3)
    groups = rng.permutation(np.repeat(np.arange(60), 10))
    targets = (groups % 3).astype(np.int32)
    out = parted(targets, share, groups)
    by_group = np.array([out[groups == g].mean() for g in range(60)])
    assert {*by_group} == {0.0, 1.0}
    wanted = 1 / share.count if isinstance(share, Fold) else share
    assert abs(out.mean() - wanted) < 0.05
    held = np.bincount(targets[out], minlength=3)
    assert held.max() - held.min() <= 10  # a group


def test_groups_hold_across_classes_rarer_than_parts_and_too_few_are_refused():
    out = parted(np.arange(20, dtype=np.int32), Fold(1, 5), np.repeat(np.arange(10), 2))
    assert out.sum() == 4 and (out[::2] == out[1::2]).all()
    with pytest.raises(RequestError, match="2 groups can't be shared out among 5"):
        parted(np.zeros(20, np.int32), Fold(1, 5), np.repeat([0, 1], 10))


def dataset(**targets: list[int]) -> Dataset:
    splits = {name: random_split(len(y), seed=i)._replace(targets=np.array(y, np.int32))
              for i, (name, y) in enumerate(targets.items())}
    return Dataset("pets", ("cat", "dog", "emu"), splits, "0")


MIXED = [0, 1, 2] * 10


def test_what_validates_and_judges_by_default():
    """The set's own validation, else a tenth; test only at the end, unless it is named."""
    own = dataset(train=MIXED, validation=[0, 1], test=[1, 2])
    plain = dataset(train=MIXED, test=[1, 2])
    alone = dataset(train=MIXED)
    few = {"batch_size": 4}
    assert len(partition(own, Config(**few)).validation.rows) == 2
    assert len(partition(plain, Config(**few)).validation.rows) == 3
    for found in (own, plain):
        name, judged = judging(found, Parts())
        assert name == "test" and judged.split is found.splits["test"]
        assert "scored on test, once" in inventory.judged_by(found, Parts(), name)
    name, judged = judging(alone, Parts())
    assert name == "validation (0.1 of train)" and judged is None
    named_test = Parts(validation="test")
    name, judged = judging(plain, named_test)
    assert name == "test" and judged is None
    assert "flatters the score" in inventory.judged_by(plain, named_test, name)
    blank = dataset(train=MIXED, test=[-1, -1])  # Kaggle's, to be predicted
    assert judging(blank, Parts())[0] == "validation (0.1 of train)"


def test_splits_that_are_not_used_are_told_with_how_they_would_be():
    told = ("not used: holdout, extra; --validation_split holdout validates on it, --train_split "
            "learns from it")

    def said(found, parts):
        return inventory.judged_by(found, parts, judging(found, parts)[0])

    others = {"holdout": [0, 1], "extra": [2], "blank": [-1]}
    for parts in (Parts(), Parts(validation="0.2"), Parts("train[:90%]")):
        assert told in said(dataset(train=MIXED, **others), parts)
        assert told in said(dataset(train=MIXED, test=[2], **others), parts)
    assert "holdout, extra" in said(dataset(train=MIXED, val=[0, 1], **others), Parts())
    for parts in (Parts("all"), Parts("train[:9]+holdout+extra"), Parts(validation="extra")):
        assert "not used" not in said(dataset(train=MIXED, **others), parts)
    assert "not used" not in said(dataset(train=MIXED, val=[0], test=[1]), Parts())
    assert "not used" not in said(dataset(train=MIXED, test=[-1]), Parts())


def test_parts_of_several_splits_are_one():
    found = dataset(train=MIXED, test=[2, 1])
    subset = named(found, "train[-2:]+test")
    np.testing.assert_array_equal(subset.split.targets[subset.rows], [1, 2, 2, 1])
    np.testing.assert_array_equal(
        subset.split.inputs, np.concatenate([found.splits["train"].inputs[-2:],
                                             found.splits["test"].inputs]))


def test_unlabelled_examples_are_refused_or_dropped_never_a_class():
    found, few = dataset(train=[*MIXED, -1, -1], test=[0, -1]), {"batch_size": 4}
    with pytest.raises(RequestError, match="train: 2 of its 32 examples have no label.*--drop_unl"):
        partition(found, Config(**few))
    kept = partition(found, Config(drop_unlabelled=True, **few))
    assert len(kept.train.rows) + len(kept.validation.rows) == 30
    assert (found.splits["train"].targets[kept.train.rows] >= 0).all()
    assert len(judging(found, Parts(drop_unlabelled=True))[1].rows) == 1
    with pytest.raises(RequestError, match="test: 1 of its 2 examples have no label"):
        judging(found, Parts())
    with pytest.raises(RequestError, match="none of its 2 examples has a label"):
        partition(dataset(train=MIXED, test=[-1, -1]), Config(validation_split="test"))
    numbers = Split(np.zeros((3, 2), np.float32), np.array([[1.0], [np.nan], [2]], np.float32))
    with pytest.raises(RequestError, match="train: 1 of its 3"):
        partition(Dataset("n", ("y",), {"train": numbers}, "0"), Config(batch_size=1))


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_no_label_is_none_whatever_the_task_makes_of_classes(kind):
    named = dataclasses.replace(dataset(train=[0, -1, 2]), classes=("1", "2", "4"))
    found, _ = suited(named, kind)
    assert unlabelled(found.splits["train"].targets).tolist() == [False, True, False]


def test_one_class_alone_is_refused():
    with pytest.raises(RequestError, match="all 30 training examples are of one class, 'dog'"):
        partition(dataset(train=[1] * 30, test=MIXED), Config(validation_split="test"))
    masks = np.full((30, 2, 2), 1, np.int32)
    masks[:, 0] = -1
    found = Dataset("n", ("cat", "dog"), {"train": Split(np.zeros((30, 2, 2, 1), np.uint8), masks)},
                    "0")
    asked = Config(task="positions", batch_size=4)
    with pytest.raises(RequestError, match="all 27 training examples are of one class, 'dog'"):
        partition(found, asked)
    masks[::2, 1, 1] = 0
    assert len(partition(found, asked).train.rows) == 27


def test_the_inventory_counts_names_and_doubts():
    found = dataset(train=[0] * 20 + [1] * 10, test=[0, 1, 2])
    split = found.splits["train"]
    split.inputs[3] = split.inputs[2]  # a repeat
    found.splits["test"].inputs[1:] = split.inputs[2]  # learnt, and judged on
    data = partition(found, Config(validation_split="test", batch_size=4))
    taken = inventory.taken(found, data, "validation: test")
    assert taken.train == {"cat": 20, "dog": 10, "emu": 0}
    assert taken.validation == {"cat": 1, "dog": 1, "emu": 1}
    assert taken.lines() == [
        "data: pets, 30 training and 3 validation images of 18 × 18 × 1",
        "classes: 3 (cat, dog, emu); the rarest, emu, has 0 training and 1 validation examples, "
        "the commonest, cat, 20 and 1",
        "validation: test",
        "warning: 1 of 3 classes have no training examples: emu",
        "warning: 1 of 30 training examples are repeats of others",
        "warning: 2 of 3 validation examples are training examples too, so that their scores are "
        "of what was learnt by heart",
    ]


def test_a_split_that_both_parts_share_is_weighed_once(monkeypatch):
    found = dataset(train=MIXED)
    inputs = found.splits["train"].inputs
    inputs[1:] = inputs[0]
    data = partition(found, Config(validation_split="0.2", batch_size=2))
    monkeypatch.setattr(inventory, "MOST_COMPARED", inputs.nbytes)
    assert len(inventory.taken(found, data, "").warnings) >= 2  # repeats, and learnt by heart
    monkeypatch.setattr(inventory, "MOST_COMPARED", inputs.nbytes - 1)
    assert not any("repeats" in said for said in inventory.taken(found, data, "").warnings)
