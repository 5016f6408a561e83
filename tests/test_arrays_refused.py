"""Objects that are no examples: what is refused, and in which words."""


import numpy as np
import pytest
from test_arrays import Sequence, Tensor, X, Y, pairs, refused, train

from engine.errors import RequestError
from engine.sources import dataset
from engine.sources.arrays import of


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
