"""Tables that can't be read: one message each, bounded memory, nothing left behind."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from engine import sources
from engine.config import Reading
from engine.errors import RequestError
from engine.sets import limits
from engine.tables import delimited, dialect, sheet

SOUND = "label,a,b\ncat,1,2\ndog,255,254\n"


@pytest.fixture
def refused(tmp_path):
    def told(content, words, name="set.csv", **reading):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(RequestError, match=words) as caught:
            sources.load(f"table:{path}", reading=Reading(**reading))
        assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 600
        assert os.listdir(tmp_path) == [name]

    return told


@pytest.mark.parametrize("row, words", [
    ("cat,0", "row 4, the header being 1: it has 2 cells, and the first row 3: cat,0; mend that"),
    ("cat,0,1,2", "row 4, the header being 1: it has 4 cells, and the first row 3"),
    ("cat", "row 4, the header being 1: it has 1 cells"),
    ("cat,inf,1", "its column 'a' holds infinity in 1 of its rows"),
    ("cat,1,1e999", "its column 'b' holds infinity in 1 of its rows"),
    ('"cat,0,1', "row 4: a quotation mark is not closed in it; close it"),
    ('"cat\n",0,1', "a cell of its column 'label' has several lines; close its quotation mark"),
    ("a\tb,0,1", r"its target 'label' has the label 'a\\tb'; label with words"),
    ("x" * 201 + ",0,1", "its target 'label' has the label 'xxx"),
    ("\u202ecat,0,1", "its target 'label' has the label"),
])  # fmt: skip
def test_damaged_rows_are_named(row, words, refused):
    refused(SOUND + row + "\ncat,0,1\n", f"set.csv: {words}")
    refused("\ufeff" + (SOUND + row + "\n").replace("\n", "\r\n"), f"set.csv: {words}")


@pytest.mark.parametrize("content, words", [
    ("", "it is empty; write a header, and rows below it"),
    ("\n" + SOUND, "it begins with no header"),
    (",,,\n,,,\n,,,\n", "it begins with no header; write one, such as label,pixel0"),
    ("sep=;\na;label\n1;x\n2;y\n", "its first line, sep=;, is for Excel, and no header; delete"),
    ("label,a\n", "it has no rows below its header; add some"),
    ("label,a", "it has no rows below its header"),
    ("label,a\n\n\n", "it has no rows below its header"),
    ("label\ncat\ndog\n", "it has no column besides the one that is learned"),
    ("a,a,label\n1,2,3\n", "it names two columns 'a'; name each once"),
    ("a,label\n1,\n2,\n", "its target 'label' is empty in every row"),
    (SOUND.encode("utf-16"), "it holds control characters, as no text in UTF-8 does"),
    (bytes(1000), "it holds control characters"),
    (bytes(range(256)) * 9, "it holds control characters"),
    (b"\x89PNG\r\n\x1a\n" * 9, "it holds control characters"),
    (b"PK\x03\x04", "it holds control characters"),
    (SOUND.encode() + b"\x81,1,2\n", "it is neither UTF-8 nor Latin-1; save it as CSV in UTF-8"),
    ("a,text,label\n" + "".join(f"{n},row {n} of the text,x\n" for n in range(30)),
     "its column holds free text: 'text'; leave it out, --leave_out text, or name the one "
     "to learn, --target COLUMN; docs/own.md makes tokens of it.$"),
    ("a,text\n" + "".join(f"{n},row {n} of the text\n" for n in range(300)),
     "its target 'text' has 300 different labels in 300 rows, no classes; name another"),
    ("a,label\n1,1e39\n2,1.5\n", "its target 'label' is beyond float32"),
])  # fmt: skip
def test_files_that_are_no_such_table_are_refused(content, words, refused):
    refused(content, words)


@pytest.mark.parametrize("name", ["train.json", "train.JSONL", "train.csv.gz", "train.xlsx"])
def test_files_of_other_kinds_are_refused_by_their_names(name, tmp_path):
    (tmp_path / name).write_text('{"a": 1,\n"label": "p"}\n')
    ending = name[name.rindex("."):]
    with pytest.raises(RequestError, match=rf"a file that ends in \{ending} is none that is read; "
                       r"save it as .csv or .tsv or .txt or .parquet or .pq\.$"):
        sources.load(f"table:{tmp_path}/{name}")
    (tmp_path / "train.data").write_text("a,label\n1,x\n2,y\n")
    assert len(sources.load(f"table:{tmp_path}/train.data").splits["train"].targets) == 2


def test_what_is_asked_for_must_be_there(refused):
    refused(SOUND, "unknown column of the table 'lable': did you mean label?", target="lable")
    refused(SOUND, "unknown column of the table 'zzz': choose from a, b, label", target="zzz")
    many = ",".join(f"c{n}" for n in range(1000))
    refused(f"{many}\n{many}\n", "column of the table 'zzz': choose from c0, ", target="zzz")
    refused(SOUND, "2 columns of pixels, neither n² for grey pictures nor 3n²", pixels=True)
    refused("a\n1\n2\n", "it has no column besides the one that is learned", group="a")
    for name, value in (("image_size", 8), ("background", "red"), ("skip_bad", True)):
        refused(SOUND, f"its columns are no pixels, and --{name} is for pictures; leave it out, or "
                "type --pixels", **{name: value})


def test_parquets_columns_are_bounded_and_named_once(refused, monkeypatch, tmp_path):
    for names, words in (("aab", "it names two columns 'a'; name each once"),
                         ("abc", "it has 3 columns, more than the 2 that can be read")):
        parquet.write_table(pa.Table.from_arrays([pa.array([1, 2])] * 3, [*names]),
                            tmp_path / "set.parquet")
        refused((tmp_path / "set.parquet").read_bytes(), words, "set.parquet")
        monkeypatch.setattr("engine.tables.parquet.MOST_COLUMNS", 2)


@pytest.mark.parametrize("column, words", [
    ([[1, 2], [3]], "its column 'a' holds list<.*>, neither a number, a date nor a word"),
    ([{"bytes": b"x"}] * 2, "its column 'a' holds struct<"), ([b"x", b"y"], "holds binary"),
])  # fmt: skip
def test_parquet_of_other_things_is_refused(column, words, refused, tmp_path):
    parquet.write_table(pa.table({"a": column, "label": [1, 2]}), tmp_path / "set.parquet")
    content = (tmp_path / "set.parquet").read_bytes()
    refused(content, words, "set.parquet")
    parquet.write_table(pa.table({"a": [1, 2], "label": [1, 2]}), tmp_path / "set.parquet")
    content = (tmp_path / "set.parquet").read_bytes()
    for damaged in (content[:-3], content[:40], b"PAR1" + bytes(99) + b"PAR1", b""):
        refused(damaged, "it is no Parquet file, or a damaged one", "set.parquet")
    (tmp_path / "set.parquet").unlink()
    refused(content[:-3], "it is no Parquet file, or a damaged one", "called.csv")


def test_bytes_lines_and_columns_are_bounded(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "MOST_BYTES", 100)
    refused(SOUND * 9, "its columns take more than the 100 bytes that can be held")
    monkeypatch.undo()
    monkeypatch.setattr(delimited, "_BLOCK", 64)
    refused(SOUND + "x" * 500 + ",1,2\n", "a line has more than 64 bytes")
    monkeypatch.setattr(dialect, "MOST_LINE", 30)
    refused("x" * 40 + ",1,2\n", "its first line has more than 30 bytes")
    monkeypatch.setattr(dialect, "MOST_COLUMNS", 2)
    refused(SOUND, "it has 3 columns, more than the 2 that can be read")
    monkeypatch.setattr(sheet, "_MOST_FILE", 20)
    refused(SOUND, "it has more than 20 bytes")


def test_a_file_that_changes_while_it_is_read_is_refused(refused, monkeypatch, tmp_path):
    of = dialect.of

    def meanwhile(file, target):
        with open(tmp_path / "set.csv", "a") as other:
            other.write("cat,3,4\n")
        return of(file, target)

    monkeypatch.setattr(dialect, "of", meanwhile)
    refused(SOUND, "it changed while it was read; try again once it is whole")


BOUNDED = """
import resource, sys
from engine import sources
from engine.errors import RequestError
from engine.tables import table
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    sources.load(sys.argv[1])
except RequestError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("head", ["", "a,b\n1,2\n", "a,b\n" + "1,2\n" * 300_000, '"'])
def test_a_line_without_end_takes_no_memory(head, tmp_path):
    path = tmp_path / "set.csv"
    path.write_text(head)
    with open(path, "ab") as file:
        for _ in range(256):
            file.write(b"a" * (1 << 20))
    done = subprocess.run([sys.executable, "-c", BOUNDED, f"table:{path}"], capture_output=True,
                          text=True, timeout=300, cwd=Path(__file__).parent.parent)  # fmt: skip
    kib, told = done.stdout.split(" ", 1)
    assert "line has more than" in told and int(kib) < 150_000, done


@pytest.mark.slow
def test_processes_that_refuse_a_table_end(tmp_path):
    """Where Arrow's threads read by way of Python, one in seven hung or was aborted at its end."""
    path = tmp_path / "set.csv"
    path.write_text("a,b\n" + "1,2\n" * 300_000 + "a" * (1 << 28))

    def ended(_: int) -> int:
        return subprocess.run([sys.executable, "-c", BOUNDED, f"table:{path}"], timeout=100,
                              capture_output=True, cwd=Path(__file__).parent.parent).returncode

    with ThreadPoolExecutor(4) as several:
        assert [*several.map(ended, range(16))] == [0] * 16


@pytest.mark.slow
def test_a_million_columns_are_refused_by_the_first_line(refused):
    refused(",".join(f"c{n}" for n in range(1_000_000)) + "\n" + "1," * 999_999 + "1\n",
            "it has 1,000,000 columns, more than the 131,072 that can be read")
