"""The three kinds of metrics, each over one pass."""

import re
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassPrecision

from lehr import DataBunch, Learner, on, whole
from lehr.record.metrics import Meter, MetricObject, accuracy, meters
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture

PRED = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
TARGET = torch.tensor([0, 1, 1, 2])


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


@pytest.mark.parametrize("shape", [(4, 1), (4,), (4, 1, 2)])
def test_one_number_an_item_has_no_largest_class(shape):
    with pytest.raises(ValueError, match=r"scores of two classes or more.*\(pred > 0\) == yb"):
        accuracy(torch.zeros(shape), torch.zeros(4))


def test_accuracy_of_no_items_is_nan():
    assert accuracy(torch.zeros(0, 3), torch.zeros(0).long()).isnan()


def test_accuracy_leaves_out_what_cross_entropy_leaves_out():
    pred = PRED.t()[None]  # (batch 1, classes, 4 tokens)
    assert accuracy(pred, torch.tensor([[0, 1, -100, -100]])).item() == 1.0
    assert accuracy(pred, torch.tensor([[0, 2, -100, 0]])).item() == pytest.approx(2 / 3)
    assert accuracy(pred, torch.full((1, 4), -100)).isnan()  # as the loss is


def test_accuracy_of_classes_that_come_last_says_how_to_write_it():
    pred, target = PRED.expand(2, 4, 3), TARGET.expand(2, 4)
    with pytest.raises(ValueError, match=r"got \(2, 4, 3\), with the classes last\. Write on\("):
        accuracy(pred, target)
    assert on(accuracy, lambda out: out.movedim(-1, 1)).metric(pred.movedim(-1, 1), target) == 0.5


def test_accuracy_of_several_classes_an_item_says_what_to_write():
    with pytest.raises(ValueError, match=r"of one-hot targets\. If an item may have several"):
        accuracy(PRED, torch.tensor([[1.0, 1.0, 0.0]] * 4))


def test_accuracy_takes_a_byte_of_156_for_a_class():
    pred = torch.zeros(2, 200)
    pred[:, 156] = 1
    assert accuracy(pred, torch.tensor([156, 3], dtype=torch.uint8)).item() == 0.5


def test_accuracy_of_padded_tokens_is_that_of_all_real_ones():
    torch.manual_seed(0)
    batches = []
    for rows, words in ((8, 5), (3, 9), (4, 2)):
        ids = torch.randint(20, (rows, words))
        lengths = torch.randint(1, words + 1, (rows, 1))
        batches.append((ids, (ids % 5).where(torch.arange(words) < lengths, -100)))
    model = nn.Sequential(nn.Embedding(20, 5), _Transpose())
    learn = Learner(
        model,
        torch.optim.SGD,
        nn.functional.cross_entropy,
        DataBunch(batches, batches),
        weight=lambda run: int((run.yb != -100).sum()),
        metrics=[accuracy],
        progress=False,
    )
    hits = torch.cat([(model(x).argmax(1) == y)[y != -100] for x, y in batches])
    assert learn.validate()["accuracy"] == pytest.approx(hits.float().mean().item())


class _Transpose(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)  # (batch, classes, words)


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


def test_a_new_meter_leaves_its_object_as_it_is_until_it_is_reset():
    metric = MulticlassAccuracy(3, average="micro")
    metric.update(PRED, torch.tensor([0, 1, 2, 0]))
    gathered = metric.compute()
    meter = Meter(metric)
    assert metric.compute() == gathered
    meter.reset()
    meter.add(PRED, TARGET, 4)
    assert meter.values() == {"multiclass_accuracy": 0.5}


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
    match = r"^metrics must have different names; got \['accuracy', 'accuracy'\]\. Name them in a "
    for pair in ([accuracy, accuracy], [accuracy, collection]):
        with pytest.raises(ValueError, match=match):
            meters(pair)


def test_one_that_is_no_metric_is_refused_among_others():
    with pytest.raises(TypeError, match="a metric must be a function"):
        meters([accuracy, 3])


def test_a_class_is_no_metric():
    with pytest.raises(TypeError, match=r"a metric must be .*call the class to make an object"):
        Meter(MulticlassAccuracy)


# Vectors, dicts, names ---------------------------------------------------------------------------


def per_class(pred, target):
    hits = pred.argmax(1) == target
    return torch.stack([hits[target == c].float().mean() for c in range(2)])


def test_a_vector_has_a_column_for_each_number():
    meter = Meter(MulticlassAccuracy(3, average=None))
    meter.add(PRED, TARGET, 4)
    assert meter.values() == {
        "multiclass_accuracy_0": 1.0,
        "multiclass_accuracy_1": 0.5,
        "multiclass_accuracy_2": 0.0,
    }
    assert meter.names == ["multiclass_accuracy_0", "multiclass_accuracy_1", *meter.names[2:]]


def test_a_vector_of_a_function_is_averaged_number_by_number():
    meter = Meter(lambda pred, target: [0.0, float(len(pred))], "two")
    meter.add(PRED[:3], TARGET[:3], 3)
    meter.add(PRED[3:], TARGET[3:], 1)
    assert meter.values() == {"two_0": 0.0, "two_1": (3 * 3 + 1) / 4}


def test_a_number_for_each_item_is_refused():
    def hits(pred, target):
        return pred.argmax(1) == target

    match = r"^metric 'hits' returned 4 numbers for a batch of as many items\. If they are "
    with pytest.raises(ValueError, match=match + r"one an item.*write whole\(hits\)"):
        filled(hits, parts=[(0, 4)])
    assert filled(per_class, parts=[(0, 3)]).values()["per_class_1"] == 0.5  # two classes


def test_a_function_returns_the_same_columns_for_every_batch():
    def first(pred, target):
        return {"n": 1.0} if len(pred) == 3 else 1.0

    match = r"^metric 'first' returned first for one batch, and n for another\. .*whole\(first\)"
    with pytest.raises(ValueError, match=match):
        filled(first)


def test_a_dict_has_a_column_for_each_key():
    def both(pred, target):
        return {"Low": 0.0, "high": 1}

    assert filled(both).values() == {"low": 0.0, "high": 1.0}
    named = Meter(both, "my")
    named.add(PRED, TARGET, 4)
    assert named.values() == {"my_low": 0.0, "my_high": 1.0}
    assert named.names == ["my_low", "my_high"]


def test_names_are_given_in_a_dict():
    made = meters({"first": accuracy, "second": accuracy, "top5": MulticlassAccuracy(3)})
    assert [m.names for m in made] == [["first"], ["second"], ["top5"]]
    collection = MetricCollection([MulticlassAccuracy(3)])
    assert meters({"my": collection})[0].names == ["my_multiclass_accuracy"]
    assert meters([collection])[0].names == ["multiclass_accuracy"]  # the control


@pytest.mark.parametrize("name", [1, "", None])
def test_a_name_is_a_text(name):
    with pytest.raises(TypeError, match=rf"^the names of metrics must be texts; got {name!r}\."):
        meters({name: accuracy})


def test_metrics_are_a_list_or_a_dict():
    with pytest.raises(TypeError, match=r"^metrics must be a list or a dict; got .*\{\"name\""):
        meters(accuracy)


# What is called as it wants to be ---------------------------------------------------------------


class Gathers:
    def update(self, pred, target): ...
    def compute(self): ...
    def reset(self): ...


class NoReset:
    def update(self, pred, target): ...
    def compute(self): ...


class OneArgument(Gathers):
    def update(self, output): ...


class ComputesOf(Gathers):
    def compute(self, device): ...


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            NoReset,
            r"^the metric NoReset has update and compute, but no reset:",
        ),
        (
            OneArgument,
            r"^OneArgument\.update is called with \(pred, target\); it takes \(output\)",
        ),
        (
            ComputesOf,
            r"^ComputesOf\.compute is called with no arguments; it takes \(device\)",
        ),
        (
            lambda: lambda pred: 0,
            r"^the metric <lambda> is called with \(pred, target\); ",
        ),
    ],
)
def test_a_metric_that_cannot_be_called_says_so_at_once(make, match):
    with pytest.raises(TypeError, match=match):
        Meter(make())
    assert Meter(Gathers()).names == ["gathers"]  # the control


def roc_auc_score(y_true, y_score, *, average="macro"):
    return 0.5


def test_a_function_around_a_metric_that_is_no_mean_is_averaged_with_a_warning():
    def auc(pred, target):
        return functional.binary_auroc(pred, target)

    functional = pytest.importorskip("torchmetrics.functional.classification")
    match = r"^the metric auc calls binary_auroc, a function of a whole set; .* Write whole\(auc\)"
    with pytest.warns(UserWarning, match=match):
        Meter(auc)
    with pytest.warns(UserWarning, match=r"^binary_auroc is a function of a whole set; .* Write w"):
        Meter(functional.binary_auroc)
    with warnings.catch_warnings():  # the control
        warnings.simplefilter("error")
        Meter(whole(auc))
        Meter(lambda pred, target: functional.binary_accuracy(pred, target))


def test_a_function_that_takes_the_targets_first_is_not_averaged():
    match = r"^roc_auc_score takes the targets first, as .* Write whole\(roc_auc_score\): it is "
    for metric in (roc_auc_score, partial(roc_auc_score, average=None)):
        with pytest.raises(TypeError, match=match):
            Meter(metric)
        with pytest.raises(TypeError, match=match):
            Meter(on(metric, lambda out: out))
        assert Meter(whole(metric)).names == ["roc_auc_score"]


def test_what_a_metric_was_given_is_in_its_error():
    meter = Meter(on(accuracy, lambda out: out["logits"]))
    with pytest.raises(KeyError) as caught:
        meter.add({"scores": PRED}, TARGET, 4)
    assert caught.value.__notes__ == [
        "The metric 'accuracy' was given pred: {scores: (4, 3) float32 cpu}; target: (4,) int64 "
        "cpu."
    ]


@pytest.mark.parametrize("name", ["epoch", "valid_loss", "loss"])
def test_a_metric_cannot_take_a_name_of_the_recorders(name):
    def metric(pred, target):
        return pred.mean()

    metric.__name__ = name
    with pytest.raises(ValueError, match=f"a metric cannot be named '{name}'"):
        meters([metric])


# State ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: top_two, lambda: MulticlassAccuracy(3, average="micro")])
def test_a_meter_goes_on_as_if_it_had_never_been_kept(make):
    whole, first, second = filled(make()), filled(make(), parts=[(0, 3)]), filled(make())
    state = capture({"it": first})["it"]
    second.load_state_dict(state)
    assert first_difference(state, capture({"it": second})["it"]) is None
    assert second.values() != whole.values()  # the control
    second.add(PRED[3:], TARGET[3:], 1)
    assert second.values() == whole.values()


def test_what_more_processes_have_gathered_than_there_are_is_refused():
    one = filled(MulticlassAccuracy(3)).state_dict()["object"]
    with pytest.raises(ValueError, match=r"that of 2 processes, and cannot be had by 1\. Go on wi"):
        Meter(MulticlassAccuracy(3)).load_state_dict({"each": {0: one, 1: one}})


def test_what_another_process_has_gathered_is_not_had_twice():
    kept = filled(accuracy).state_dict()
    other = Meter(accuracy)
    other.load_state_dict(kept, rank=1)
    assert other.values() == {"accuracy": None}
    other.load_state_dict(kept)
    assert other.values() != {"accuracy": None}


def test_an_object_that_does_not_let_itself_be_kept_says_so():
    class TopTwo:
        def update(self, pred, target): ...
        def compute(self): ...
        def reset(self): ...

    match = r"^what the metric 'top_two' has gathered cannot be kept: TopTwo has no state_dict"
    meter = Meter(TopTwo())
    with pytest.raises(TypeError, match=match + r" and load_state_dict\. Give it both, or measure"):
        meter.state_dict()
    with pytest.raises(TypeError, match=match):
        meter.load_state_dict({})


@pytest.mark.parametrize(
    "target", [torch.zeros(4, 1), torch.eye(4), torch.zeros(1), torch.zeros(())]
)
def test_accuracy_refuses_targets_that_would_be_broadcast(target):
    match = r"^target must have one class index for each of \(4,\) predictions; got shape \("
    with pytest.raises(ValueError, match=match):
        accuracy(torch.eye(4), target.long())
    assert accuracy(torch.eye(4), torch.arange(4)) == 1


def test_one_object_in_two_metrics_is_refused():
    class Counts:
        def update(self, pred, target): ...

        def compute(self):
            return 1.0

        def reset(self): ...

    one = Counts()
    with pytest.raises(ValueError, match="one metric object is there twice, as 'a' and as 'b'"):
        meters({"a": on(one, lambda out: out), "b": one})
    assert len(meters({"a": Counts(), "b": Counts(), "c": accuracy, "d": accuracy})) == 4
