import copy
import json
import re

import pytest
import torch

from lehr.data.tables.columns import CategoryColumn, NumberColumn
from lehr.data.tables.preparation import TablePreparation
from lehr.data.tables.text_table import read_text_table

COLUMNS = NumberColumn("size", 5.0, 2.0, 5.0), CategoryColumn("hue", ("blue", "red"))
PREPARATION = TablePreparation("kind", ("iris", "rose"), COLUMNS)
STORED = PREPARATION.to_dict()


def write(folder, text, name="new.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_it_comes_back_through_json():
    assert TablePreparation.from_dict(json.loads(json.dumps(STORED))) == PREPARATION
    assert PREPARATION.item_shape == (3,)
    assert STORED["kind"] == "table"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "image", "kind must be one of table; got 'image'"),
        ("classes", "iris", "classes must be a list"),
        ("columns", [], "columns must name at least one column"),
        ("columns", [COLUMNS[0].to_dict()] * 2, "columns must name at least one column, each once"),
        ("target", "size", "and not the target 'size'"),
        ("target", None, "target must be text; got None"),
        ("missing", "maybe", "missing must be one of error, mean, drop"),
        ("target_mean", None, "target_mean must be a finite number; got None"),
        ("target_std", 0, "target_std must be a finite number above 0; got 0"),
        (
            "more",
            1,
            "a table's preparation must have the fields kind, target, classes, columns, missing, ",
        ),
        (
            "columns",
            [COLUMNS[0].to_dict(), 3],
            "columns[1] must be a dict; got 3. Is this the file",
        ),
        ("columns", [COLUMNS[0].to_dict() | {"std": 0}], "columns[0].std must be a finite number "),
    ],
)
def test_what_does_not_come_back(field, value, message):
    stored = copy.deepcopy(STORED)
    stored[field] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        TablePreparation.from_dict(stored)


def test_batches_of_new_files_without_a_target(tmp_path):
    one = write(tmp_path, "hue;size\nred;7\n\nblue;3\nred;5\n")
    two = write(tmp_path, "size,hue,more\n9,red,x\n", "two.csv")
    batches = list(PREPARATION.batches([one, two], batch_size=2))
    assert [names for names, _ in batches] == [
        [f"{one}:2", f"{one}:4"],
        [f"{one}:5"],
        [f"{two}:2"],
    ]
    xb = torch.cat([x for _, x in batches])
    assert xb.tolist() == [[1, 0, 1], [-1, 1, 0], [0, 0, 1], [2, 0, 1]]
    assert xb.dtype == torch.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size,hues\n1,red\n", "new.csv has no column 'hue'. Did you mean hues?"),
        ("size,hue\n1,green\n", "hue must be one of blue, red; new.csv:2 has 'green'"),
        ("size,hue\nbig,red\n", "size must be a number of at most 3.4e+38; new.csv:2 has 'big'"),
        ("size,hue\n1,red\n,red\n", "size must have a value in every row; 1 of 2 have none, the "),
    ],
)
def test_new_files_that_do_not_fit(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        list(PREPARATION.batches([write(tmp_path, text)]))


def test_the_policy_holds_for_new_files(tmp_path):
    file = write(tmp_path, "size,hue\nNA,red\n9,\n")
    fill = TablePreparation("kind", (), COLUMNS, "mean")
    assert next(fill.batches([file]))[1].tolist() == [[0, 0, 1], [2, 0, 0]]
    drop = TablePreparation("kind", (), COLUMNS, "drop")
    more = write(tmp_path, "size,hue\nNA,red\n9,red\n")
    with pytest.warns(UserWarning, match="1 of 2 rows are left out"):
        assert next(drop.batches([more]))[0] == [f"{more}:3"]


def test_batch_size():
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        next(PREPARATION.batches([], 0))


def test_targets(tmp_path):
    table = read_text_table(write(tmp_path, "size,kind\n1.5,rose\n2,iris\n"))
    assert PREPARATION.targets(table).tolist() == [1, 0]
    numbers = TablePreparation("size", (), (COLUMNS[1],)).targets(table)
    assert (numbers.tolist(), numbers.dtype) == ([[1.5], [2]], torch.float32)
    with pytest.raises(ValueError, match=r"new\.csv has no column 'kind'"):
        PREPARATION.targets(read_text_table(write(tmp_path, "size\n1\n")))


def test_rows_are_described_and_are_no_pictures():
    x = torch.tensor([1.5, 0, 1])
    assert PREPARATION.in_words(x) == "size=8 hue=red"
    assert PREPARATION.in_words(torch.tensor([0.0, 0, 0])) == "size=5 hue=–"
    assert PREPARATION.picture(x) is None


def test_fields_are_checked_wherever_they_come_from():
    with pytest.raises(ValueError, match="columns must name at least one column"):
        TablePreparation("kind", (), ())
    with pytest.raises(ValueError, match="columns must be NumberColumns, CategoryColumns and Date"):
        TablePreparation("kind", (), ("size",))
    with pytest.raises(ValueError, match="target_std must be a finite number above 0; got 0"):
        TablePreparation("kind", (), COLUMNS, target_std=0)
    assert TablePreparation("kind", ["iris", "rose"], list(COLUMNS)) == PREPARATION


def test_answers_undo_the_scale_of_targets(tmp_path):
    price = TablePreparation("price", (), COLUMNS, "error", 200_000.0, 50_000.0)
    table = read_text_table(write(tmp_path, "price\n250000\n150000\n"))
    targets = price.targets(table)
    assert (targets.tolist(), targets.dtype) == ([[1], [-1]], torch.float32)
    again = TablePreparation.from_dict(json.loads(json.dumps(price.to_dict())))
    assert again.answers(targets).tolist() == [[250_000], [150_000]]
    assert again.answers(targets.bfloat16()).dtype == torch.float32
    assert PREPARATION.answers(targets) is targets
