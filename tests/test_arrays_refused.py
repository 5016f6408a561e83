"""Objects that are no examples: what is refused, and in which words."""


import numpy as np
import pandas as pd
import pytest
from test_arrays import Sequence, Tensor, X, Y, pairs, refused, train

from engine.errors import RequestError
from engine.objects import sequence
from engine.objects.arrays import of
from engine.sets import limits


class Endless:
    """A sequence that raises no IndexError at its end, but far beyond it."""

    def __init__(self, example=(X[0], 1)):
        self.example = example

    def __len__(self):
        return 4

    def __getitem__(self, index):
        assert index < 99
        return self.example


def nan(*places):
    x = X.copy()
    for place in places:
        x[place] = np.nan
    return x


GIVE = (r"; give two arrays \(x, y\), or three with weights; a sequence of pairs "
        r"\(input, target\), or of mappings")
TOKENS = ("are of type .*; give real numbers: text isn't encoded here, make tokens of it, "
          r"int32 \[N, T\], as docs/own.md does\.$")
REFUSED = {
    "lengths": (r"arrays:train: it has inputs of shape \(4, 3\), but targets of \(3", (X, Y[:3])),
    "one target": (r"it has inputs of shape \(4, 3\), but targets of \(\)", (X, 1)),
    "nan": (r"inputs of 2 of its 4 examples are NaN or infinite as float32, the first at index 1 "
            r"\(nan\); fill them in, or leave", (nan((1, 2), (3, 0), (3, 1)), Y)),
    "too large": (r"inputs of 1 of its 1 examples .* index 0 \(-inf\)", ([[-1e39]], [0])),
    "masked": (r"arrays:train: 2 of the 12 values of its inputs are masked; fill them in, \.fille",
               (np.ma.masked_less(X, X.flat[2]), Y)),
    "masked in a list": ("1 of the 12 values of its inputs are masked",
                         ([*X[:3], np.ma.masked_equal(X[3], X[3, 0])], Y)),
    "masked targets": ("1 of the 4 values of its targets are masked",
                       (X, np.ma.masked_equal(Y, 2))),
    "masked weights": ("4 of the 4 values of its weights are masked", (X, Y, np.ma.masked_all(4))),
    "masked by name": ("3 of the 3 values of its input 'a' are masked",
                       ({"a": np.ma.masked_all(3)}, Y[:3])),
    "masked in a sequence": ("arrays:train, example 1: 3 of the 3 values of its array are masked",
                             [(X[0], 0), (np.ma.masked_all(3), 1)]),
    "nan in a sequence": ("inputs of 1 of its 4 examples are NaN", pairs(nan((2, 0)))),
    "no examples": (r"its inputs have the shape \(0, 3\); give some", (X[:0], Y[:0])),
    "an empty list": ("arrays:train: it holds 0 examples; give 1 to 2,000,000", []),
    "no features": (r"its inputs have the shape \(4, 0\); give some", (X[:, :0], Y)),
    "objects": ("inputs are of type object; give real numbers, of one shape: np.stack",
                (X.astype(object), Y)),
    "strings": ("inputs are of type <U1; give real numbers", ([["a"], ["b"]], [0, 1])),
    "complex": ("inputs are of type complex64; give real numbers", (X * 1j, Y)),
    "one dimension": (r"shape \(4,\); give some, of 2 to 5 dimensions.* \(x\[:, None\]",
                      (X[:, 0], Y)),
    "six": (r"shape \(4, 3, 1, 1, 1, 1\); give some, of 2 to 5 dimensions",
            (X[..., None, None, None, None], Y)),
    "text": ("inputs are of type <U1; give real numbers", (np.array(list("abcd")), Y)),
    "sentences": (TOKENS, (["good film", "bad film"] * 2, Y)),
    "sentences as objects": (TOKENS, (np.array(["good film", None] * 2, object), Y)),
    "sentences of a sequence": (TOKENS, [("good film", 0), ("bad one", 1)]),
    "sentences by name": (f"'text' {TOKENS}", ({"text": ["good film", "bad film"] * 2}, Y)),
    "ragged objects": ("inputs are of type object; give real numbers, of one shape",
                       (np.array([[1], [1, 2], [3], [4]], object), Y)),
    "one dimension of a sequence": (r"shape \(4,\); give some", pairs(X[:, 0])),
    "digits lost": (rf"inputs of 1 of its 1 examples are whole numbers beyond .*\({2**24 + 1}\)",
                    ([[2**24 + 1]], [0])),
    "digits lost at the end": ("whole numbers beyond 16,777,216", ([[-(2**63)]], [0])),
    "digits lost in a sequence": ("inputs of 1 of its 2 examples are whole numbers .* index 1",
                                  [([1], 0), ([2**25 + 1], 0)]),
    "ragged": (r"as arrays, it can't be read \(ValueError: its examples are of several lengths: "
               r"pad them to one, .*\); give two arrays",
               ([[1, 2], [3]], [0, 1])),
    "as keras loads": (
        r'as arrays, it can\'t be read (?!.* pad ).*split: {"train": \(x, y\), "test"',
        ((X, Y), (X, Y))),
    "splits as a list": ("a sequence of examples, of type Endless, is no example; two seq",
                         [Endless(), Endless()]),
    "splits as a pair": (r"a sequence of examples, of type Endless, is no array; two "
                         r"sequences are splits: give data={'train': …, 'validation': …}, or 't",
                         (Endless(), Endless())),
    "mappings as a pair": ("two sequences are splits", (Sequence([{"x": X[0], "y": 1}] * 2), Y)),
    "triples as a split": ("two sequences are splits", {"train": (X, Y, Endless((X[0], 1, 2)))}),
    "endless inputs": (r"inputs of shape \(4, 3\), but targets of \(3,\)", (Endless(X[0]), Y[:3])),
    "endless inputs by name": (r"inputs of shape \(4, 3\), but targets of \(3,\)",
                               ({"a": Endless(X[0])}, Y[:3])),
    "endless and no target": ("example 0 is a ndarray; give two arrays", Endless(X[0])),
    "a tensor elsewhere": (r"as arrays, it can't be read \(TypeError: move it to the host\)",
                           (X, Tensor(Y, TypeError("move it to the host")))),
    "splits' shapes": (r"arrays:test: its examples are of shape \(2,\) .* of train of shape \(3,\)",
                       {"train": (X, Y), "test": (X[:, :2], Y)}),
    "splits' types": (r"arrays:test: its examples are of shape \(3,\) \(uint8\) .* \(not uint8\)",
                      {"train": (X, Y), "test": (X.astype(np.uint8), Y)}),
    "a sequence's shapes": (r"example 2 is of shape \(2,\) .*, example 0 of shape \(3,\)",
                            [*pairs()[:2], (X[2, :2], 0)]),
    "a sequence's targets": (r"example 1 is .* target of shape \(2,\), example 0 .* of shape \(\)",
                             [(X[0], 1), (X[0], [1, 2])]),
    "a sequence's types": (r"example 1 is of shape \(3,\) \(uint8\) .*, example 0 .* \(not uint8\)",
                           [(X[0], 1), (X[0].astype(np.uint8), 1)]),
    "a fault": (r"example 1 can't be read \(OSError: disk full\); mend it, or leave it out",
                Sequence([pairs()[0], OSError("in worker:\ndisk full\n")])),
    "an end": (r"example 1 can't be read \(IndexError\)", Sequence([pairs()[0], IndexError()])),
    "not pairs": ("example 0 is a ndarray; give two arrays .* a sequence of pairs", [X, Y]),
    "an array alone": ("example 0 is a ndarray", X),
    "triples": ("example 0 is a tuple", [(X[0], 1, 2)]),
    "unknown keys": (r"example 0 is a dict of \['picture', 'kind'\]; give .*pixel_values.*targets",
                     [{"picture": X[0], "kind": 1}]),
    "many keys": (r"example 0 is a dict of \['key0', .*…; give",
                  [{f"key{n}": n for n in range(99)}]),
    "two inputs": (r"example 0 is a dict of \['x', 'image', 'y'\]",
                   [{"x": X[0], "image": X[0], "y": 1}]),
    "an int": ("arrays:train: of type int, it is no data" + GIVE, 7),
    "a word": ("of type str, it is no data", "cifar10"),
    "a generator": ("of type generator, it is no data", (one for one in pairs())),
    "none yet": ("arrays:train: ... stands where data are to be put in, as in a sweep's best.py",
                 ...),
    "four": ("of type tuple of 4, it is no data", (X, Y, Y, Y)),
    "a split": ("arrays:test: of type NoneType, it is no data", {"train": (X, Y), "test": None}),
    "no split": ("arrays holds no examples", {}),
    "a split's name": (r"split 'train\[:5\]' has a name that can't be typed",
                       {"train[:5]": (X, Y)}),
    "a number for a split": ("split 0 has a name that can't be typed", {0: (X, Y)}),
}  # fmt: skip


@pytest.mark.parametrize("words, data", REFUSED.values(), ids=REFUSED)
def test_data_that_is_refused(words, data):
    refused(words, data)


def test_a_masked_array_of_which_nothing_is_masked_is_an_array():
    assert (of((np.ma.array(X), Y)).splits["train"].inputs == X).all()


TARGETS_REFUSED = {
    "negative": (r"labels of 2 of its 4 examples are no whole numbers of 0 to 65,535, .* 1 \(-1\)",
                 [0, -1, 2, -1], "classes"),
    "one-hot": (r"labels are float64 of shape \(4, 3\); give .* y.argmax\(1\) of one-hot rows; "
                "or task='multilabel'", np.eye(4)[:, :3], "classes"),
    "a column": (r"shape \(4, 1\); give .*: y\[:, 0\]", Y[:, None], "classes"),
    "cubes": (r"shape \(4, 1, 1\)", Y[:, None, None], "classes"),
    "fractions": (r"labels of 1 of its 4 examples are no whole numbers of .* at index 3 "
                  r"\(0.5\); .*task='regression'", [0, 1, 2, 0.5], "classes"),
    "nan": (r"labels of 1 of its 4 examples are no whole .* index 2 \(nan\)", [0, 1, np.nan, 0],
            "classes"),
    "infinite": (r"labels of 1 of its 4 examples are no whole .*\(inf\)", [0, 1, np.inf, 0],
                 "classes"),
    "many classes": (r"no whole numbers of 0 to 65,535, .*\(65536\); number the classes as np",
                     [0, 1, 65536, 0], "classes"),
    "complex": ("labels are complex128 of shape .* give one whole number or string each", Y * 1j,
                "classes"),
    "bytes": ("labels are .S1 of shape", [b"a"] * 4, "classes"),
    "a missing name": (r"train: the targets of 1 of its 4 examples are missing, the first at "
                       r"index 1 \(None\); leave these .* x\[there\], y\[there\]",
                       ["a", None, "b", "a"], "classes"),
    "missing names": (r"targets of 2 of its 4 examples are missing, the first at index 2 \(nan\)",
                      pd.Categorical(["a", "b", np.nan, None]), ""),
    "missing strings": (r"targets of 1 of its 4 .* missing, the first at index 0 \(<NA>\); leave",
                        pd.Series([None, "a", "b", "b"], dtype="string"), "classes"),
    "missing truth": (r"targets of 1 of its 4 .* missing, the first at index 3 \(<NA>\); leave",
                      pd.Series([True, False, True, None], dtype="boolean"), "numbers"),
    "no name": ("the name ' ' is empty; give each a text", ["a", " ", "b", "a"], "classes"),
    "nothing": ("the name '' is empty; .* leave the examples that have none", ["a", ""] * 2, ""),
    "an escape": (r"the name 'a\\x1b\[2J' comes twice, or can't", ["a\x1b[2J"] * 4, "classes"),
    "numbers nan": (r"targets of 1 of its 4 examples are NaN or infinite as float32, .* index 3",
                    [[0, 1], [1, 2], [1, 2], [0, np.nan]], "numbers"),
    "numbers of words": ("targets are of type <U1", list("abcd"), "numbers"),
    "numbers in cubes": (r"targets have the shape \(4, 1, 1\); give \[N, K\]: K numbers",
                         Y[:, None, None], "numbers"),
    "labels flat": (r"targets have the shape \(4,\); give .* 0 or 1 for each of K labels", Y,
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
        refused(r"arrays:test: its examples .* of shape \(1,\), those of train .* \(2,\)",
                {"train": (X, np.ones((4, 2))), "test": (X, np.ones((4, 1)))}, kind)


@pytest.mark.parametrize("words, names", [
    ("label 'd' is none of the 3 names", ["a", "b", "c"]),
    ("the name 'a' comes twice", ["a", "a"]),
    ("the name 7 comes twice, or can't be printed", ["a", 7]),
])  # fmt: skip
def test_names_that_are_refused(words, names):
    refused(words, (X, list("abcd")), names=names)


def test_more_than_memory_holds_is_refused_before_it_is_read(monkeypatch):
    endless = type("Endless", (Sequence,), {"__len__": lambda self: 10**15})
    refused("it holds 1,000,000,000,000,000 examples; give 1 to 2,000,000", endless([]))
    monkeypatch.setattr(limits, "MOST_BYTES", 40)
    refused(r"its 4 inputs of shape \(3,\) are more than the 3 that can be held", (X, Y))
    # The second would be refused in other words. What memory can't hold would be streamed.
    monkeypatch.setattr(sequence, "free_bytes", lambda: 1 << 30)
    refused("are more than the 3 that can be held", Sequence([(X[0], 0), *[OSError()] * 3]))
    assert train((X.astype(np.uint8), Y)).inputs.shape == (4, 3)


def test_a_length_that_fails():
    broken = type("Broken", (Sequence,), {"__len__": lambda self: 1 // 0})
    refused("its length can't be read .ZeroDivisionError", broken([]))
