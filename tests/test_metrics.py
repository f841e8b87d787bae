"""Means that are right for unequal batches, and the three kinds of metrics."""

import math
import re

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassPrecision

from lehr.metrics import Mean, Meter, MetricObject, accuracy, meters

PRED = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
TARGET = torch.tensor([0, 1, 1, 2])


def mean_of(*pairs):
    mean = Mean()
    for value, weight in pairs:
        mean.add(value, weight)
    return mean.value


# accuracy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"), [([0, 1, 2, 0], 1.0), ([0, 1, 1, 2], 0.5), ([1, 2, 0, 1], 0.0)]
)
def test_accuracy_is_the_share_of_hits(target, expected):
    assert accuracy(PRED, torch.tensor(target)).item() == expected


def test_accuracy_of_pixels_counts_every_pixel():
    pred = PRED.t().reshape(1, 3, 2, 2)  # batch, classes, height, width
    assert accuracy(pred, TARGET.reshape(1, 2, 2)).item() == 0.5


def test_ties_go_to_the_first_class():
    assert accuracy(torch.ones(2, 3), torch.tensor([0, 1])).item() == 0.5


def test_accuracy_of_no_items_is_nan():
    assert accuracy(torch.zeros(0, 3), torch.zeros(0).long()).isnan()


# Mean -------------------------------------------------------------------------------------------


def test_nothing_counted_is_none():
    assert mean_of() is None
    assert mean_of((3.0, 0)) is None


def test_values_count_by_their_weight():
    assert mean_of((1.0, 3), (5.0, 1)) == 2.0
    assert mean_of((1.0, 1), (5.0, 1)) == 3.0  # what an unweighted mean would say


@pytest.mark.parametrize("kind", [float, torch.tensor])
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_weighs_nothing_adds_nothing_and_what_weighs_something_shows(kind, odd):
    assert mean_of((kind(odd), 0), (kind(2.0), 4)) == 2.0
    assert not math.isfinite(mean_of((kind(odd), 1), (kind(2.0), 4)))


def test_a_mean_can_be_read_and_added_to_again():
    mean = Mean()
    mean.add(1.0, 1)
    assert (mean.value, mean.value) == (1.0, 1.0)
    mean.add(torch.tensor(4.0), 2)
    assert (mean.value, mean.weight) == (3.0, 3)


@pytest.mark.parametrize("n", [255, 256, 257, 513])
def test_folding_loses_nothing(n):
    pairs = [(float(i), 1 + i % 3) for i in range(n)]
    expected = sum(v * w for v, w in pairs) / sum(w for _, w in pairs)
    assert mean_of(*pairs) == pytest.approx(expected, rel=1e-14)
    tensors = [(torch.tensor(v), w) for v, w in pairs]
    assert mean_of(*tensors) == pytest.approx(expected, rel=1e-14)


def test_sums_are_kept_in_double_precision():
    n = 3000
    mean = mean_of(*((torch.tensor(0.1), 1) for _ in range(n)))
    single = torch.zeros(())
    for _ in range(n):
        single += torch.tensor(0.1)
    exact = torch.tensor(0.1).double().item()
    assert abs(mean - exact) < 1e-12
    assert abs(single.item() / n - exact) > 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_values_of_any_type_are_averaged(dtype):
    assert mean_of((torch.tensor(2, dtype=dtype), 1), (torch.tensor(4, dtype=dtype), 3)) == 3.5


def test_adding_never_reads_a_value_from_its_device():
    mean = Mean()
    for _ in range(600):
        mean.add(torch.zeros((), device="meta"), 8)  # cannot be read
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        mean.value


def test_the_mean_has_no_graph():
    weight = torch.ones((), requires_grad=True)
    mean = Mean()
    mean.add(weight * 2, 1)
    assert mean.value == 2.0
    assert not mean.total.requires_grad


# Meter ------------------------------------------------------------------------------------------


def top_two(pred, target):
    return (pred.topk(2).indices == target[:, None]).any(1).float().mean()


def filled(metric, *, parts=((0, 3), (3, 4))):
    meter = Meter(metric)
    for start, end in parts:
        meter.add(PRED[start:end], TARGET[start:end], end - start)
    return meter


def test_a_function_is_averaged_by_items_under_its_own_name():
    assert filled(top_two).names == ["top_two"]
    assert filled(top_two).values() == {"top_two": 0.75}
    meter = Meter(top_two)
    meter.add(PRED[:3], TARGET[:3], 1)  # weighed alike, batches of 3 and 1 would give another value
    meter.add(PRED[3:], TARGET[3:], 1)
    assert meter.values()["top_two"] != 0.75


def test_a_function_may_return_a_number():
    def half(pred, target):
        return 0.5

    assert filled(half).values() == {"half": 0.5}


def test_a_callable_object_is_named_after_its_class():
    class TopTwo:
        def __call__(self, pred, target):
            return top_two(pred, target)

    assert filled(TopTwo()).values() == {"top_two": 0.75}


def test_a_torchmetrics_object_gathers_by_itself():
    metric = MulticlassAccuracy(3, average="macro")  # the mean over classes is no mean over batches
    meter = filled(metric)
    assert isinstance(metric, MetricObject)
    assert meter.names == ["multiclass_accuracy"]
    assert meter.values() == {"multiclass_accuracy": pytest.approx((1 + 1 / 2 + 0) / 3)}
    one_by_one = filled(metric, parts=[(i, i + 1) for i in range(4)])
    assert one_by_one.values() == pytest.approx(meter.values())


def test_a_collection_has_several_names():
    chosen = {"acc": MulticlassAccuracy(3, average="micro"), "Prec": MulticlassPrecision(3)}
    meter = filled(MetricCollection(chosen))
    assert sorted(meter.names) == ["acc", "prec"]
    assert sorted(meter.values()) == ["acc", "prec"]
    assert meter.values()["acc"] == 0.5
    assert meter.values()["prec"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_a_collection_keeps_its_prefix():
    meter = filled(MetricCollection([MulticlassAccuracy(3)], prefix="my_"))
    assert meter.names == ["my_multiclass_accuracy"]
    assert meter.values().keys() == {*meter.names}


@pytest.mark.parametrize("make", [lambda: top_two, lambda: MulticlassAccuracy(3, average="micro")])
def test_a_reset_forgets_everything(make):
    meter = filled(make())
    before = meter.values()
    meter.reset()
    meter.add(PRED[3:], TARGET[3:], 1)
    assert [*meter.values().values()] == [0.0]
    assert before != meter.values()


def test_a_new_meter_forgets_what_its_object_had_gathered():
    metric = MulticlassAccuracy(3, average="micro")
    metric.update(PRED, torch.tensor([0, 1, 2, 0]))
    assert filled(metric).values() == {"multiclass_accuracy": 0.5}


def test_a_function_that_counted_nothing_has_no_value():
    assert Meter(accuracy).values() == {"accuracy": None}
    meter = Meter(accuracy)
    meter.add(torch.zeros(0, 3), torch.zeros(0).long(), 0)
    assert meter.values() == {"accuracy": None}


class NotAnObject:
    def __call__(self, pred, target):
        return 0.0


@pytest.mark.parametrize("metric", ["accuracy", 3, None, NotAnObject])
def test_what_is_neither_is_refused(metric):
    match = (
        r"^a metric must be a function \(pred, target\) -> tensor or a torchmetrics object; got "
        + re.escape(repr(metric))
    )
    with pytest.raises(TypeError, match=match + r"\. Pass e\.g\. metrics=\[accuracy\], or call"):
        Meter(metric)


def test_every_metric_has_its_meter():
    assert [m.names for m in meters([accuracy, top_two])] == [["accuracy"], ["top_two"]]
    assert meters([]) == []


def test_metrics_of_one_name_are_refused():
    collection = MetricCollection({"accuracy": MulticlassAccuracy(3)})
    match = r"^metrics must have different names; got \['accuracy', 'accuracy'\]\. Set __name__ of "
    for pair in ([accuracy, accuracy], [accuracy, collection]):
        with pytest.raises(ValueError, match=match):
            meters(pair)


def test_one_that_is_no_metric_is_refused_among_others():
    with pytest.raises(TypeError, match="a metric must be a function"):
        meters([accuracy, 3])


def test_a_class_is_no_metric():
    with pytest.raises(TypeError, match=r"a metric must be .*call the class to make an object"):
        Meter(MulticlassAccuracy)


def test_a_metric_is_one_number():
    meter = Meter(MulticlassAccuracy(3, average=None))
    meter.add(torch.eye(3), torch.arange(3), 3)
    with pytest.raises(ValueError, match=r"'multiclass_accuracy' gave a tensor of shape \(3,\)"):
        meter.values()


def test_adding_keeps_no_graph():
    mean = Mean()
    value = torch.ones((), requires_grad=True) * 2
    mean.add(value, 1)
    assert not mean._pending[0].requires_grad


@pytest.mark.parametrize("name", ["epoch", "valid_loss", "loss"])
def test_a_metric_cannot_take_a_name_of_the_recorders(name):
    def metric(pred, target):
        return pred.mean()

    metric.__name__ = name
    with pytest.raises(ValueError, match=f"a metric cannot be named '{name}'"):
        meters([metric])


def test_a_metric_that_is_no_number_is_refused_where_it_is_added():
    with pytest.raises(ValueError, match=r"a mean is over numbers; got a tensor of shape \(3,\)"):
        Mean().add(torch.zeros(3), 3)
