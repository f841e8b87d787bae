"""What metric objects have gathered can be kept, whatever they are made of."""

import pytest
import torch
import torchmetrics
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
    MulticlassPrecision,
)
from torchmetrics.wrappers import ClasswiseWrapper, MinMaxMetric, Running

from lehr.record.metric_state import TorchMetricState, metric_entry
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture, restore

MAKES = {
    "sums": lambda: MulticlassAccuracy(3, average="macro"),
    "lists": lambda: MulticlassAUROC(3, thresholds=None),
    "window": lambda: Running(torchmetrics.SumMetric(), window=3),
    "wrapped": lambda: ClasswiseWrapper(MulticlassAccuracy(3, average=None)),
    "extremes": lambda: MinMaxMetric(MulticlassAccuracy(3)),
    "sum": lambda: MulticlassAccuracy(3) + MulticlassF1Score(3),
    "group": lambda: torchmetrics.MetricCollection(
        [MulticlassPrecision(3), MulticlassF1Score(3), MulticlassAUROC(3, thresholds=None)]
    ),
    "no group": lambda: torchmetrics.MetricCollection(
        [MulticlassPrecision(3), MulticlassF1Score(3)], compute_groups=False
    ),
}


def batches(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n):
        yield (
            torch.rand(8, 3, generator=generator).softmax(1),
            torch.randint(3, (8,), generator=generator),
        )


def fill(metric, some):
    for pred, target in some:
        metric.update(*((pred[:, 0].sum(),) if isinstance(metric, Running) else (pred, target)))
    return metric


def kept(metric):
    return capture({"it": metric_entry(metric)})


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
@pytest.mark.parametrize("used", [False, True])
def test_it_goes_on_as_if_it_had_never_been_kept(make, used):
    first, second = fill(make(), batches(5)), make()
    if used:  # to go back is the same as to go on
        fill(second, batches(9, seed=7))
        second.compute()
    state = kept(first)
    restore({"it": metric_entry(second)}, state)
    assert first_difference(state, kept(second)) is None
    for metric in (first, second):
        fill(metric, batches(4, seed=1))
    assert first_difference(kept(first), kept(second)) is None
    assert first_difference(state, kept(second)) is not None  # the control
    for metric in (first, second):
        fill(metric, batches(1, seed=2))
    assert first_difference(first.compute(), second.compute()) is None
    assert first_difference(fill(make(), batches(5, seed=2)).compute(), second.compute())


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_it_can_be_read_at_once(make):
    first, second = fill(make(), batches(5)), make()
    restore({"it": metric_entry(second)}, kept(first))
    assert first_difference(first.compute(), second.compute()) is None


def test_what_torchmetrics_itself_would_keep_is_nothing():
    assert not fill(MAKES["sums"](), batches(2)).state_dict()


def test_objects_of_ones_own_keep_themselves_or_cannot_be_kept():
    class Own:
        def state_dict(self):
            return {}

        def load_state_dict(self, state_dict): ...

    own = Own()
    assert metric_entry(own) is own
    assert metric_entry(object()) is None
    assert isinstance(metric_entry(MAKES["sums"]()), TorchMetricState)


def test_the_state_of_another_metric_is_refused():
    state = kept(MAKES["sums"]())["it"]
    for name in ("lists", "group"):
        with pytest.raises(ValueError, match=r"the state is not one of this M\w+. Make the metric"):
            metric_entry(MAKES[name]()).load_state_dict(state)
