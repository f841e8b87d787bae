"""Whether data are those that a run began with."""

import zlib

import pytest

from lehr.cli.data_sum import data_sum
from lehr.data.published.catalog import SOURCES


def test_the_sum_of_the_data_changes_with_them(tmp_path):
    folder = tmp_path / "images" / "cat"
    folder.mkdir(parents=True)
    (folder / "one.png").write_bytes(b"one")
    before = data_sum(str(tmp_path / "images"))
    (folder / ".hidden.png").write_bytes(b"hidden")
    (folder / "notes.txt").write_text("no image")
    assert data_sum(str(tmp_path / "images")) == before
    (folder / "two.png").write_bytes(b"two")
    assert data_sum(str(tmp_path / "images")) != before
    assert data_sum("mnist") is None


@pytest.mark.parametrize("name", SOURCES)
def test_a_published_set_has_none(name):
    assert data_sum(name) is None


def test_of_a_file_it_is_the_sum_of_its_content(tmp_path):
    content = b"x,y\n" + b"1,2\n" * 500_000  # more than is read at once
    (tmp_path / "a.csv").write_bytes(content)
    assert data_sum(str(tmp_path / "a.csv")) == f"{zlib.crc32(content):08x}"
    (tmp_path / "a.csv").write_bytes(content[:-2] + b"3\n")
    assert data_sum(str(tmp_path / "a.csv")) != f"{zlib.crc32(content):08x}"


def test_of_a_folder_a_name_and_a_size_count_and_the_place_of_the_folder_does_not(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place / "cat").mkdir(parents=True)
        (tmp_path / place / "cat" / "one.PNG").write_bytes(b"one")
    here, there = (str(tmp_path / place) for place in ("here", "there"))
    assert data_sum(here) == data_sum(there)
    (tmp_path / "there" / "cat" / "one.PNG").write_bytes(b"another")
    assert data_sum(here) != data_sum(there)
    (tmp_path / "there" / "cat" / "one.PNG").write_bytes(b"two")
    assert data_sum(here) == data_sum(there)  # of an image, the content is not read
    (tmp_path / "there" / "cat" / "one.PNG").rename(tmp_path / "there" / "cat" / "two.PNG")
    assert data_sum(here) != data_sum(there)


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        data_sum(str(tmp_path / "nowhere.csv"))
