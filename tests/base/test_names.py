"""Names of things, in one manner."""

import pytest

from lehr.base.names import snake_case


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("Recorder", "recorder"),
        ("EarlyStopping", "early_stopping"),
        ("CSVLog", "csv_log"),
        ("MulticlassAUROC", "multiclass_auroc"),
        ("F1Score", "f1_score"),
        ("MixUp", "mix_up"),
        ("already_snake", "already_snake"),
    ],
)
def test_a_name_is_an_attributes(name, snake):
    assert snake_case(name) == snake
    assert snake_case(snake) == snake
