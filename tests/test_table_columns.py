"""Tables of columns: what each column, target and split is understood as, and told."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn import datasets

from engine import sources
from engine.config import Config, Reading
from engine.data import partition
from engine.errors import RequestError
from engine.examples import UNLABELLED
from engine.parts.reading import check_named
from engine.parts.targets import suited
from engine.sets import features
from engine.tables import dialect, frames, table


@pytest.fixture
def read(tmp_path):
    """The set in a CSV file of that content."""

    def written(content: str | bytes, **reading):
        path = tmp_path / "set.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return sources.load(f"table:{path}", reading=Reading(**reading))

    return written


def by(split, column):
    """Its columns and targets, in the order of that column."""
    rows = split.inputs.assign(target=split.targets).sort_values(column, ignore_index=True)
    return rows.to_dict("list")


MIXED = """age,fare,alive,born,town,label
22,7.25,true,1990-01-02,Ulm,x
,71.5,false,1991-02-03 04:05:06,,y
38,NA,,,Bonn,x
"""


def test_columns_have_the_types_of_their_cells(read):
    found = read(MIXED)
    inputs = found.splits["train"].inputs
    assert [str(kind) for kind in inputs.dtypes] == ["float64", "float64", "float64",
                                                     "datetime64[us]", "category"]
    rows = by(found.splits["train"], "fare")
    np.testing.assert_equal(rows["age"], [22, np.nan, 38])
    np.testing.assert_equal(rows["fare"], [7.25, 71.5, np.nan])
    np.testing.assert_equal(rows["alive"], [1, 0, np.nan])
    assert rows["born"][:2] == [pd.Timestamp("1990-01-02"), pd.Timestamp("1991-02-03 04:05:06")]
    assert pd.isna(rows["born"][2]) and rows["town"][::2] == ["Ulm", "Bonn"]
    assert pd.isna(rows["town"][1]) and rows["target"] == [0, 1, 0]
    assert found.classes == ("x", "y")
    assert "its columns: 3 of numbers, 1 of dates, 1 of words" in found.notes


def test_numbers_are_pythons(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"column {n}": rng.standard_normal(200) * 10.0**n for n in range(-5, 8)})
    frame["count"], frame["label"] = rng.integers(-(2**40), 2**40, 200), rng.integers(3, size=200)
    frame.to_csv(tmp_path / "set.csv", index=False)
    found = sources.load(f"table:{tmp_path}/set.csv").splits["train"]
    lines = (tmp_path / "set.csv").read_text().splitlines()[1:]
    expected = pd.DataFrame([[float(cell) for cell in line.split(",")] for line in lines],
                            columns=list(frame)).sort_values("count", ignore_index=True)
    given = found.inputs.assign(label=found.targets).sort_values("count", ignore_index=True)
    assert np.array_equal(given.to_numpy(), expected.to_numpy(np.float64))


@pytest.mark.parametrize("write, note", [
    (lambda text: text.replace(",", ";"), "separated by semicolons"),
    (lambda text: text.replace(",", "\t"), "separated by tabs"),
    (lambda text: text.replace(",", "|"), "separated by pipes"),
    (lambda text: text.replace(",", ";").replace(".", ","), "semicolons, with decimal commas"),
    (lambda text: text.replace(",", "\t").replace(".", ","), "tabs, with decimal commas"),
    (lambda text: "\ufeff" + text, ""),
    (lambda text: text.replace("\n", "\r\n"), ""),
    (lambda text: text.replace("\n", "\r"), ""),
    (lambda text: text.replace("\n", "\n\n"), ""),
    (lambda text: text.replace(",", " , "), ""),
    (lambda text: "\n".join('"' + line.replace(",", '","') + '"' for line in text.split("\n")[:-1]),
     ""),
    (lambda text: text.replace("NA", "NaN").replace(",,", ",?,"), ""),
    (lambda text: text.encode("latin-1"), "in Latin-1"),
])  # fmt: skip
def test_every_dialect_is_the_same_table(write, note, read):
    text = MIXED.replace("Bonn", "Köln")
    found, sound = read(write(text)), read(text)
    assert found.fingerprint == sound.fingerprint and found.classes == sound.classes
    pd.testing.assert_frame_equal(found.splits["train"].inputs, sound.splits["train"].inputs)
    told = [line for line in found.notes if line not in sound.notes]
    assert (note in told[0] and len(told) == 1) if note else not told


@pytest.mark.parametrize("cells, decimal, grouped", [
    ("1,5", ",", ""), ("1,5 2.5", ".", ""), ("a,b", ".", ""), ("none 1,5 .", ",", ""),
    ("85,068 1,200", ".", "85,068"), ("85,068", ",", ""), ("0,125 0,250", ",", ""),
    ("47.259 1.200", ".", ""), ("47.259 85,068", ".", "85,068"), ("47.259 3,5", ",", "47.259"),
    ("85,068 3.5", ".", "85,068"), ("1,234,567", ".", "1,234,567"), ("1.234.567", ",", "1.234.567"),
    ("-1.234,567", ",", "-1.234,567"), ("1,234.5 3,5", ".", ""), ("1234,567 0.125", ".", ""),
    ("1,2 1,2,3", ".", ""), ("192.168.100.200 10.0.0.1", ".", ""), ("31.12.2024 3,5", ".", ""),
])  # fmt: skip
def test_marks_are_decimal_or_between_thousands(cells, decimal, grouped):
    if cells != "85,068 1,200":
        assert dialect.marks([cells.split()], ";") == (decimal, grouped)
    assert dialect.marks([["10.0.0.1"], cells.split()], "\t") == (decimal, grouped)
    assert dialect.marks([cells.split()], ",") == (".", "")


def test_between_semicolons_commas_are_decimal():
    """Where they have three digits behind them throughout, as of a balance that weighs grams."""
    assert dialect.marks([["1,234", "2,567"]], ";") == (",", "")


def test_numbers_with_marks_between_thousands_are_numbers(read):
    found = read("a;b;c;d;price\n47.259;3,5;x;1.000;-1.234,5\n259;;1.000;2.000;85\n"
                 "1.234.567;2,125;;3.000;1,5\n")
    rows = by(found.splits["train"], "a")
    assert rows["a"] == [259, 47259, 1234567] and rows["d"] == [2000, 1000, 3000]
    assert rows["target"] == [85, -1234.5, 1.5]
    assert np.isnan(rows["b"][0]) and rows["b"][1:] == [3.5, 2.125]
    assert found.splits["train"].inputs["c"].cat.categories.tolist() == ["1.000", "x"]
    assert "train: it is separated by semicolons, with decimal commas, with marks between " \
        "thousands (47.259 is 47259)" in found.notes


def test_points_between_thousands_may_begin_below_the_head(read, monkeypatch):
    monkeypatch.setattr("engine.tables.dialect.HEAD", 1 << 10)
    found = read("a;b;label\n" + "259;3,5;x\n" * 500 + "47.259;;y\n").splits["train"]
    assert by(found, "a")["a"][-1] == 47259


def test_a_head_ends_where_a_line_does():
    assert dialect._decoded("a,é\n1,é".encode()[:-1]) == ("a,é\n", "utf-8")
    assert dialect._is_header(["1", "1.1", "2"], [["3", "4", "5"]], "")  # pandas: a second 1


def test_rows_have_one_order_whatever_the_files_and_its_columns(read):
    rng = np.random.default_rng(0)
    rows = [f"{n},{n * n % 17},{n % 3}" for n in range(50)]
    orders = [read("\n".join(["a,b,label", *rng.permutation(rows)])).splits["train"]
              for _ in range(2)]  # fmt: skip
    turned = [",".join([b, a, label]) for a, b, label in (row.split(",") for row in rows)]
    orders.append(read("\n".join(["b,a,label", *turned])).splits["train"])
    assert len({tuple(split.inputs["a"]) for split in orders}) == 1
    assert orders[0].inputs["a"].tolist() != sorted(orders[0].inputs["a"])


def test_late_cells_change_a_columns_type(read, monkeypatch):
    """What the first block doesn't show: fractions, missing cells, words, another encoding."""
    monkeypatch.setattr("engine.tables.delimited._BLOCK", 1 << 12)
    monkeypatch.setattr("engine.tables.dialect.HEAD", 1 << 10)
    rows = "1,2,3,,x,1\n" * 2000
    found = read("a,b,c,d,e,label\n" + rows + "1.5,?,4,5,y,2\n")
    assert [frames.kind(found.splits["train"].inputs[name]) for name in "abcde"] \
        == ["number"] * 4 + ["word"]  # fmt: skip
    assert by(found.splits["train"], "a")["d"][-1] == 5
    found = read(("a,b,label\n" + "1,x,1\n" * 2000 + "?,é,2\n").encode("latin-1"))
    assert found.splits["train"].inputs["b"].cat.categories.tolist() == ["x", "é"]
    found = read("a,b,label\n" + "".join(f"{n},2,1\n" for n in range(2000)) + "oops,3,2\n")
    assert "the column 'a' is of words, as these are no numbers: 'oops'" in found.notes


@pytest.mark.parametrize("header, learned, how", [
    ("a,Label,target", "Label", "by its name"), ("a,class,TARGET", "TARGET", "by its name"),
    ("y,b,c", "y", "by its name"), ("b,Y,Class", "Class", "by its name"),
    ("LABEL,a,label", "LABEL", "by its name"),
    ("a,b,c", "c", "as the last of 3 columns"), ("a,b,my y", "my y", "as the last of 3 columns"),
])  # fmt: skip
def test_the_target_is_found_by_its_name_or_is_the_last(header, learned, how, read):
    found = read(f"{header}\n1,2,3\n2,3,4\n")
    assert list(found.splits["train"].inputs) == [n for n in header.split(",") if n != learned]
    assert f"the column {learned!r} is learned, {how}" in found.notes
    asked = read(f"{header}\n1,2,3\n2,3,4\n", target=header.split(",")[0])
    assert list(asked.splits["train"].inputs) == header.split(",")[1:]
    assert any("as --target says" in note for note in asked.notes)


@pytest.mark.parametrize("labels, classes", [
    (["10", "9", "-1", "9"], ("-1", "9", "10")),
    (["10", "9", "x"], ("10", "9", "x")),
    (["#5", "a, b", "à", "\U0001f408"], ("#5", "a, b", "à", "\U0001f408")),
    (["1.0", "2.0", "10.0"], ("1", "2", "10")),
    (["007", "1"], ("1", "007")),
    (["True", "False"], ("False", "True")),
])  # fmt: skip
def test_classes_are_sorted_by_value_where_they_are_numbers(labels, classes, read):
    found = read("p,q,label\n" + "".join(f'{n},{n},"{label}"\n' for n, label in enumerate(labels)))
    assert found.classes == classes
    numbers = [classes.index(label.removesuffix(".0")) for label in labels]
    assert by(found.splits["train"], "p")["target"] == numbers


@pytest.mark.parametrize("labels, classes, told", [
    (["Cat", "cat", "CAT", "dog", "cat"], ("cat", "dog"), "'CAT' and 'Cat' and 'cat'"),
    (["e\u0301", "\u00e9", "x"], ("\u00e9", "x"), "are one class"),
    (["1", "1.0", "2", "+2"], ("1", "2"), "'+2' and '2', '1' and '1.0'"),
    (["1.0", "01", "1.0", "x"], ("1", "x"), "'01' and '1.0'"),
    ([" cat", "cat ", "dog"], ("cat", "dog"), ""),
])  # fmt: skip
def test_labels_that_are_written_in_several_ways_are_one_class(labels, classes, told, read):
    found = read("p,q,label\n" + "".join(f'{n},{n},"{label}"\n' for n, label in enumerate(labels)))
    assert found.classes == tuple(sorted(classes))
    assert any("in several ways" in note and told in note for note in found.notes) == bool(told)


def test_no_label_is_unlabelled(read):
    for empty in ("", "NaN", "nan", "NA", "null", "?", " "):
        found = read(f"p,q,label\n1,1,cat\n2,2,{empty}\n3,3,dog\n")
        assert by(found.splits["train"], "p")["target"] == [0, UNLABELLED, 1]
        assert found.classes == ("cat", "dog")
        numbers = read(f"p,q,label\n1,1,1.5\n2,2,{empty}\n3,3,2\n").splits["train"]
        np.testing.assert_equal(by(numbers, "p")["target"], np.float32([1.5, np.nan, 2]))


@pytest.mark.parametrize("asked, told", [
    ({}, "as the last of 3 columns; --target COLUMN learns another"),
    ({"target": "left"}, "as --target says"),
])  # fmt: skip
def test_labels_that_are_missing_are_told_with_their_column(asked, told, read):
    found = read("p,churn,left\n1,0,x\n2,1,\n3,0,y\n", **asked)
    with pytest.raises(RequestError, match="train: 1 of its 3 examples have no label .the column "
                       f"'left' is learned, {told}.: type --drop_unlabelled to leave them out, or"):
        partition(found, Config(batch_size=1))


@pytest.mark.parametrize("labels, regression", [
    ([0, 1, 2] * 50, False), ([*range(100)] * 4, False), ([*range(101)] * 4, True),
    ([0.5, 1, 2], True), ([1.0, 2.0], False), ([*range(19)], False), ([*range(20)], True),
    ([*range(30)] * 2, False),
])  # fmt: skip
def test_numbers_are_predicted_where_they_are_no_classes(labels, regression, read):
    found = read("p,q,y\n" + "".join(f"{n},{n % 3},{y}\n" for n, y in enumerate(labels)))
    targets = by(found.splits["train"], "p")["target"]
    if regression:
        assert found.classes == ("y",) and targets == np.float32(labels).tolist()
        assert found.splits["train"].targets.dtype == np.float32
        assert any("numbers to predict" in note for note in found.notes)
    else:
        assert found.splits["train"].targets.dtype == np.int32
        assert [float(found.classes[n]) for n in targets] == labels


def test_splits_are_matched_by_name(tmp_path):
    (tmp_path / "Training.csv").write_text("a,b,kind,label\n1,2,u,x\n3,4,v,y\n")
    (tmp_path / "VAL.tsv").write_text("label\tkind\tb\ta\nX\tv\t6\t5\n")
    pd.DataFrame({"b": [8], "a": [7], "kind": [""], "more": [1]}).to_parquet(tmp_path / "test.pq")
    found = sources.load(f"table:{tmp_path}")
    assert list(found.splits) == ["train", "validation", "test"] and found.classes == ("x", "y")
    assert by(found.splits["validation"], "a") == {"a": [5], "b": [6], "kind": ["v"], "target": [0]}
    test = by(found.splits["test"], "a")
    assert (test["a"], test["b"], test["target"]) == ([7], [8], [-1])
    for note in ("test has no column 'label': its 1 rows are unlabelled",
                 "test: columns that Training.csv lacks are left out: 'more'",
                 "validation: it is separated by tabs"):  # fmt: skip
        assert note in found.notes
    (tmp_path / "VAL.tsv").write_text("label\tkind\tb\ta\nX\tv\tsix\t5\n")
    with pytest.raises(RequestError, match="'b' of VAL.tsv holds words, and numbers in training"):
        sources.load(f"table:{tmp_path}")
    (tmp_path / "VAL.tsv").write_text("label\tkind\tb\ta\nX\t7\t6\t5\n")
    kind = sources.load(f"table:{tmp_path}").splits["validation"].inputs["kind"]
    assert kind.tolist() == ["7"] and frames.kind(kind) == "word"


@pytest.mark.parametrize("days, born", [
    ("31.12.2024 10:00,01.02.2024", ["2024-12-31 10:00", "2024-02-01"]),
    ("2024/12/31 10:00:05,2024/02/01 23:59", ["2024-12-31 10:00:05", "2024-02-01 23:59"]),
    ("31.12.2024 10:00:05,2024-02-01T10:00", ["2024-12-31 10:00:05", "2024-02-01 10:00"]),
    ("0001-01-01 00:00:00,2024-02-01", ["0001-01-01", "2024-02-01"]),
    ("13.05.24,14.05.2024", None), ("24/05/13 10:00,24/05/14 10:00", None),
])  # fmt: skip
def test_dates_are_read_as_they_are_usually_written(read, days, born):
    """With four digits a year: 24 is no year."""
    found = read("born,label\n" + "".join(f"{day},{n}\n" for n, day in enumerate(days.split(","))))
    column = found.splits["train"].inputs["born"]
    if born:
        assert sorted(column) == sorted(map(pd.Timestamp, born))
    else:
        assert frames.kind(column) == "word" and sorted(column) == sorted(days.split(","))


@pytest.mark.parametrize("ending, stream", [("csv", False), ("parquet", False), ("parquet", True)])
def test_a_date_may_lie_beyond_nanoseconds(tmp_path, ending, stream):
    """Such as SQL's never, and .NET's first day."""
    written = pa.array([datetime.date(9999, 12, 31), datetime.date(1, 1, 1), None, datetime.date(
        2024, 5, 31)])
    made = pa.table({"born": written, "label": ["x", "y", "x", "y"]})
    parquet.write_table(made, tmp_path / "set.parquet")
    made.to_pandas().to_csv(tmp_path / "set.csv", index=False)
    found = sources.load(f"table:{tmp_path}/set.{ending}", stream=stream).splits["train"].inputs
    column = features.fitted("born", found["born"])
    assert column.kind == "date" and column.missing and column.median == 19874
    encoded = np.zeros((1, 2), np.float32)
    column.fill(encoded, pd.Series([datetime.date(9999, 12, 31)]))
    np.testing.assert_allclose(encoded[0], [(2932896 - column.mean) / column.scale, 0])


@pytest.mark.parametrize("ending, stream", [("csv", False), ("parquet", False), ("parquet", True)])
def test_words_of_training_are_words_as_they_are_written_in_all_files(tmp_path, ending, stream):
    def write(name, code, version, flag):
        made = pd.DataFrame({"code": code, "version": version, "flag": flag, "n": range(len(code))})
        made = made.assign(label=["x", "y"][: len(code)] * (len(code) // 2))
        made.to_csv(path, index=False) if (path := tmp_path / f"{name}.{ending}").suffix == ".csv" \
            else made.to_parquet(path)

    write("train", ["01", "02", "1A", "NA"], ["1.0", "1.10", "x", "1.1"],
          ["true", "false", "unknown", "true"])
    write("test", ["02", "01"], ["1.10", "1.0"], ["false", "true"])
    found = sources.load(f"table:{tmp_path}", stream=stream)
    test = found.splits["test"].inputs
    rows = {name: test[name].tolist() for name in ("code", "version", "flag")}
    order = np.argsort(rows["code"])
    assert {name: np.array(cells)[order].tolist() for name, cells in rows.items()} == {
        "code": ["01", "02"], "version": ["1.0", "1.10"], "flag": ["true", "false"]}


def test_values_of_other_types_are_words_where_these_are_asked_for(tmp_path):
    given = {"int": [2**62 + 1, 7, None], "float": pa.array([1.0, 0.5, None]),
             "date": [datetime.date(2024, 5, 31), None, None], "large": ["01", "x", None]}
    schema = {"large": pa.large_string(), "int": pa.int64(), "float": pa.float64(),
              "date": pa.date32()}
    made = pa.table({name: pa.array(given[name], schema[name]) for name in given})
    found = frames.of(made, [*given])
    assert [column.dropna().tolist() for _, column in found.items()] == [
        ["4611686018427387905", "7"], ["1", "0.5"], ["2024-05-31"], ["01", "x"]]


def test_groups_are_numbered_alike_in_all_splits_and_no_feature(tmp_path):
    (tmp_path / "train.csv").write_text("who,a,label\nann,1,x\nbob,2,y\nann,3,x\n")
    (tmp_path / "test.csv").write_text("who,a,label\ncid,4,x\nbob,5,y\n")
    found = sources.load(f"table:{tmp_path}", reading=Reading(group="who"))
    group = {a: int(number) for split in found.splits
             for a, number in zip(found.splits[split].inputs["a"], found.groups[split],
                                  strict=True)}  # fmt: skip
    assert found.groups["train"].dtype == np.int32
    assert group[1] == group[3] and group[2] == group[5]
    assert len(set(group.values())) == 3 and list(found.splits["train"].inputs) == ["a"]
    for reading in (Reading(group="whom"), Reading(weight="whom")):
        there = sources.load(f"table:{tmp_path}", reading=reading)
        assert not there.groups  # which another set that only judges may lack
        with pytest.raises(RequestError, match="unknown column of the table 'whom': did you mean"):
            check_named(there, reading)
    (tmp_path / "train.csv").write_text("who,a,label\nann,1,x\n,2,y\nann,3,x\n")
    with pytest.raises(RequestError, match="its group 'who' is empty in 1 rows of train"):
        sources.load(f"table:{tmp_path}", reading=Reading(group="who"))


def test_an_id_and_a_constant_are_told_and_an_index_left_out(read):
    rows = "".join(f"{n},{n + 5},{n * n % 7},4,{n % 2}\n" for n in range(20))
    found = read(f",id,a,b,label\n{rows}")
    assert list(found.splits["train"].inputs) == ["id", "a", "b"]
    for note in ("train: a column without a name numbers the rows and is left out",
                 "columns of one value teach nothing: 'b'",
                 "columns that rise from row to row look like an id: 'id' (5 to 24); leave them out"
                 " if they are, by --leave_out"):  # fmt: skip
        assert note in found.notes
    mixed = "".join(f"{n * 7 % 20},{n % 3},{n % 2}\n" for n in range(20))
    assert "of another whole number in every row, look like an index: 'Unnamed: 0'; leave" in read(
        f",a,label\n{mixed}").notes[-1]
    excel = read("a;label;\n1;x;\n2;y;\n")
    assert list(excel.splits["train"].inputs) == ["a"] and excel.classes == ("x", "y")


def test_numbers_that_float64_cant_tell_apart_are_told(read):
    rows = "".join(f"{10**30 + n * 7},{2**63 + n % 9},4,,{n * n % 13},{n % 2}\n" for n in range(60))
    notes = read(f"uid,more,b,c,a,label\n{rows}").notes
    assert ("numbers are read to 16 digits, in which these columns have one value: 'uid', 'more'; "
            "leave them out, or write words, such as n7") in notes
    assert "columns of one value teach nothing: 'b', 'c'" in notes


@pytest.mark.parametrize("cell", ["12.3O", "inf"])
def test_numbers_to_predict_but_for_a_cell_are_told(cell, read):
    prices = [str(n % 9 + 0.5) for n in range(60)]
    prices[7:9] = [cell, ""]
    rows = "".join(f"{n % 7},{price}\n" for n, price in enumerate(prices))
    assert ("train: all labels of 'price' but 1 are numbers to predict, and so they are classes: "
            f"{cell!r}, in row 8 below the header; mend or empty it for --task regression"
            ) in read(f"a,price\n{rows}").notes
    grades = "".join(f"{n % 7},{n % 3 if n % 4 else '3+'}\n" for n in range(60))
    assert not any("numbers to predict" in note for note in read(f"a,grade\n{grades}").notes)
    many = "".join(f"{n % 7},{n + 0.5 if n else cell}\n" for n in range(120))
    with pytest.raises(RequestError, match=f"all are numbers but '{cell}'; mend or empty those"):
        read(f"a,price\n{many}")


@pytest.mark.parametrize("target, told", [
    ("ill", ["alive", "ward", "boat", "score"]),  # words, repeated numbers, none, numbers apart
    ("price", ["gross"]),  # on a line
    ("price,near", []),
])
@pytest.mark.parametrize("rows, few", [(200, False), (49, True)])
def test_columns_that_alone_tell_the_target_are_told(target, told, rows, few, tmp_path):
    """But not those that tell it nearly, in few rows, or each row by a name of its own."""
    at, draw = np.arange(rows), np.random.default_rng(0)
    ill = np.where(at % 3 == 0, "y", "n")
    alive, price = np.where(at % 3 == 0, "no", "yes"), draw.normal(size=rows)
    table = pd.DataFrame({
        "alive": alive, "ward": at % 6,
        "boat": np.where(at % 3 == 0, np.nan, at % 4),
        "score": np.where(at % 3 == 0, 1, -1) + price / 99,
        "nearly": np.where(at == 3, "yes", alive), "some": np.where(at % 9, "", alive),
        "name": [f"n{n}" for n in at], "gross": 1.19 * price, "near": price + at % 2 / 99,
        "price": price, "ill": ill})
    table.to_csv(tmp_path / "set.csv", index=False)
    found = sources.load(f"table:{tmp_path}/set.csv", reading=Reading(target=target))
    said = [note for note in found.notes if "alone tells" in note]
    assert said == ([] if few or not told else [
        f"columns of which each alone tells what is learned: {', '.join(map(repr, told))}; leave "
        "them out, by --leave_out, if they aren't known beforehand"])


def test_bytes_that_fall_are_no_id(tmp_path):
    """Differences of bytes wrap around."""
    falling = pd.DataFrame({"a": np.arange(250, 130, -10, dtype=np.uint8), "label": [1, 2] * 6})
    falling.to_parquet(tmp_path / "set.parquet")
    assert "its columns: 1 of numbers" in sources.load(f"table:{tmp_path}/set.parquet").notes[-1]


def test_parquet_is_the_same_table(tmp_path, read):
    path = tmp_path / "set.parquet"
    born = [datetime.datetime(1990, 1, 2), datetime.datetime(1991, 2, 3, 4, 5, 6), None]
    columns = {"age": pa.array([22, None, 38], pa.int16()), "fare": [7.25, 71.5, None],
               "alive": [True, False, None], "born": pa.array(born, pa.timestamp("ns")),
               "town": ["Ulm", None, "Bonn"], "label": ["x", "y", "x"]}  # fmt: skip
    parquet.write_table(pa.table(columns), path)
    assert sources.load(f"table:{path}").fingerprint == read(MIXED).fingerprint
    columns["town"] = pa.array(columns["town"]).dictionary_encode()
    columns["fare"] = pa.array([decimal.Decimal("7.25"), decimal.Decimal("71.50"), None])
    parquet.write_table(pa.table(columns), path)
    assert sources.load(f"table:{path}").fingerprint == read(MIXED).fingerprint
    given = table.frame(str(path), Reading())
    assert given["age"].tolist()[::2] == [22, 38]  # the rows as they lie there


def test_a_file_without_a_header_is_understood_where_the_target_is_numbered(read):
    for rows in ("5.1,3.5,1.4,0.2,Iris-setosa\n4.9,3.0,1.4,0.3,Iris-virginica\n",
                 "5,0,0,0,3\n4,1,9,9,7\n", "cat,0,1,2,3\ndog,1,2,3,4\n"):  # fmt: skip
        with pytest.raises(RequestError, match="first row holds numbers in place of .* --target 0"
                           " is the first, --target 4 the last"):  # fmt: skip
            read(rows)
        found = read(rows, target="4")
        assert len(found.splits["train"].targets) == 2
        assert "train: it has no header, so its columns are called 0 to 4" in found.notes
        assert found.classes == tuple(sorted(row.split(",")[4] for row in rows.split()))
    assert read("5,0,0,0,3\n4,1,9,9,7\n", target="0").classes == ("4", "5")
    named = read("0,1,2,3\n7,8,8,a\n8,9,7,b\n")  # as pandas writes columns that nobody named
    assert list(named.splits["train"].inputs) == ["0", "1", "2"]
    years = read("town,2019,2020,price\nUlm,5,6,7\nBonn,6,7,8\n")
    assert list(years.splits["train"].inputs) == ["town", "2019", "2020"]
    pixels = ",".join(map(str, range(65)))
    with pytest.raises(RequestError, match="its 65 columns are numbered, and one of them is no"):
        read(f"{pixels}\n{pixels}\n{','.join(['1'] * 65)}\n")


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
def test_scikit_learns_tables_are_sets_by_name(name):
    expected = getattr(datasets, f"load_{name}")(as_frame=True)
    found = sources.load(name)
    inputs, targets = found.splits["train"][:2]
    assert list(inputs) == list(expected.feature_names)
    given = inputs.assign(target=targets.astype(np.float64))
    columns = list(given)
    pd.testing.assert_frame_equal(given.sort_values(columns, ignore_index=True),
                                  expected.frame.astype(np.float64).set_axis(columns, axis=1)
                                  .sort_values(columns, ignore_index=True))  # fmt: skip
    names = () if name == "diabetes" else tuple(map(str, expected.target_names))
    assert found.classes == (names or ("target",))
    assert targets.dtype == (np.int32 if names else np.float32)
    with pytest.raises(RequestError, match=f"unknown split of {name} 'test'"):
        sources.load(name, splits=["test"])


def test_a_task_takes_numbers_as_classes_and_classes_as_numbers(read):
    numbers = read("p,q,y\n" + "".join(f"{n},{n % 3},{n}\n" for n in range(20, 60)) + "9,9,\n")
    counted, told = suited(numbers, "classes")
    assert told == "40 whole numbers are the classes" and counted.classes[:2] == ("20", "21")
    rows = by(counted.splits["train"], "p")
    assert rows["target"] == [UNLABELLED, *range(40)]
    classes = read("p,q,y\n1,1,10\n2,1,20\n3,2,30\n4,3,\n")
    assert classes.classes == ("10", "20", "30")
    found, told = suited(classes, "numbers")
    assert told == "class names are the numbers to predict"
    np.testing.assert_equal(found.splits["train"].targets[classes.splits["train"].inputs["p"].argsort()],
                            np.float32([[10], [20], [30], [np.nan]]))
    assert suited(read("p,q,y\n1,1,0\n2,1,1\n"), "numbers")[1] == told
    with pytest.raises(RequestError, match="has numbers an example"):
        suited(read("p,q,y\n1,1,1.5\n2,1,2\n"), "classes")


@pytest.mark.parametrize("cells, words", [
    (["small", "medium", "large"], "3 of the 3 labels to predict as numbers are none: 'large', "
     "'medium', 'small'. Empty them in the table, to be unlabelled; name another column, --target"),
    ([*map(str, range(5, 60)), "na"], "1 of the 56 labels to predict as numbers are none: 'na'"),
    (["1", "2", "infinity"], "1 of the 3 labels to predict as numbers are none: 'infinity'"),
])  # fmt: skip
def test_a_task_of_numbers_never_learns_the_places_of_words(cells, words, read):
    found = read("p,q,y\n" + "".join(f"{n},{n % 7},{cell}\n" for n, cell in enumerate(3 * cells)))
    assert len(found.classes) == len(cells)
    with pytest.raises(RequestError, match=words):
        suited(found, "numbers")


@pytest.mark.parametrize("name, reading, words", [
    ("wine", {"target": "alcohol"}, "--target alcohol has no effect with --dataset wine: it is for "
     "image_folder:PATH and table:PATH. Leave it out"),
    ("iris", {"group": "who"}, "--group who has no effect with --dataset iris"),
    ("diabetes", {"pixels": True}, "--pixels has no effect with --dataset diabetes: it is for ta"),
    ("wine", {"image_size": 8}, "--image_size 8 has no effect with --dataset wine: it is for pict"),
    ("digits", {"target": "y"}, "--target y has no effect with --dataset digits"),
    ("digits", {"labels": "a.csv"}, "a.csv has no effect with --dataset digits: it is for image_f"),
    ("table:a.csv", {"labels": "a.csv"}, "--labels a.csv has no effect with --dataset table:a.csv"),
    ("image_folder:a", {"pixels": True}, "--pixels has no effect with --dataset image_folder:a"),
])  # fmt: skip
def test_a_reading_that_the_set_does_not_heed_is_refused(name, reading, words):
    with pytest.raises(RequestError, match=words):
        sources.load(name, reading=Reading(**reading))


def test_a_targets_numbers_may_have_decimal_commas(read, tmp_path):
    rows = [f"{n},5;{n},25" for n in range(300)]
    split = read("x;price\n" + "\n".join(rows) + "\n7,5;\n").splits["train"]
    np.testing.assert_array_equal(np.sort(split.targets[:-1])[:3], np.float32([0.25, 1.25, 2.25]))
    found = by(split, "x")
    assert np.isnan(found["target"]).sum() == 1 and found["target"][0] == 0.25
    (tmp_path / "set").mkdir()  # each file in its own way
    (tmp_path / "set/train.csv").write_text("x;y\n1;1,5\n2;2,0\n")
    (tmp_path / "set/test.csv").write_text("x,y\n1,1.5\n2,2.0\n")
    splits = sources.load(f"table:{tmp_path / 'set'}").splits
    assert {name: by(one, "x")["target"] for name, one in splits.items()} == {
        "train": [1.5, 2.0], "test": [1.5, 2.0]}
    words = read("x;y\n1;1,5\n2;none, 5\n3;\n")
    assert words.classes == ("1.5", "none, 5") and by(words.splits["train"], "x")["target"] == [
        0, 1, UNLABELLED]
    with pytest.raises(RequestError, match="1 of the 2 labels .* are none: 'none, 5'. Empty"):
        suited(words, "numbers")
