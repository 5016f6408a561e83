"""A user's own data as objects: what each becomes, and what is refused in which words."""

import ctypes
import os
import subprocess
import sys
from array import array
from collections import deque

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from engine.errors import RequestError
from engine.examples import Split
from engine.objects.arrays import of
from engine.sets import cache

X = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
Y = np.array([0, 1, 2, 1])


class Sequence:
    """The least that PyTorch's Dataset has; `tell` may add attributes."""

    def __init__(self, examples, **tell):
        self.examples = examples
        self.__dict__ |= tell

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        example = self.examples[index]
        if isinstance(example, Exception):
            raise example
        return example


class Tensor:
    """As NumPy sees PyTorch's: something with __array__."""

    def __init__(self, value, fault=None):
        self.value, self.fault = np.asarray(value), fault

    def __array__(self, dtype=None, copy=None):
        if self.fault:
            raise self.fault
        return self.value


class ClassLabel:
    def __init__(self, names):
        self.names = names


def pairs(x=X, y=Y):
    return [(one, int(label)) for one, label in zip(x, y, strict=True)]


def train(data, kind="classes", names=None) -> Split:
    found = of(data, kind, names)
    assert list(found.splits) == ["train"]
    return found.splits["train"]


def same(split: Split, inputs, targets) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b)
               for a, b in zip(split[:2], (inputs, targets), strict=True))


def refused(words, data, kind="classes", names=None):
    with pytest.raises(RequestError, match=words) as caught:
        of(data, kind, names)
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and len(text) < 600 and text.endswith(".")


FORMS = {
    "arrays": (X, Y),
    "jax arrays": (jnp.asarray(X), jnp.asarray(Y)),
    "tensors": (Tensor(X), Tensor(Y)),
    "lists": (X.tolist(), Y.tolist()),
    "columns": {"image": X, "label": Y, "id": list("abcd")},
    "a list of pairs": pairs(),
    "a list of list pairs": [[one.tolist(), label] for one, label in pairs()],
    "a sequence of pairs": Sequence(pairs()),
    "a sequence of tensors": Sequence([(Tensor(x), Tensor(y)) for x, y in pairs()]),
    "a sequence of mappings": Sequence([{"pixel_values": x, "labels": y, "id": b"0"}
                                        for x, y in pairs()]),
    "a named split": {"train": (X, Y)},
    "a split of columns": {"train": {"x": X, "y": Y}},
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_every_form_of_the_same_examples_is_the_same_set(data):
    found = of(data)
    assert found.classes == ("0", "1", "2") and found.name == "arrays"
    assert same(found.splits["train"], X, Y.astype(np.int32))
    entry = cache.entry(Split(X, Y.astype(np.int32)), ("0", "1", "2"))
    assert found.fingerprint == cache.together("arrays", {"train": entry}).fingerprint


def test_a_dataset_stays_and_its_splits_give_it_again():
    first = of({"train": (X, Y), "test": (X[1:], Y[1:])}, names=list("abc"))
    assert of(first) is first
    again = of(first.splits, names=first.classes)
    assert again.fingerprint == first.fingerprint and list(again.splits) == ["train", "test"]


def test_the_fingerprint_is_the_contents():
    one = of((X, Y)).fingerprint
    assert of((X.copy(), Y.astype(np.int8))).fingerprint == one
    changed = X.copy()
    changed[3, 2] += 1
    others = [of((changed, Y)), of((X, Y[::-1])), of((X, Y), names=list("abc")),
              of({"test": (X, Y)})]
    assert len({one, *(other.fingerprint for other in others)}) == 5


def test_a_tuple_is_x_and_y_and_a_list_is_examples():
    two = np.array([[1, 2], [3, 4]], np.float32)
    assert same(train((two.tolist(), [0, 1])), two, np.array([0, 1], np.int32))
    assert same(train([([1, 2], 0), ([3, 4], 1)]), two, np.array([0, 1], np.int32))
    assert same(train((((1, 2), (3, 4)), (0, 1))), two,
                np.array([0, 1], np.int32))


@pytest.mark.parametrize("x", [
    range(4), array("f", [0, 1, 2, 3]), deque([(0,), (1,), (2,), (3,)]), Sequence([0, 1, 2, 3]),
    (ctypes.c_int * 4)(0, 1, 2, 3), memoryview(bytes([0, 1, 2, 3])),
])  # fmt: skip
def test_sequences_of_numbers_are_arrays(x):
    assert train((Y[:, None], x), "numbers").targets.ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("given, kept", [
    (np.uint8, np.uint8), (bool, np.float32), (np.float16, np.float32), (np.float64, np.float32),
    (np.int8, np.float32), (np.int64, np.float32), (np.uint64, np.float32),
    (jnp.bfloat16, np.float32), (">f4", np.float32),
])  # fmt: skip
def test_types_of_inputs(given, kept):
    x = (np.arange(24).reshape(4, 2, 3) % 5).astype(given)
    for data in ((x, Y), pairs(x)):
        found = train(data).inputs
        assert found.dtype == np.dtype(kept) and found.shape == (4, 2, 3)
        assert np.array_equal(found, np.asarray(x).astype(kept))


def test_whole_numbers_that_are_float32_are_kept():
    x = np.array([[2**24], [2**24 - 1], [-(2**24)], [0]])
    assert np.array_equal(train((x, Y)).inputs.astype(np.int64), x)


@pytest.mark.parametrize("shape", [(4, 1), (4, 2, 3), (4, 2, 2, 1), (4, 2, 2, 2, 3)])
def test_two_to_five_dimensions(shape):
    assert train((np.zeros(shape), Y)).inputs.shape == shape


@pytest.mark.parametrize("mode, shape", [
    ("L", (2, 3, 1)), ("1", (2, 3, 1)), ("LA", (2, 3, 1)), ("RGB", (2, 3, 3)), ("RGBA", (2, 3, 3)),
    ("P", (2, 3, 3)), ("CMYK", (2, 3, 3)),
])  # fmt: skip
def test_pictures(mode, shape):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    picture = Image.fromarray(pixels)
    found = train(Sequence([{"image": picture.convert(mode), "label": 0}])).inputs
    assert found.shape == (1, *shape) and found.dtype == np.uint8
    if mode in ("RGB", "RGBA"):
        assert np.array_equal(found[0], pixels)
    for numbers in ("F", "I"):
        refused("example 1 can't be read .Undecodable: its 32 bits or floats have no known range",
                [(picture, 0), (Image.new(numbers, (3, 2)), 1)])


@pytest.mark.parametrize("y", [
    np.array([0.0, 1.0, 2.0, 1.0]), Y.astype(np.uint8), np.array([0, 1, 2, 1], np.float16),
])  # fmt: skip
def test_class_numbers(y):
    assert same(train((X, y)), X, Y.astype(np.int32))
    assert of((X, y + y.dtype.type(1))).classes == ("0", "1", "2", "3")


def test_a_truth_is_one_of_two_classes():
    found = of((X, [False, True, True, False]))
    assert found.classes == ("0", "1")
    assert found.splits["train"].targets.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("as_given", [list, np.array, lambda y: np.array(y, object)])
def test_class_names_are_sorted_and_of_all_splits(as_given):
    found = of({"train": (X, as_given(["cat", "ant", "cat", "eel"])),
                "test": (X[:2], as_given(["dog", "cat"]))})
    assert found.classes == ("ant", "cat", "dog", "eel")
    assert found.splits["train"].targets.tolist() == [1, 0, 1, 3]
    assert found.splits["test"].targets.tolist() == [2, 1]
    assert found.splits["test"].targets.dtype == np.int32
    told = of({"train": [(X[0], "cat"), (X[1], "anteater")]}, names=["cat", "dog", "anteater"])
    assert told.classes == ("cat", "dog", "anteater")
    assert told.splits["train"].targets.tolist() == [0, 2]


def test_numbers_of_all_splits_make_the_classes():
    found = of({"train": (X, Y), "test": (X[:1], [5])})
    assert found.classes == tuple("012345") and found.splits["test"].targets.tolist() == [5]


def test_what_a_sequence_calls_its_classes():
    names = ["ant", "cat", "dog", "eel"]
    mappings = [{"img": x, "label": y} for x, y in pairs()]
    features = {"img": None, "label": ClassLabel(names)}
    hugging = Sequence(mappings, features=features)
    tfds = Sequence(mappings, dataset_info=Sequence([], features=features))
    torchvision = Sequence(pairs(), classes=names)
    for data in (hugging, tfds, torchvision, {"train": hugging, "test": pairs()}):
        assert of(data).classes == tuple(names)
        assert of(data, names=list("abc")).classes == ("a", "b", "c")
    assert of(hugging, "numbers").classes == ("0",)
    assert of(Sequence(pairs(), classes=[1, 2])).classes == ("0", "1", "2")
    other = Sequence(pairs(), classes=names[::-1])
    refused("arrays: its splits call their classes differently; give names",
            {"train": hugging, "test": other})
    refused("labels of 1 of its 4 examples are no whole numbers of 0 to 1, the first at index 2 "
            r"\(2\)", Sequence(pairs(), classes=names[:2]))


@pytest.mark.parametrize("shape, count", [((4,), 1), ((4, 1), 1), ((4, 2), 2)])
def test_numbers(shape, count):
    y = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    for data in ((X, y), [(a, b) for a, b in zip(X, y, strict=True)]):
        found = of(data, "numbers")
        assert found.classes == tuple("01"[:count])
        assert same(found.splits["train"], X, y.astype(np.float32))
    assert train((X, y.astype(np.uint8)), "numbers").targets.dtype == np.float32
    assert of((X, y), "numbers", list("ab"[:count])).classes == tuple("ab"[:count])
    refused(f"3 names for {count} outputs", (X, y), "numbers", list("abc"))


@pytest.mark.parametrize("given", [bool, np.int64, np.uint8, np.float64])
def test_labels(given):
    y = np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]])
    found = of((X, y.astype(given)), "labels")
    assert found.classes == ("0", "1", "2")
    assert same(found.splits["train"], X, y.astype(np.float32))
    assert of((X, y), "labels", ["red", "round", "ripe"]).classes == ("red", "round", "ripe")


def test_the_first_examples_are_asked_for_twice_and_none_is_shared():
    seen, buffer = [], np.zeros(3)

    class Shared(Sequence):
        def __getitem__(self, index):
            seen.append(index)
            buffer[:] = index
            return buffer, buffer[:1]

    found = train(Shared(range(5)), "numbers")
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert found.targets[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.inputs[:, 1].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("draw", [
    lambda x, y, rng: (x + rng.normal(size=3), y), lambda x, y, rng: (x, rng.integers(1 << 30)),
    lambda x, y, rng: {"x": x[: rng.integers(1, 4)], "y": y},
    lambda x, y, rng: {"x": x, "y": y, "sample_weight": rng.random()},
    lambda x, y, rng: (x[::-1] if rng.random() < 0.5 else x, y),
])
def test_what_is_drawn_anew_is_told_how_to_augment(draw, stream):
    class Drawn(Sequence):
        rng = np.random.default_rng(0)

        def __getitem__(self, index):
            return draw(*self.examples[index], self.rng)

    words = r"train: example \d is another one .* augmentation as Config\(augment=…\), docs/own"
    with pytest.raises(RequestError, match=words):
        of(Drawn(pairs()), stream=stream)


def test_what_is_drawn_once_and_kept_is_taken():
    class Kept(Sequence):
        rng = np.random.default_rng(0)

        def __getitem__(self, index):
            self.examples[index] = self.examples[index] or (self.rng.normal(size=3), str(index))
            return dict(zip("xy", self.examples[index], strict=True)) | {"now": object()}

    assert of(Kept([None] * 9)).classes == tuple("012345678")


@pytest.mark.parametrize("x, said", [
    (np.zeros((8, 5), np.uint8), "inputs of uint8 become 0 to 1"),
    (np.full((8, 4, 4, 3), 7), "give uint8 to have them as 0 to 1"),
    (np.full((8, 4, 4, 1), 255.0), "give uint8 to have them as 0 to 1"),
    (np.full((8, 4, 4, 3), 7, np.uint8), ""), (np.full((8, 4, 4, 3), 7.5), ""),
    (np.ones((8, 4, 4, 3)), ""), (np.full((8, 4, 4, 3), -7), ""), (np.full((8, 4, 4, 8), 7), ""),
    (np.full((8, 5), 7), ""),
])
def test_a_scale_that_may_not_be_meant_is_told(x, said):
    notes = of((x, np.arange(8) % 2)).notes
    assert len(notes) == bool(said) and said in "".join(notes)


def test_what_is_no_input_and_no_target_is_told():
    x, y, ids = np.ones((4, 2), "f4"), np.arange(4) % 2, np.ones(4)
    told = ("passed over: 'id', as an example is an input and a target",)
    assert of({"x": x, "y": y, "id": ids}).notes == told
    assert of([{"x": a, "id": c, "y": b} for a, b, c in zip(x, y, ids, strict=True)]).notes == told
    assert of({"train": {"x": x, "y": y}, "test": {"x": x, "y": y, "id": y}}).notes == told
    assert of({"x": x, "y": y}).notes == ()


def test_it_needs_neither_jax_nor_torch():
    script = ("import sys; from engine import sources; from engine.objects import arrays; "
              "assert not {'jax', 'torch', 'datasets', 'tensorflow_datasets'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=300)


def test_a_data_source_of_tfds():
    folder = os.path.expanduser(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
    if not os.path.isdir(os.path.join(folder, "cifar10")):
        pytest.skip("cifar10 isn't in the tfds folder")
    tfds = pytest.importorskip("tensorflow_datasets")
    source = tfds.builder("cifar10", data_dir=folder).as_data_source(split="test[:50]")
    found = of(source)
    assert found.classes[3] == "cat" and len(found.classes) == 10
    images = np.stack([example["image"] for example in source])
    assert same(found.splits["train"], images, np.array([e["label"] for e in source], np.int32))


def test_a_dataset_of_pytorch():
    torch = pytest.importorskip("torch")
    x = torch.arange(24.0).reshape(8, 3)
    found = of(torch.utils.data.TensorDataset(x, torch.arange(8) % 3))
    assert same(found.splits["train"], x.numpy(), np.arange(8, dtype=np.int32) % 3)
    part = of(torch.utils.data.Subset(torch.utils.data.TensorDataset(x, x[:, :1]), [5, 1]),
              "numbers")
    assert same(part.splits["train"], x[[5, 1]].numpy(), x[[5, 1], :1].numpy())
