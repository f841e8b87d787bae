import os
import re
from pathlib import Path

import pytest

from lehr.data.tables.text_table import TextTable, read_text_table


def write(folder, content, name="a.csv"):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_and_line_ends(tmp_path, delimiter, end):
    lines = ["size", "hue"], ["5.1", "red"], ["4.9", ""]
    table = read_text_table(write(tmp_path, end.join(delimiter.join(line) for line in lines)))
    assert table.columns == {"size": ["5.1", "4.9"], "hue": ["red", ""]}
    assert table.lines == [2, 3]


def test_the_delimiter_is_the_one_that_makes_most_columns(tmp_path):
    table = read_text_table(write(tmp_path, 'a;"b, c";d\n1,5;2;3\n'))
    assert table.columns == {"a": ["1,5"], "b, c": ["2"], "d": ["3"]}


def test_byte_order_mark_spaces_and_empty_lines(tmp_path):
    table = read_text_table(write(tmp_path, b'\xef\xbb\xbf\n a , b\n\n 1 , "x, y"\n\n2,z\n\n'))
    assert table.columns == {"a": ["1", "2"], "b": ["x, y", "z"]}
    assert table.lines == [4, 6]


def test_a_value_over_two_lines_stands_where_it_begins(tmp_path):
    table = read_text_table(write(tmp_path, 'a,b\n1,"x\ny"\n2,z\n'))
    assert table.columns["b"] == ["x\ny", "z"]
    assert table.lines == [2, 4]
    assert (table.place(0), table.place(1)) == ("a.csv:2", "a.csv:4")


def test_one_column_is_a_table(tmp_path):
    assert read_text_table(write(tmp_path, "a\n1\n2\n")).columns == {"a": ["1", "2"]}


def test_take():
    table = TextTable(Path("a.csv"), {"x": ["1", "2", "3"]}, [2, 3, 5])
    assert table.take([2, 0]) == TextTable(Path("a.csv"), {"x": ["3", "1"]}, [5, 2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must name its columns in the first line; it is empty"),
        (" \n\n", "must name its columns in the first line; it is empty"),
        ("a,b\n", "must have rows below its column names; it has none"),
        ("a,b\n1,2\n\n3\n", "line 4 must have 2 values, as many as there are columns; got 1"),
        ("a,b\n1,2,3\n", "line 2 must have 2 values, as many as there are columns; got 3"),
        ("a,b,a\n1,2,3\n", "line 1 must name every column differently; 'a' names columns 1 and 3"),
        (",b\n0,2\n", "line 1 must name every column; column 1 has no name. Name it, or write"),
        ('a,b\n1,"x\n', "line 2 cannot be read: unexpected end of data"),
        (b"a,b\n1,\xe9\n", "must be text in UTF-8; line 2 has the byte 0xe9"),
        (b"PK\x03\x04\xff", "must be text in UTF-8; line 1 has the byte 0xff"),
    ],
)
def test_what_is_no_table(tmp_path, content, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_text_table(write(tmp_path, content))
    assert "a.csv" in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a file of a table; it is not there"):
        read_text_table(tmp_path / "b.csv")
    with pytest.raises(FileNotFoundError, match="must be a file of a table; it is a folder"):
        read_text_table(tmp_path)


@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"a\.csv must be a plain file; it is a named pipe"):
        read_text_table(tmp_path / "a.csv")


@pytest.mark.parametrize("before", ["", "a,b\n"])
def test_an_endless_value(tmp_path, before):
    with pytest.raises(ValueError, match=r"line \d cannot be read: field larger than field limit"):
        read_text_table(write(tmp_path, f"{before}{'x' * 200_000},b\n1,2\n"))


@pytest.mark.timeout(30)
def test_a_million_columns(tmp_path):
    names = ",".join(map(str, range(1_000_000)))
    with pytest.raises(ValueError, match="line 2 must have 1000000 values"):
        read_text_table(write(tmp_path, f"{names}\n1\n"))
