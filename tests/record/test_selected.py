"""A metric of a part of the output."""

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from lehr import accuracy, on, whole
from lehr.record.metrics import Meter

OUT = {"logits": torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), "hidden": torch.zeros(3, 7)}
TARGET = {"label": torch.tensor([0, 1, 1])}


def share(pred, target):
    assert pred.shape == (3, 2)
    return accuracy(pred, target)


@pytest.mark.parametrize(
    "metric",
    [accuracy, MulticlassAccuracy(2, average="micro"), whole(share)],
    ids=["function", "torchmetrics", "whole"],
)
def test_every_kind_of_metric_sees_what_is_selected(metric):
    meter = Meter(on(metric, lambda out: out["logits"], target=lambda yb: yb["label"]))
    meter.reset()
    meter.add(OUT, TARGET, 3)
    assert list(meter.values().values()) == [pytest.approx(2 / 3)]
    assert meter.names == Meter(metric).names
    other = Meter(on(metric, lambda out: out["logits"].flip(1), target=lambda yb: yb["label"]))
    other.reset()
    other.add(OUT, TARGET, 3)
    assert list(other.values().values()) == [pytest.approx(1 / 3)]  # the control


def test_a_selection_of_a_selection_is_made_from_outside_in():
    inner = on(accuracy, lambda out: out["logits"])
    meter = Meter(on(inner, lambda out: out[0], target=lambda yb: yb["label"]), "acc")
    meter.add((OUT, None), TARGET, 3)
    assert meter.values() == {"acc": pytest.approx(2 / 3)}


def test_the_object_inside_is_what_a_meter_measures_with():
    metric = MulticlassAccuracy(2)
    assert Meter(on(metric, lambda out: out)).metric is metric  # so that it goes to the device


def test_what_selects_is_a_function():
    with pytest.raises(TypeError, match=r"^on takes a function that selects; got none"):
        on(accuracy)
    with pytest.raises(TypeError, match=r"^select must be a function; got 'logits'\. Write"):
        on(accuracy, "logits")
    with pytest.raises(TypeError, match=r"^target must be a function; got 0\. Write"):
        on(accuracy, target=0)
