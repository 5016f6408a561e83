"""Columns as features: against scikit-learn's ColumnTransformer, and what is refused."""

import datetime
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from engine.config import Reading
from engine.errors import RequestError
from engine.objects import arrays
from engine.sets import columns
from engine.sets.columns import Columns

EMBED = Reading(embed=True)


def titanic(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Columns of every kind, with gaps, as passengers' have them."""
    rng = np.random.default_rng(seed)

    def gaps(values, share: float):
        return pd.Series(values).mask(rng.random(count) < share)

    return pd.DataFrame({
        "age": gaps(rng.normal(30, 12, count), 0.2),
        "fare": rng.lognormal(3, 1, count),
        "parents": rng.integers(0, 6, count),
        "sex": rng.choice(["male", "female"], count),
        "port": gaps(rng.choice([*"SCQ"], count), 0.1).astype("category"),
        "alone": rng.random(count) < 0.6,
        "boarded": pd.Timestamp("1912-04-01") + pd.to_timedelta(rng.integers(0, 400, count), "h"),
    })


def days(column: pd.DataFrame) -> np.ndarray:
    return column.to_numpy("datetime64[s]").astype(np.float64) / 86_400


def reference(train: pd.DataFrame) -> ColumnTransformer:
    """The same choices in scikit-learn's words, a column after another."""
    number = make_pipeline(StandardScaler(), SimpleImputer(strategy="median", add_indicator=True))
    date = make_pipeline(FunctionTransformer(days), StandardScaler())
    word = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    ways = {"age": number, "fare": number, "parents": number, "sex": word, "port": word,
            "alone": "passthrough", "boarded": date}
    return ColumnTransformer([(name, way, [name]) for name, way in ways.items()]).fit(train)


def test_mixed_columns_are_column_transformers():
    """Fitted to the first 300 rows, of all 400; a word that none of these has is unknown to both.
    """
    frame = titanic()
    frame.loc[350, "sex"] = "captain"
    found = Columns.fit(frame[:300], Reading())
    got = found.encode(frame)
    assert got.dtype == np.float32 and got.shape == (400, len(found.names))
    np.testing.assert_allclose(got, reference(frame[:300]).transform(frame).astype("f4"),
                               rtol=1e-6, atol=1e-6)
    assert found.names == (
        "age", "age missing", "fare", "parents", "sex=female", "sex=male", "port=C", "port=Q",
        "port=S", "port missing", "alone", "boarded",
    )
    assert not got[350, 4:6].any()


def test_known_answers():
    train = pd.DataFrame({"a": [1.0, 3.0, np.nan, 5.0], "flag": [True, False, True, True],
                          "same": [7] * 4, "word": ["b", "a", None, "b"], "empty": [None] * 4})
    found = Columns.fit(train, Reading())
    root = np.sqrt(8 / 3)  # the standard deviation of 1, 3 and 5, whose mean and median are 3
    assert found.names == ("a", "a missing", "flag", "same", "word=a", "word=b", "word missing")
    np.testing.assert_allclose(found.encode(train), [
        [-2 / root, 0, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0, 0, 1],
        [2 / root, 0, 1, 0, 0, 1, 0],
    ], rtol=1e-6)
    # Of other rows: by name, in any order; a constant stays one, and what wasn't there is nothing.
    other = pd.DataFrame({"word": ["c"], "more": ["?"], "same": [9], "flag": [2], "a": [3]})
    np.testing.assert_array_equal(found.encode(other), [[0, 0, 2, 0, 0, 0, 0]])
    born = Columns.fit(pd.DataFrame({"born": pd.to_datetime(["1970-01-02", "1970-01-06"])}),
                       Reading()).columns[0]
    assert (born.median, born.mean, born.scale) == (3, 3, 2)  # days since 1970


def test_what_was_whole_in_training_has_no_indicator():
    found = Columns.fit(pd.DataFrame({"a": [1.0, 2.0, 6.0], "word": [*"xyx"]}), Reading())
    assert found.names == ("a", "word=x", "word=y")
    scale = np.std([1, 2, 6])
    np.testing.assert_allclose(found.encode(pd.DataFrame({"a": [None], "word": [None]})),
                               [[(2 - 3) / scale, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("given, expected", [
    ([datetime.date(2020, 1, 1), None, datetime.date(2020, 1, 5)], [-1, 0, 1]),
    ([datetime.date(1, 1, 1), datetime.date(9999, 12, 31)], [-1, 1]),
    (np.array(["0001-01-01", "9999-12-31"], "datetime64[us]"), [-1, 1]),
    (pd.to_datetime(["2020-01-01", None, "2020-01-05"]).tz_localize("Asia/Tokyo"), [-1, 0, 1]),
    (pd.array([1, None, 5], "Int64"), [-1, 0, 1]),
    (pd.array([True, None, False], "boolean"), [1, 0.5, 0]),
    (pd.Series([1, None, 5.0], dtype=object), [-1, 0, 1]),
    (np.array([2**60, 2**60 + 2**20, 2**60 + 2**21]), [-np.sqrt(1.5), 0, np.sqrt(1.5)]),
])
def test_numbers_of_any_type(given, expected):
    frame = pd.DataFrame({"a": given})
    found = Columns.fit(frame, Reading()).encode(frame)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_whole_numbers_are_the_words_they_were():
    """A column of words, which another table has as numbers."""
    found = Columns.fit(pd.DataFrame({"class": ["1", "2", "x"]}), Reading())
    for numbers in ([2, 1], [2.0, 1.0], pd.array([2, 1], "Int64"), pd.Categorical([2, 1])):
        got = found.encode(pd.DataFrame({"class": numbers}))
        np.testing.assert_array_equal(got, [[0, 1, 0], [1, 0, 0]])


def test_a_number_and_a_text_of_one_word_are_one():
    """As a spreadsheet leaves them, in one column of objects."""
    frame = pd.DataFrame({"class": [1, "1", "x", None, 1.0]})
    found = Columns.fit(frame, Reading())
    np.testing.assert_array_equal(
        found.encode(frame), [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert columns.read(json.loads(found.text)).text == found.text


def test_many_words_are_codes_at_the_end():
    frame = pd.DataFrame({"name": [f"n{i:02}" for i in range(33)], "a": range(33),
                          "port": [f"p{i % 32:02}" for i in range(33)]})
    found = Columns.fit(frame, EMBED)
    assert found.embeddings == (34,) and len(found.names) == 1 + 32 + 1
    assert found.names[0] == "a" and found.names[-1] == "name"
    got = found.encode(frame)
    np.testing.assert_array_equal(got[:, -1], np.arange(1, 34))
    np.testing.assert_array_equal(got[:, 1:33].argmax(1), np.arange(33) % 32)
    other = pd.DataFrame({"name": ["n05", "?", None], "a": [0, 0, 0], "port": ["p00"] * 3})
    np.testing.assert_array_equal(found.encode(other)[:, -1], [6, 0, 0])
    gaps = Columns.fit(frame.assign(name=frame["name"].replace("n00", None)), EMBED)
    assert gaps.embeddings == () and "name missing" in gaps.names  # 32 words and none
    more = pd.concat([frame, frame[:1].assign(name=None)])
    assert Columns.fit(more, EMBED).embeddings == (35,)
    assert Columns.fit(more, EMBED).encode(more)[-1, -1] == 34


def test_unknown_words_are_told_of(capsys):
    found = Columns.fit(pd.DataFrame({"word": [*"ab"]}), Reading())
    found.encode(pd.DataFrame({"word": [*"abcd"]}))
    assert "'word' holds 2 of 4 words that its training part has not, such as 'c'" in \
        capsys.readouterr().err


def refused(words: str):
    return pytest.raises(RequestError, match=words)


def test_what_is_no_feature_is_refused_by_name():
    many = pd.DataFrame({"name": [f"n{i}" for i in range(33)], "a": 1.5})
    with refused(r"'name' \(33\). Type --embed .* or leave"):
        Columns.fit(many, Reading())
    Columns.fit(many[:32], Reading())
    for wrong, words in (
        ([[1], [2]], "'bad' holds values of type mixed"),
        ([b"x", b"y"], "type bytes"),
        (np.array([1j, 2j]), "type complex"),
        (pd.to_timedelta([1, 2], "D"), "type timedelta64"),
        ([1.0, np.inf], "infinite"),
        ([1e308, -1e308], "too large"),
        ([None, None], "no column with values"),
    ):
        with refused(words):
            Columns.fit(pd.DataFrame({"bad": wrong}), Reading())
    with refused("two columns are named 'a'"):
        Columns.fit(pd.DataFrame([[1, 2]], columns=["a", "a"]), Reading())


def test_a_table_of_other_columns_is_refused_by_name():
    found = Columns.fit(titanic(), Reading())
    with refused("lacks 2 of the 7 columns that are learned from: 'fare', 'sex'; it has 'age'"):
        found.encode(titanic().drop(columns=["sex", "fare"]))
    for name, values, words in (
        ("age", "old", "'age' holds words, and numbers where it was fitted"),
        ("boarded", "tomorrow", "holds 'tomorrow', which is no date such as 2024-05-31"),
        ("boarded", 3, "holds numbers, and dates"),
        ("sex", pd.Timestamp(0), "holds dates, and words"),
        ("fare", 1e60, "too far"),
    ):
        with refused(words):
            found.encode(titanic().assign(**{name: values}))


def test_dates_as_pandas_reads_them_from_a_csv_are_dates():
    frame = titanic()
    found, written = Columns.fit(frame, Reading()), frame["boarded"].astype(str)
    as_words = frame.assign(boarded=written.where(frame["boarded"].notna(), None))
    np.testing.assert_array_equal(found.encode(as_words), found.encode(frame))


def test_columns_are_the_same_once_they_are_read_again():
    frame = titanic().assign(name=[f"n{i % 50}" for i in range(400)])
    fitted = Columns.fit(frame, EMBED, np.array([[1.0, 3.0], [2.0, 3.0]]))
    assert fitted.target_mean == (1.5, 3.0) and fitted.target_scale == (0.5, 1.0)
    again = columns.read(json.loads(fitted.text))
    assert again == fitted and again.digest == fitted.digest
    np.testing.assert_array_equal(again.encode(frame), fitted.encode(frame))


@pytest.mark.parametrize("field, value", [
    ("name", 3), ("kind", "colour"), ("mean", None), ("mean", float("nan")), ("scale", -1.0),
    ("scale", "1"), ("missing", 1), ("median", 10**400), ("type", "Picture"), ("values", "ab"),
    ("values", ["a", "a"]), ("values", [1]), ("embedded", None),
])
def test_a_field_that_is_none_is_refused(field, value):
    content = json.loads(Columns.fit(titanic(), Reading()).text)
    for column in content["columns"]:
        if field in column:
            column[field] = value
            break
    with pytest.raises((ValueError, KeyError, TypeError)):
        columns.read(content)


@pytest.mark.parametrize("content", [
    [], {}, {"columns": []}, {"columns": 3}, {"columns": [{}]}, {"columns": [[]]}, None,
])
def test_what_are_no_columns_is_refused(content):
    if isinstance(content, dict):
        content |= {"target_mean": [], "target_scale": []}
    with pytest.raises((ValueError, KeyError, TypeError)):
        columns.read(content)


def test_targets_and_order_are_judged_too():
    whole = json.loads(Columns.fit(titanic(), Reading()).text)
    for change in ({"target_mean": [1.0]}, {"target_mean": [1.0], "target_scale": [0.0]},
                   {"target_mean": "x", "target_scale": "y"},
                   {"columns": [*whole["columns"], whole["columns"][0]]}):
        with pytest.raises((ValueError, TypeError)):
            columns.read(whole | change)


def test_a_dataframe_is_data(capsys):
    frame, y = titanic(), np.arange(400) % 3
    one = arrays.of((frame, y))
    assert one.is_table and one.classes == ("0", "1", "2")
    assert one.fingerprint == arrays.of({"x": frame, "y": list(y)}).fingerprint
    renamed = frame.rename(columns={"age": "fare", "fare": "age"})
    others = frame.assign(age=1.0), renamed, frame[::-1]
    assert len({one.fingerprint, *(arrays.of((x, y)).fingerprint for x in others)}) == 4
    both = arrays.of({"train": (frame, y), "test": (frame[frame.columns[::-1]], y)})
    assert [*both.splits] == ["train", "test"]


@pytest.mark.parametrize("data, words", [
    (titanic(), r"a table alone.*give .*\(table.drop\(columns='y'\), table\['y'\]\)"),
    ((titanic(), [1, 2]), "targets of"),
    ((titanic()[:0], []), r"the shape \(0, 7\)"),
    ((pd.DataFrame({"a": [[1], [2]]}), [0, 1]), "its values can't be read"),
    ({"train": (titanic(9), [0] * 9), "test": (titanic(9).rename(columns={"age": "Age"}), [0] * 9)},
     "of train its table lacks 'age' and has besides 'Age'"),
    ({"train": (titanic(2), [0, 1]), "test": (np.zeros((2, 7)), [0, 1])}, "give all splits one"),
])
def test_a_dataframe_that_is_no_data_is_refused(data, words):
    with refused(words):
        arrays.of(data)
