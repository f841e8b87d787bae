"""What every process must have been given alike."""

from functools import partial

import pytest
from torch import nn, optim

from lehr import Callback
from lehr.callbacks import Accumulate, CSVLog
from lehr.distributed.alike import differences, of_model, of_run
from lehr.testing import tiny_learner

from . import jobs


class Mine(Callback):
    """Looks on."""

    def after_step(self, run): ...


def given(callbacks=(), *, epochs=1, **options):
    learn = tiny_learner(list(callbacks), data=options.pop("data", jobs.data()), **options)
    return of_run(learn.fit(epochs))


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"epochs": 2}, "epochs is 1 on rank 0, 2 on rank 1"),
        ({"seed": 5}, "the seed is 0 on rank 0, 5 on rank 1"),
        (
            {"data": jobs.data(44)},
            "the length of train_dl is 6 batches of 45 items on rank 0, 6 batches of 44 items on "
            "rank 1",
        ),
        (
            {"opt": partial(optim.SGD, lr=0.2)},
            "lr of the optimizer, group 0 is 0.1 on rank 0, 0.2 on rank 1",
        ),
        (
            {"callbacks": [Accumulate(2)]},
            "the list of callbacks is ['Recorder', 'Rehearsal'] on rank 0, "
            "['Accumulate', 'Recorder', 'Rehearsal'] on rank 1",
        ),
    ],
)
def test_a_run_that_is_another_one_is_described_by_what_differs(other, text):
    assert text in differences([given(), given(**other)])


def test_what_one_process_may_have_alone_makes_no_difference(tmp_path):
    assert not differences([given(), given([Mine(), CSVLog(tmp_path / "log.csv")])])


def test_of_many_differences_the_first_are_shown():
    models = [nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))]
    text = differences([of_model(model) for model in models])
    assert text.startswith("weight of the model is (3, 2) float32 on rank 0, absent on rank 1; ")
    assert text.endswith("; …")
    assert text.count("on rank 0") == 3


def test_a_parameter_without_a_shape_can_be_described():
    assert of_model(nn.LazyLinear(2))["weight of the model"] == "without a shape yet float32"
