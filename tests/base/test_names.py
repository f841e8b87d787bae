"""Names of things, in one manner."""

from functools import partial

import pytest
from torch import nn

from lehr.base.names import name_of, snake_case


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


class MulticlassAccuracy: ...


def score(y_true, y_score, average=None): ...


def test_a_function_a_partial_and_an_object_have_names():
    assert name_of(score) == "score"
    assert name_of(partial(partial(score, average=1), average=2)) == "score"
    assert name_of(MulticlassAccuracy()) == "multiclass_accuracy"
    assert name_of(nn.MSELoss()) == "mse_loss"
