"""`Learner.predict`, whatever a model returns."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

import lehr
from lehr import Callback, CancelBatch, CancelFit, DataBunch, Learner
from lehr.base.nested import tensors_in
from lehr.callbacks import Device
from lehr.testing import tiny_learner

X = torch.arange(64.0)[:, None] * torch.tensor([1.0, -1.0, 0.5])  # item i is a multiple of i
LOADER = [(x, y) for x, y in zip(X.split(8), torch.arange(64).split(8), strict=True)]
Both = namedtuple("Both", ["first", "second"])


@dataclass
class Output:
    logits: torch.Tensor
    loss: torch.Tensor | None = None
    cache: object = None


class Cache:
    def __init__(self, keys):
        self.keys = keys


class Returns(nn.Module):
    """Returns what a function makes of the input; it has a layer, so that it can be audited."""

    def __init__(self, made):
        super().__init__()
        self.body, self.made = nn.Linear(3, 3), made
        nn.init.eye_(self.body.weight)
        nn.init.zeros_(self.body.bias)

    def forward(self, x):
        return self.made(self.body(x))


def predicted(made, data=LOADER, callbacks=(), **options):
    return tiny_learner(list(callbacks), model=Returns(made)).predict(data, **options)


def detector(y):
    return [{"boxes": row.expand(int(row[0]) % 5, 3), "score": row[0]} for row in y]


def jagged(y):
    return torch.nested.as_nested_tensor(
        [row.expand(int(row[0]) % 3 + 1, 3) for row in y], layout=torch.jagged
    )


def test_one_dict_for_each_item_gives_one_list_of_all_items():
    pred = predicted(detector)
    assert [int(entry["score"]) for entry in pred] == list(range(64))
    assert [len(entry["boxes"]) for entry in pred] == [i % 5 for i in range(64)]
    assert [int(e["score"]) for e in predicted(detector, LOADER[:1])] == list(range(8))


def test_a_detector_that_takes_a_list_of_images_returns_one_list_of_all_items():
    class Detector(Returns):
        def forward(self, images):
            return [entry for image in images for entry in self.made(self.body(image[None]))]

    batches = [((list(x),), [{"label": label} for label in y]) for x, y in LOADER]
    pred, targets = tiny_learner(model=Detector(detector)).predict(batches, targets=True)
    assert [int(entry["score"]) for entry in pred] == list(range(64))
    assert [int(target["label"]) for target in targets] == list(range(64))


@pytest.mark.parametrize(
    "made",
    [
        lambda y: (y, y.mean()),
        lambda y: Output(y, y.mean(), Cache(y)),
        lambda y: {"logits": y, "more": {"loss": [y.mean(), y], "none": None}},
        lambda y: Both(y, (y, None)),
        lambda y: [y, y[:, None, :].expand(-1, 2, -1)],
    ],
)
def test_all_outputs_of_a_model_are_joined_in_its_own_nesting(made):
    def flat(value):
        return torch.cat([t.flatten() for t in tensors_in(value) if t.ndim > 1])

    pred = predicted(made)
    assert type(pred) is type(made(X))
    assert torch.equal(flat(pred), flat(made(X)))
    assert not torch.equal(flat(pred), flat(made(X.flip(0))))


def test_numbers_and_objects_come_once_for_each_batch():
    pred = predicted(lambda y: Output(y, y[0, 0], Cache(y)))
    assert pred.loss.tolist() == [0.0, 8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 56.0]
    assert [int(cache.keys[0, 0]) for cache in pred.cache] == [0, 8, 16, 24, 32, 40, 48, 56]
    assert predicted(lambda y: (y, None))[1] is None


def test_distributions_come_once_for_each_batch():
    pred = predicted(lambda y: torch.distributions.Normal(y, 1.0))
    assert torch.equal(torch.cat([each.mean for each in pred]), X)
    means = predicted(
        lambda y: torch.distributions.Normal(y, 1.0), select=lambda normal: normal.mean
    )
    assert torch.equal(means, X)


def test_ragged_outputs_are_a_list_of_items():
    pred = predicted(lambda y: y[:, None].expand(-1, int(y[0, 0]) + 1, -1))
    assert [int(item[0, 0]) for item in pred] == list(range(64))
    assert [len(item) for item in pred[::8]] == [1, 9, 17, 25, 33, 41, 49, 57]


def test_packed_and_nested_sequences_hold_all_items():
    packed = predicted(
        lambda y: pack_sequence([r.expand(int(r[0]) % 3 + 1, 3) for r in y], enforce_sorted=False)
    )
    for items in (unpack_sequence(packed), predicted(jagged).unbind()):
        assert [int(item[0, 0]) for item in items] == list(range(64))
        assert [len(item) for item in items] == [i % 3 + 1 for i in range(64)]


@pytest.mark.parametrize(
    ("made", "dtype"),
    [(lambda y: y.bfloat16(), torch.bfloat16), (lambda y: torch.complex(y, -y), torch.complex64)],
)
def test_dtypes_stay_and_everything_is_on_the_cpu(made, dtype):
    pred = predicted(made, callbacks=[Device("cpu")])
    assert (pred.dtype, pred.device.type) == (dtype, "cpu")
    assert torch.equal(pred, made(X))


@pytest.mark.filterwarnings("ignore:Sparse (CSR|invariant)")
def test_sparse_outputs_are_joined_or_refused_in_words():
    assert torch.equal(predicted(lambda y: y.to_sparse()).to_dense(), X)
    with pytest.raises(TypeError, match=r"^the prediction is a tensor of layout .*_csr.*to_dense"):
        predicted(lambda y: y.to_sparse_csr())


def test_a_batch_of_another_structure_is_named():
    def made(y):
        return {"a": y} if y[0, 0] < 24 else {"b": y}

    match = r"^the prediction is \{a: .*\} in batch 0, but \{b: .*\} in batch 3: .*select="
    with pytest.raises(ValueError, match=match):
        predicted(made)
    assert predicted(made, select=lambda out: next(iter(out.values()))).shape == (64, 3)


def test_a_loader_without_batches_is_an_error_in_words():
    with pytest.raises(ValueError, match=r"^data has no batches"):
        predicted(lambda y: y, [])


# select and targets ------------------------------------------------------------------------------


def test_a_part_can_be_selected_before_it_is_kept():
    pred = predicted(lambda y: Output(y, cache=(i for i in y)), select=lambda out: out.logits)
    assert torch.equal(pred, X)
    assert predicted(lambda y: Output(y), X, select=lambda out: out.logits[:, 0]).shape == (64,)


def test_targets_come_with_their_predictions():
    pred, targets = predicted(lambda y: y, targets=True)
    assert torch.equal(pred[:, 0].long(), targets)
    assert targets.tolist() == list(range(64))
    ragged = [(x, x[:, :1].expand(-1, i + 1)) for i, (x, _) in enumerate(LOADER)]
    assert [int(t[0]) for t in predicted(lambda y: y, ragged, targets=True)[1]] == list(range(64))


def test_where_there_are_no_targets_the_batch_is_named():
    match = r"^batch 2 has no targets to return\. Leave targets=True out, or give .*\(xb, yb\)"
    with pytest.raises(ValueError, match=match):
        predicted(lambda y: y, [*LOADER[:2], LOADER[2][0]], targets=True)
    with pytest.raises(ValueError, match=r"^batch 0 has no targets"):
        predicted(lambda y: y, X, targets=True)


def test_a_selection_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match=r"^select must be a function"):
        predicted(lambda y: y, select="logits")


def test_callbacks_that_wrap_the_prediction_take_part_before_the_selection():
    class Doubles(Callback):
        def predict(self, run, proceed):
            proceed()
            run.pred = Output(run.pred * 2)

    pred = predicted(lambda y: y, callbacks=[Doubles()], select=lambda out: out.logits)
    assert torch.equal(pred, X * 2)


# weight, summary, audit --------------------------------------------------------------------------


def test_a_weight_that_counts_targets_is_asked_where_there_are_some():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(20, 8), nn.Linear(8, 3)

        def forward(self, ids):
            return self.out(self.embed(ids)).transpose(1, 2)

    ids = torch.randint(20, (32, 6), generator=torch.Generator().manual_seed(1))
    labels = torch.where(ids > 2, ids % 3, -100)
    batches = [
        {"ids": x, "labels": y} for x, y in zip(ids.split(12), labels.split(12), strict=True)
    ]
    asked = []

    def weight(run):
        asked.append(run.yb is not None)
        return int((run.yb != -100).sum())

    model = Tagger()
    learn = Learner(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        F.cross_entropy,
        DataBunch(batches, batches),
        split_batch=lambda batch: ({"ids": batch["ids"]}, batch["labels"]),
        weight=weight,
        progress=False,
    )
    whole = F.cross_entropy(model(ids), labels).item()
    assert learn.validate()["valid_loss"] == pytest.approx(whole, rel=1e-6)
    assert asked == [True] * 3
    assert learn.predict({"ids": ids}).shape == (32, 3, 6)
    pred, targets = learn.predict(batches, targets=True)
    assert torch.equal(pred, model(ids).detach())
    assert torch.equal(targets, labels)
    assert asked == [True] * 3
    learn.split_batch = lambda batch: ({"ids": batch["ids"]}, None)
    assert learn.predict(batches).shape == (32, 3, 6)
    assert learn.summary().output == "(12, 3, 6)"
    assert asked == [True] * 3


OUTPUTS = {
    "a dict for each item": lambda y: detector(y.detach().clone()) + [{"boxes": y}],
    "a number": lambda y: (y, y.mean()),
    "a lone number": lambda y: y.mean(),
    "none": lambda y: (y, None),
    "a dataclass": lambda y: Output(y),
    "a cache": lambda y: {"logits": y, "cache": Cache(y)},
    "a distribution": lambda y: torch.distributions.Normal(y, 1.0),
    "a packed sequence": lambda y: pack_sequence(list(y[:, None])),
    "a nested tensor": jagged,
    "a sparse tensor": lambda y: y.to_sparse(),
    "nothing": lambda y: [],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_model_is_summed_up_and_audited_whatever_it_returns(name):
    model = Returns(OUTPUTS[name])
    learn = tiny_learner(model=model, data=DataBunch(LOADER))
    learn.loss_func = lambda pred, yb: model.body.weight.sum()
    assert [layer.name for layer in learn.summary().layers] == ["body"]
    assert learn.audit().sites[0].kind == "linear"
    sites = lehr.audit(model, LOADER[0]).sites
    assert sites[0].kind == "linear"
    measured = name not in ("a lone number", "a distribution", "a nested tensor", "nothing")
    assert (sites[-1].role == "output") == (measured and name != "a sparse tensor")


def test_predictions_in_a_shuffled_order_without_their_targets_are_warned_of():
    learn = tiny_learner()
    shuffled = learn.data.train_dl
    with pytest.warns(
        UserWarning, match=r"loader that shuffles.*Give .* or targets=True"
    ) as caught:
        learn.predict(shuffled)
    assert caught[0].filename == __file__
    learn.predict(shuffled, targets=True)  # no warning, which would be an error here
    learn.predict(learn.data.valid_dl)


class Leaves(Callback):
    """Cancels or stops in the second batch."""

    evaluates = True

    def __init__(self, event, do):
        self.event, self.do = event, do

    def begin_batch(self, run):
        if self.event == "begin_batch" and run.batch_index == 1:
            self.do(run)

    def after_batch(self, run):
        if self.event == "after_batch" and run.batch_index in (1, 7):
            self.do(run)


def cancel(kind):
    def do(run):
        raise kind("enough")

    return do


@pytest.mark.parametrize(
    ("event", "do", "told"),
    [
        ("begin_batch", cancel(CancelBatch), "left out 1 of the batches, which a callback canc"),
        ("begin_batch", cancel(CancelFit), "left out 1 of the batches"),
        ("after_batch", cancel(CancelFit), "was cut short by a callback: enough"),
        ("after_batch", lambda run: run.stop("enough"), "was cut short by a callback: enough"),
    ],
)
def test_predictions_are_of_all_items_or_there_are_none(event, do, told):
    learn = tiny_learner([Leaves(event, do)])
    with pytest.raises(ValueError, match=f"^predict {told}"):
        learn.predict(LOADER)


def test_a_batch_that_is_cancelled_when_it_was_predicted_is_there():
    learn = tiny_learner([Leaves("after_batch", cancel(CancelBatch))])
    assert torch.equal(learn.predict(LOADER), tiny_learner().predict(LOADER))


def test_who_stops_in_the_last_batch_leaves_nothing_out():
    learn = tiny_learner([Leaves("after_batch", lambda run: run.stop("enough"))])
    whole = tiny_learner().predict(LOADER[:2])
    assert torch.equal(learn.predict(LOADER[:2]), whole)
