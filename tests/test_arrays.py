"""A user's own data as objects: what each becomes, and what is refused in which words."""

import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from engine.errors import RequestError
from engine.sources import cache, dataset
from engine.sources.arrays import of
from engine.sources.dataset import Split

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
               for a, b in zip(split, (inputs, targets), strict=True))


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
    split = Split(X, Y.astype(np.int32))
    assert found.fingerprint == cache.fingerprint({"train": cache.digest(split, ("0", "1", "2"))})


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
    x = np.array([[2**24], [2**62 + 2**50], [-(2**40)], [0]])
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
    refused("example 1 can't be read .ValueError: a picture of mode I;16 .* convert it to L",
            [(picture, 0), (Image.new("I;16", (3, 2)), 1)])


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
    refused("arrays:test: it calls its 4 classes otherwise than train its 4; give names",
            {"train": hugging, "test": other})
    refused("labels of 1 of its 4 examples are beyond the 2 classes that are named, the first at "
            r"index 2 \(2\)", Sequence(pairs(), classes=names[:2]))


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


def nan(*places):
    x = X.copy()
    for place in places:
        x[place] = np.nan
    return x


GIVE = r"; give two arrays \(x, y\), a sequence of pairs \(input, target\), or one of these a split"
REFUSED = {
    "lengths": ("arrays:train: it has 4 inputs, but 3 targets", (X, Y[:3])),
    "one target": ("it has 4 inputs, but no row of targets", (X, 1)),
    "nan": (r"inputs of 2 of its 4 examples are NaN or infinite as float32, the first at index 1 "
            r"\(nan\); fill them in, or leave", (nan((1, 2), (3, 0), (3, 1)), Y)),
    "too large": (r"inputs of 1 of its 1 examples .* index 0 \(-inf\)", ([[-1e39]], [0])),
    "nan in a sequence": ("inputs of 1 of its 4 examples are NaN", pairs(nan((2, 0)))),
    "no examples": (r"holds no examples \(their shape is \(0, 3\)\)", (X[:0], Y[:0])),
    "an empty list": ("arrays:train: it holds no examples; give 1 to 2,000,000", []),
    "no features": (r"inputs hold no numbers \(their shape is \(4, 0\)\)", (X[:, :0], Y)),
    "objects": ("inputs are of type object; give numbers; np.stack", (X.astype(object), Y)),
    "strings": ("inputs are of type <U1; give numbers", ([["a"], ["b"]], [0, 1])),
    "complex": ("inputs are of type complex64; give real numbers, such as np.abs", (X * 1j, Y)),
    "one dimension": (r"shape \(4,\), 1 dimensions; give 2 to 5, .* \(x\[:, None\]\)",
                      (X[:, 0], Y)),
    "six": (r"shape \(4, 3, 1, 1, 1, 1\), 6 dimensions; give 2 to 5",
            (X[..., None, None, None, None], Y)),
    "one dimension of a sequence": (r"shape \(4,\), 1 dimensions", pairs(X[:, 0])),
    "digits lost": (f"inputs hold {2**24 + 1}, which is no float32", ([[2**24 + 1]], [0])),
    "digits lost at the end": (f"inputs hold {2**63 - 1}, which is", ([[2**63 - 1]], [0])),
    "digits lost in a sequence": (f"inputs, in example 1, hold {2**25 + 1}",
                                  [([1], 0), ([2**25 + 1], 0)]),
    "ragged": (r"inputs can't be one array \(.*inhomogeneous.*\); give arrays \(x, y\)",
               ([[1, 2], [3]], [0, 1])),
    "as keras loads": (r'can\'t be one array .* as in {"train": \(x, y\), "test"',
                       ((X, Y), (X, Y))),
    "a tensor elsewhere": (r"targets can't be one array \(move it to the host\)",
                           (X, Tensor(Y, TypeError("move it to the host")))),
    "splits' shapes": (r"arrays:test: its inputs have the shape \(2,\), those of train \(3,\)",
                       {"train": (X, Y), "test": (X[:, :2], Y)}),
    "splits' types": ("arrays:test: its inputs are uint8, those of train float32, and uint8 alone "
                      "is scaled", {"train": (X, Y), "test": (X.astype(np.uint8), Y)}),
    "a sequence's shapes": (r"input of example 2 has the shape \(2,\), that of example 0 \(3,\)",
                            [*pairs()[:2], (X[2, :2], 0)]),
    "a sequence's targets": (r"target of example 1 has the shape \(2,\), that of example 0 \(\)",
                             [(X[0], 1), (X[0], [1, 2])]),
    "a sequence's types": ("input of example 1 is uint8, that of example 0 float32",
                           [(X[0], 1), (X[0].astype(np.uint8), 1)]),
    "a fault": (r"example 1 can't be read \(OSError: disk full\); mend it, or leave it out",
                Sequence([pairs()[0], OSError("in worker:\ndisk full\n")])),
    "an end": (r"example 1 can't be read \(IndexError\)", Sequence([pairs()[0], IndexError()])),
    "not pairs": (r"example 0 is of type ndarray; give a pair .* tuple of two arrays", [X, Y]),
    "an array alone": ("example 0 is of type ndarray", X),
    "triples": ("example 0 is of type tuple", [(X[0], 1, 2)]),
    "unknown keys": ("example 0 is a mapping of 'picture', 'kind'; give .*pixel_values.*targets",
                     [{"picture": X[0], "kind": 1}]),
    "many keys": ("example 0 is a mapping of 'key0', .*…; give",
                  [{f"key{n}": n for n in range(99)}]),
    "two inputs": ("example 0 is a mapping of 'x', 'image', 'y'",
                   [{"x": X[0], "image": X[0], "y": 1}]),
    "an int": ("arrays:train: of type int, it is no data" + GIVE, 7),
    "a word": ("of type str, it is no data", "cifar10"),
    "a generator": ("of type generator, it is no data", (one for one in pairs())),
    "three": ("of type tuple of 3, it is no data", (X, Y, Y)),
    "a split": ("arrays:test: of type NoneType, it is no data", {"train": (X, Y), "test": None}),
    "no split": ("arrays: the mapping holds no split" + GIVE, {}),
    "a split's name": (r"split 'train\[:5\]' has a name that can't be typed",
                       {"train[:5]": (X, Y)}),
    "a number for a split": ("split 0 has a name that can't be typed", {0: (X, Y)}),
}  # fmt: skip


@pytest.mark.parametrize("words, data", REFUSED.values(), ids=REFUSED)
def test_data_that_is_refused(words, data):
    refused(words, data)


TARGETS_REFUSED = {
    "negative": (r"labels of 2 of its 4 examples are negative, the first at index 1 \(-1\)",
                 [0, -1, 2, -1], "classes"),
    "one-hot": (r"shape \(4, 3\), and a class is one number; give y.argmax\(1\) of one-hot rows, "
                "or kind='labels'", np.eye(4)[:, :3], "classes"),
    "a column": (r"shape \(4, 1\), .*; give y\[:, 0\]", Y[:, None], "classes"),
    "cubes": (r"shape \(4, 1, 1\)", Y[:, None, None], "classes"),
    "fractions": (r"labels of 1 of its 4 examples are no whole numbers, the first at index 3 "
                  r"\(0.5\); .*kind='numbers'", [0, 1, 2, 0.5], "classes"),
    "nan": ("labels of 1 of its 4 examples are NaN or infinite, .* index 2", [0, 1, np.nan, 0],
            "classes"),
    "infinite": ("labels of 1 of its 4 examples are NaN or infinite", [0, 1, np.inf, 0],
                 "classes"),
    "many classes": (r"beyond the 65,536 classes that can be had, .*\(65536\); number the classes "
                     "from 0: np.unique", [0, 1, 65536, 0], "classes"),
    "complex": ("labels are of type complex128; give whole numbers, or strings", Y * 1j,
                "classes"),
    "bytes": ("labels are of type |S1", [b"a"] * 4, "classes"),
    "a missing name": ("labels are of type object", ["a", None, "b", "a"], "classes"),
    "no name": ("the name ' ' can't be printed", ["a", " ", "b", "a"], "classes"),
    "an escape": (r"the name 'a\\x1b\[2J' can't be printed", ["a\x1b[2J"] * 4, "classes"),
    "numbers nan": (r"targets of 1 of its 4 examples are NaN or infinite as float32, .* index 3",
                    [[0, 1], [1, 2], [1, 2], [0, np.nan]], "numbers"),
    "numbers of words": ("targets are of type <U1", list("abcd"), "numbers"),
    "numbers in cubes": (r"targets have the shape \(4, 1, 1\); give \[N\] or \[N, K\]",
                         Y[:, None, None], "numbers"),
    "labels flat": (r"targets have the shape \(4,\); give 0 or 1 for every label, \[N, K\]", Y,
                    "labels"),
    "labels of 2": (r"targets of 1 of its 4 examples are neither 0 nor 1, the first at index 2 "
                    r"\(2.0\)", Y[:, None], "labels"),
    "labels of half": (r"neither 0 nor 1, the first at index 1 \(0.5\)", [[0], [0.5], [1], [1]],
                       "labels"),
    "labels nan": ("targets of 1 of its 4 examples are NaN", [[0], [1], [np.nan], [1]], "labels"),
    "no labels": (r"targets have the shape \(4, 0\)", Y[:, None][:, :0], "labels"),
}  # fmt: skip


@pytest.mark.parametrize("words, y, kind", TARGETS_REFUSED.values(), ids=TARGETS_REFUSED)
def test_targets_that_are_refused(words, y, kind):
    refused(words, (X, y), kind)


def test_a_kind_that_is_none():
    with pytest.raises(RequestError, match="unknown kind of targets 'number': did you mean numb"):
        of((X, Y), "number")


def test_targets_that_differ_between_splits():
    refused("arrays:test: its labels are numbers, and names elsewhere",
            {"train": (X, list("abca")), "test": (X, Y)})
    for kind in ("numbers", "labels"):
        refused(r"arrays:test: its targets have the shape \(1,\), those of train \(2,\)",
                {"train": (X, np.ones((4, 2))), "test": (X, np.ones((4, 1)))}, kind)


@pytest.mark.parametrize("words, names", [
    ("label 'd' is none of the 3 names", ["a", "b", "c"]),
    ("two are called 'a'", ["a", "a"]), ("names are 'abcd'; give a list", "abcd"),
    (r"names are \[\]; give", []), ("name 7 can't be printed", ["a", 7]),
])  # fmt: skip
def test_names_that_are_refused(words, names):
    refused(words, (X, list("abcd")), names=names)


def test_more_than_memory_holds_is_refused_before_it_is_read(monkeypatch):
    endless = type("Endless", (Sequence,), {"__len__": lambda self: 10**15})
    refused("it holds 1,000,000,000,000,000 examples; give 1 to 2,000,000", endless([]))
    monkeypatch.setattr(dataset, "MOST_BYTES", 40)
    refused(r"its 4 inputs of shape \(3,\) are more than the 3 that can be held", (X, Y))
    # The second would be refused in other words.
    refused("are more than the 3 that can be held", Sequence([(X[0], 0), *[OSError()] * 3]))
    assert train((X.astype(np.uint8), Y)).inputs.shape == (4, 3)


def test_a_length_that_fails():
    broken = type("Broken", (Sequence,), {"__len__": lambda self: 1 // 0})
    refused("length can't be had .ZeroDivisionError", broken([]))


def test_every_example_is_asked_for_once_and_none_is_shared():
    seen, buffer = [], np.zeros(3)

    class Shared(Sequence):
        def __getitem__(self, index):
            seen.append(index)
            buffer[:] = index
            return buffer, buffer[:1]

    found = train(Shared(range(5)), "numbers")
    assert seen == list(range(5)) and found.targets[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.inputs[:, 1].tolist() == [0, 1, 2, 3, 4]


def test_it_needs_neither_jax_nor_torch():
    script = ("import sys; from engine.sources import dataset, values, sequence, arrays; "
              "assert not {'jax', 'torch', 'datasets', 'tensorflow_datasets'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


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
