"""One test for each sentence; where torch itself refuses the step, it is asked to."""

import re
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import DataBunch, Learner
from lehr.callbacks import Device
from lehr.loop.hints import hints, warn_of_broadcast, without_gradients
from lehr.testing import tiny_learner

MODEL = nn.Linear(2, 3)
XB, PRED = torch.zeros(4, 2), torch.zeros(4, 3)
META = torch.device("meta")


def for_target(pred, yb):
    """The one hint about a prediction and a target."""
    (hint,) = hints(MODEL, XB, yb, pred, None)
    return hint


def for_loss(loss):
    """The one hint about a loss."""
    (hint,) = hints(MODEL, XB, torch.zeros(4).long(), PRED, loss)
    return hint


# Devices ----------------------------------------------------------------------------------------


def test_a_batch_on_another_device_than_the_model():
    xb = XB.to(META)
    with pytest.raises(RuntimeError, match="device"):
        MODEL(xb)
    assert hints(MODEL, xb, None, None, None) == [
        "The model is on cpu, the batch on meta: they must be on one device. Move the model with "
        "model.to(device) and each batch in a begin_batch callback."
    ]


def test_a_model_on_another_device_than_the_batch():
    model = nn.Linear(2, 3, device=META)
    with pytest.raises(RuntimeError, match="device"):
        model(XB)
    (hint,) = hints(model, {"x": [XB]}, (XB, None), None, None)
    assert hint.startswith("The model is on meta, the batch on cpu: ")


def test_a_model_and_a_batch_that_are_each_on_two_devices():
    model = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1, device=META)])
    (hint,) = hints(model, XB, None, None, None)
    assert hint.startswith("The model is on cpu, meta, the batch on cpu: ")
    (hint,) = hints(MODEL, XB, torch.zeros(4, device=META), None, None)
    assert hint.startswith("The model is on cpu, the batch on cpu, meta: ")


def test_a_wrong_device_is_named_beside_a_wrong_loss():
    found = hints(MODEL, XB.to(META), None, None, 0.5)
    assert [hint[:12] for hint in found] == ["The model is", "loss_func, o"]


# Losses -----------------------------------------------------------------------------------------


def test_a_loss_that_is_a_number():
    loss = F.mse_loss(MODEL(XB), PRED).item()
    with pytest.raises(AttributeError, match="backward"):
        loss.backward()
    assert for_loss(loss) == (
        "loss_func, or a callback that set run.loss, gave float, not a tensor: without a graph "
        "nothing can be learnt. Compute the loss with torch operations and give the tensor."
    )


def test_a_loss_that_is_no_single_number():
    loss = F.mse_loss(MODEL(XB), PRED, reduction="none")
    with pytest.raises(RuntimeError, match="scalar"):
        loss.backward()
    assert for_loss(loss) == (
        "loss_func, or a callback that set run.loss, gave a tensor of shape (4, 3); it must be one "
        "number. Reduce it, e.g. with .mean() or reduction='mean'."
    )


def test_a_loss_without_a_graph():
    loss = F.mse_loss(MODEL(XB).detach(), PRED)
    with pytest.raises(RuntimeError, match="does not require grad"):
        loss.backward()
    assert for_loss(loss) == (
        "loss_func, or a callback that set run.loss, gave a tensor without a graph: no parameter "
        "can learn from it. Do not detach it or build it from .item(), and check that the model's "
        "parameters require gradients."
    )


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_loss_that_can_be_learnt_from_needs_no_hint(shape):
    loss = F.mse_loss(MODEL(XB), PRED).reshape(shape)
    loss.backward()
    assert hints(MODEL, XB, PRED, PRED, loss) == []


# Predictions and targets ------------------------------------------------------------------------


def test_predictions_and_targets_of_different_length():
    yb = torch.zeros(5).long()
    with pytest.raises(ValueError, match="batch_size"):
        F.cross_entropy(PRED, yb)
    assert for_target(PRED, yb) == (
        "pred has shape (4, 3), yb (5,): they differ in the number of items. Check the model's "
        "last layers."
    )


def test_labels_with_a_dimension_too_many():
    yb = torch.zeros(4, 1).long()
    with pytest.raises(RuntimeError, match="target"):
        F.cross_entropy(PRED, yb)
    assert for_target(PRED, yb) == (
        "pred has shape (4, 3), yb (4, 1): class labels must have shape (batch,). Use "
        "yb.squeeze(1)."
    )
    F.cross_entropy(PRED, yb.squeeze(1))  # as the hint says
    assert hints(MODEL, XB, yb.squeeze(1), PRED, None) == []


@pytest.mark.parametrize(("labels", "low", "high"), [([0, 1, 2, 3], 0, 3), ([-1, 0, 1, 2], -1, 2)])
def test_labels_out_of_range(labels, low, high):
    yb = torch.tensor(labels)
    with pytest.raises(IndexError, match="out of bounds"):
        F.cross_entropy(PRED, yb)
    assert for_target(PRED, yb) == (
        f"yb holds labels from {low} to {high}, pred has 3 classes: labels must lie in 0 to 2. "
        "Check the labels, or give the model more outputs."
    )


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.bool])
def test_labels_of_another_type(dtype):
    yb = torch.tensor([0, 1, 0, 1]).to(dtype)
    with pytest.raises(RuntimeError, match="type"):
        F.cross_entropy(PRED, yb)
    assert (
        for_target(PRED, yb) == f"yb is {dtype}; class labels must be torch.int64. Use yb.long()."
    )
    F.cross_entropy(PRED, yb.long())  # as the hint says
    assert hints(MODEL, XB, yb.long(), PRED, None) == []


def test_numbers_of_another_shape():
    pred, yb = torch.full((4, 3), 0.5), torch.zeros(4, 2)
    with pytest.raises(ValueError, match="size"):
        F.binary_cross_entropy(pred, yb)
    assert for_target(pred, yb) == (
        "pred has shape (4, 3), yb (4, 2): a loss between numbers needs equal shapes. Reshape one "
        "of them."
    )


def test_numbers_of_another_type():
    pred, yb = torch.zeros(4), torch.zeros(4).long()
    with pytest.raises(RuntimeError, match="type"):
        F.binary_cross_entropy_with_logits(pred, yb)
    assert for_target(pred, yb) == (
        "pred is torch.float32, yb torch.int64: make them alike, e.g. yb.to(pred.dtype)."
    )
    F.binary_cross_entropy_with_logits(pred, yb.to(pred.dtype))  # as the hint says
    assert hints(MODEL, XB, yb.to(pred.dtype), pred, None) == []


def test_numbers_of_another_precision():
    pred, yb = torch.zeros(4, 1), torch.zeros(4, 1).double()
    assert for_target(pred, yb).startswith("pred is torch.float32, yb torch.float64: make them")
    assert hints(MODEL, XB, yb, pred.double(), None) == []


# Nothing wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pred", "yb"),
    [
        (PRED, torch.tensor([0, 1, 2, 0])),
        (PRED, torch.tensor([0, 1, 2, 0], dtype=torch.uint8)),
        (PRED, PRED),
        (torch.zeros(4), torch.zeros(4)),
        (torch.zeros(2, 3, 5, 5), torch.zeros(2, 5, 5).long()),
        (torch.zeros(0, 3), torch.zeros(0).long()),
        (torch.zeros(()), torch.zeros(())),
        (PRED, None),
        (None, torch.zeros(9)),
    ],
)
def test_what_looks_right_needs_no_hint(pred, yb):
    assert hints(MODEL, XB, yb, pred, None) == []


def test_a_model_without_parameters_and_a_batch_without_tensors_are_on_no_device():
    assert hints(nn.Flatten(), XB.to(META), None, None, None) == []
    assert hints(MODEL, "text", None, None, None) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_one_output_against_a_row_of_targets(dtype):
    pred, yb = torch.zeros(4, 1), torch.zeros(4, dtype=dtype)
    with pytest.raises(ValueError, match="size"):
        F.binary_cross_entropy_with_logits(pred, yb.float())
    hint = for_target(pred, yb)
    assert "Use pred.squeeze(1), or yb.unsqueeze(1), and the same dtype." in hint


def test_the_label_that_is_ignored_is_in_range():
    yb = torch.tensor([0, -100, 1])
    assert hints(MODEL, XB, yb, torch.zeros(3, 2), None) == []
    assert "labels must lie in 0 to 1" in for_target(torch.zeros(3, 2), yb + 1)


def test_numbers_where_labels_or_other_numbers_are_wanted():
    yb = torch.zeros(4)
    with pytest.raises(RuntimeError, match="size of tensor"):
        (torch.zeros(4, 3) - yb).square().mean()
    hint = for_target(torch.zeros(4, 3), yb)
    assert "class labels must be torch.int64 (use yb.long()); numbers need equal shapes" in hint


@pytest.mark.parametrize(
    ("xb", "text"),
    [
        (torch.zeros(4, 2, dtype=torch.float64), "xb is torch.float64, the model's parameters are"),
        (torch.zeros(4, 2, dtype=torch.uint8), "xb is torch.uint8, as images often are"),
    ],
)
def test_an_input_of_another_type_than_the_model(xb, text):
    with pytest.raises(RuntimeError, match="dtype"):
        MODEL(xb)
    (hint,) = hints(MODEL, xb, None, None, None)
    assert hint.startswith(text)


def test_labels_on_another_device_are_not_read():
    yb = torch.zeros(3, dtype=torch.int64, device="meta")
    assert hints(nn.Sequential(), None, yb, torch.zeros(3, 2, device="meta"), None) == []


def test_a_silent_broadcast_is_warned_of():
    for pred, yb in ((torch.zeros(8, 1), torch.zeros(8)), (torch.zeros(8), torch.zeros(8, 1))):
        with pytest.warns(UserWarning, match=r"would broadcast them to \(8, 8\). Use (pred|yb).sq"):
            warn_of_broadcast(pred, yb)
    warn_of_broadcast(torch.zeros(8, 1), torch.zeros(8, 1))
    warn_of_broadcast(torch.zeros(8, 3), torch.zeros(8))
    warn_of_broadcast(torch.zeros(8, 1), torch.zeros(8, dtype=torch.int64))
    warn_of_broadcast(None, None)


@pytest.mark.parametrize(
    ("pred", "yb", "text"),
    [
        ((PRED, None), torch.zeros(4), "a tuple of 2, … loss_func=lambda out, yb: f(out[0], yb)."),
        ([PRED], None, "a list of 1, as the model returned it. … loss_func=lambda out: f(out[0])."),
        ({"logits": PRED}, PRED, "a dict with 'logits', … =lambda out, yb: f(out['logits'], yb)."),
    ],
)
def test_an_output_of_several_things_is_to_be_selected_from(pred, yb, text):
    start, end = text.split(" … ")
    hint = for_target(pred, yb)
    assert hint.startswith(f"pred is {start}")
    assert hint.endswith(end)


def test_an_output_of_nothing_or_of_something_else_needs_no_hint():
    for pred in ((), {}, object()):
        assert hints(MODEL, XB, torch.zeros(4), pred, None) == []


def test_gradients_that_are_off_are_named_where_they_were_missed():
    error = RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    run = types.SimpleNamespace(training=False, plan=types.SimpleNamespace(valid_grad=False))
    (hint,) = without_gradients(error, run)
    assert hint.endswith("give the Learner valid_grad=True.")
    assert without_gradients(RuntimeError("out of memory"), run) == []
    assert without_gradients(ValueError(str(error)), run) == []
    run.plan.valid_grad = True
    assert without_gradients(error, run) == []
    run.plan.valid_grad, run.training = False, True
    assert without_gradients(error, run) == []


def test_arrays_of_numpy_are_told_how_to_become_tensors():
    x, y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)
    words = (
        r"{} holds a numpy\.ndarray of shape {}: models and losses take tensors\. Let the loader "
        r"make them, as torch\.utils\.data\.DataLoader does by itself, or the Learner: "
        r"split_batch=lambda b: \(torch\.as_tensor\(b\[0\]\), torch\.as_tensor\(b\[1\]\)\)\."
    )

    def fit(*batch, callbacks=(), **arguments):
        tiny_learner(callbacks, data=DataBunch([batch]), **arguments).fit(1)

    for callbacks in ([], [Device("cpu")]):
        with pytest.raises(TypeError, match=words.format("xb", r"\(4, 3\)")):
            fit(x, y, callbacks=callbacks)
    with pytest.raises(TypeError, match=words.format("yb", r"\(4,\)")):
        fit(torch.zeros(4, 3), y)
    nested = {"input": x}
    model = nn.Linear(3, 2)
    own = words.partition("split_batch")[0].format("xb", r"\(4, 3\)") + (
        r"split_batch=lambda b: \(\{'input': torch\.as_tensor\(b\[0\]\['input'\]\)\}, "
        r"torch\.as_tensor\(b\[1\]\)\)\."
    )
    with pytest.raises(TypeError, match=own):
        fit(nested, torch.zeros(4), model=model)
    with pytest.raises(TypeError, match=words.format("xb", r"\(4, 3\)")):
        tiny_learner().predict([(x, y)])
    fit(x, y, split_batch=lambda b: (torch.as_tensor(b[0]), torch.as_tensor(b[1])))


def test_of_dicts_of_arrays_the_hint_has_the_keys():
    x, y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)
    batch = {"input": x, "label": y}
    words = (
        "split_batch=lambda b: ({'input': torch.as_tensor(b['input'])}, "
        "torch.as_tensor(b['label']))"
    )
    with pytest.raises(TypeError, match=re.escape(words)):
        tiny_learner(model=nn.Linear(3, 2), data=DataBunch([batch])).fit(1)
    split = eval(words.partition("=")[2])
    tiny_learner(model=nn.Linear(3, 2), data=DataBunch([batch]), split_batch=split).fit(1)
    (said,) = hints(MODEL, [x, None, 3], None, None, None, batch=[x, None, 3])
    assert said.endswith("split_batch=lambda b: ((torch.as_tensor(b[0]), None, b[2]), None).")
    (said,) = hints(MODEL, x, None, None, None, batch=None)
    assert said.endswith("or the Learner: split_batch=, a function that calls torch.as_tensor.")
    (said,) = hints(MODEL, (x,), None, None, None, batch=[x])
    assert said.endswith("split_batch=lambda b: ((torch.as_tensor(b[0]),), None).")


def test_a_target_that_is_one_number_is_told_to_be_an_item():
    def fit(*batch):
        tiny_learner(data=DataBunch(lambda: iter([batch]))).fit(1)

    words = r"yb is one int, not a tensor: does the loader give single items\? Wrap the data set: t"
    with pytest.raises(TypeError, match=words):
        fit(torch.zeros(3), 1)
    with pytest.raises(RuntimeError) as caught:
        fit(torch.zeros(4, 7), torch.zeros(4))
    assert "single items" not in "".join(caught.value.__notes__)


def test_one_item_that_is_left_for_a_norm_is_told_how_to_be_left_out():
    items = torch.utils.data.TensorDataset(torch.randn(9, 2), torch.zeros(9).long())
    loader = torch.utils.data.DataLoader(items, batch_size=4)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    learn = Learner(model, opt, F.cross_entropy, DataBunch(loader, loader), progress=False)
    with pytest.raises(ValueError, match="more than 1 value per channel") as failed:
        learn.fit(1)
    notes = "\n".join(failed.value.__notes__)
    assert "training batch 2" in notes
    assert "give the training loader drop_last=True, or another batch_size." in notes


# The order of a loss function's arguments ---------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        *(F.cross_entropy, F.nll_loss, F.multi_margin_loss),
        lambda pred, yb: -pred.log_softmax(1).gather(1, yb[:, None]).mean(),
    ],
)
def test_a_loss_that_takes_the_target_first_is_told_so(loss):
    with pytest.raises((RuntimeError, IndexError)) as raised:
        tiny_learner(loss_func=lambda target, pred: loss(pred, target), rehearsal=False).fit(1)
    notes = "\n".join(raised.value.__notes__)
    assert "loss_func is called as loss_func(pred, yb), the prediction first, and fails." in notes
    assert "write loss_func=lambda pred, yb: f(yb, pred)." in notes
    advised = tiny_learner(loss_func=lambda pred, yb: (lambda t, p: loss(p, t))(yb, pred))
    assert advised.fit(1).n_steps == 4


def test_a_loss_that_fails_either_way_is_not_said_to_be_the_wrong_way_round():
    def fails(pred, yb):
        raise RuntimeError("mine")

    for loss in (fails, lambda pred, yb: fails(pred, yb) if pred.ndim == 2 else None):
        with pytest.raises(RuntimeError, match="mine") as raised:
            tiny_learner(loss_func=loss, rehearsal=False).fit(1)
        assert "prediction first" not in "\n".join(raised.value.__notes__)
