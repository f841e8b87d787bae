"""Where nobody has said how, a batch is split by what the model's forward takes."""

import copy
from collections import UserDict
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import DataBunch, Learner
from lehr.callbacks import Device
from lehr.loop.losses import FromOutput
from lehr.loop.splitting import splitter
from lehr.testing import tiny_learner


def model_of(forward):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(3, 2)

    Model.forward = forward
    return Model()


def plain(self, ids, mask=None):
    return self.net(ids) if mask is None else self.net(ids) * mask


def with_labels(self, ids, labels=None):
    return self.net(ids)


def anything(self, **batch):
    return self.net(batch["ids"])


def forwards(self, ids, **kwargs):
    return self.net(ids)


BOTH, ALONE = F.cross_entropy, FromOutput("loss")
IDS = {"ids": 1}

CASES = {
    "every key is a parameter": (plain, BOTH, {"ids": 1, "mask": 2}, ({"ids": 1, "mask": 2}, None)),
    "a target that forward does not take": (plain, BOTH, {"ids": 1, "labels": 2}, (IDS, 2)),
    "also if the loss is in the output": (plain, ALONE, {"ids": 1, "label": 2}, (IDS, 2)),
    "a target that forward takes, too": (
        with_labels,
        BOTH,
        {"ids": 1, "labels": 2},
        ({"ids": 1, "labels": 2}, 2),
    ),
    "labels go along where the loss is in the output": (
        with_labels,
        ALONE,
        {"ids": 1, "labels": 2},
        ({"ids": 1, "labels": 2}, 2),
    ),
    "one target is the model's, the other the loss's": (
        with_labels,
        BOTH,
        {"ids": 1, "labels": 2, "y": 3},
        ({"ids": 1, "labels": 2}, 3),
    ),
    "any names, but not the target's": (anything, BOTH, {"ids": 1, "z": 2, "y": 3}, None),
    "any names, and the target's": (forwards, ALONE, {"ids": 1, "labels": 3}, None),
    "None is a value": (plain, BOTH, {"ids": 1, "mask": None, "y": None}, None),
}
EXPECTED = {
    "any names, but not the target's": ({"ids": 1, "z": 2}, 3),
    "any names, and the target's": ({"ids": 1, "labels": 3}, 3),
    "None is a value": ({"ids": 1, "mask": None}, None),
}


@pytest.mark.parametrize("kind", [dict, UserDict])
@pytest.mark.parametrize("case", CASES)
def test_a_dict_goes_to_the_model_by_name(case, kind):
    forward, loss_func, batch, expected = CASES[case]
    split = splitter(model_of(forward), loss_func)
    xb, yb = split(kind(batch))
    assert (xb, yb) == (expected or EXPECTED[case])
    assert type(xb) is dict
    again = kind(batch)
    assert split(again) == (xb, yb)
    assert again == kind(batch)


def test_two_batches_of_other_keys_are_each_split_by_their_own():
    split = splitter(model_of(plain), BOTH)
    assert split({"ids": 1, "y": 2}) == ({"ids": 1}, 2)
    assert split({"ids": 1, "mask": 3}) == ({"ids": 1, "mask": 3}, None)


REFUSED = [
    (
        plain,
        BOTH,
        {"ids": 1, "text": 2, "y": 3},
        r"keys 'ids', 'text', 'y', but forward has no parameter 'text': it takes "
        r"\(ids, mask=None\)",
    ),
    (plain, BOTH, {"ids": 1, "y": 2, "label": 3}, "and any of 'y' and 'label' could be the target"),
    (plain, ALONE, {"ids": 1, "text": 2}, "no parameter 'text'.*Give the Learner split_batch="),
    (lambda self, *x: x, BOTH, {"ids": 1}, r"no parameter 'ids': it takes \(\*x\)"),
    (lambda self, ids, /: ids, BOTH, {"ids": 1}, r"no parameter 'ids': it takes \(ids, /\)"),
    (plain, BOTH, (1, 2, 3), "must be a pair .* got tuple of 3"),
    (plain, BOTH, None, "must be a pair .* got None"),
]


@pytest.mark.parametrize(
    ("loss_func", "batch", "example"),
    [
        (BOTH, {"ids": 1, "text": 2, "y": 3}, "({'ids': b['ids']}, b['y'])"),
        (
            BOTH,
            {"mask": 0, "ids": 1, "genre": 2},
            "({'mask': b['mask'], 'ids': b['ids']}, b['genre'])",
        ),
        (BOTH, {"image": 1, "genre": 2, "label": 3}, "(b['image'], b['label'])"),
        (BOTH, {"ids": 1, "y": 2, "label": 3}, "({'ids': b['ids']}, b['y'])"),
        (ALONE, {"ids": 1, "text": 2}, "({'ids': b['ids']}, None)"),
        (BOTH, {"text": 1}, "(b['text'], b['text'])"),
    ],
)
def test_the_example_has_the_keys_of_the_batch(loss_func, batch, example):
    with pytest.raises(TypeError) as refused:
        splitter(model_of(plain), loss_func)(batch)
    assert str(refused.value).endswith(f"e.g. lambda b: {example}.")
    code = f"lambda b: {example}"
    assert len(eval(code)(batch)) == 2


@pytest.mark.parametrize(("forward", "loss_func", "batch", "text"), REFUSED)
def test_what_cannot_be_told_is_refused_with_names(forward, loss_func, batch, text):
    with pytest.raises(TypeError, match=text):
        splitter(model_of(forward), loss_func)(batch)


def test_where_the_loss_takes_no_target_several_are_none():
    split = splitter(model_of(plain), ALONE)
    assert split({"ids": 1, "y": 2, "label": 3}) == ({"ids": 1}, None)


PLACES = [
    (2, BOTH, (1, 2), (1, 2)),
    (1, BOTH, [1, 2], (1, 2)),
    (1, BOTH, [1], (1, None)),
    (2, BOTH, (1, 2, 3), ((1, 2), 3)),
    (2, BOTH, [1, 2, 3], ((1, 2), 3)),
    (3, BOTH, [1, 2, 3, None], ((1, 2, 3), None)),
    (2, ALONE, (1, 2), ((1, 2), None)),
    (2, ALONE, (1, 2, 3), ((1, 2), 3)),
    (3, ALONE, [1, 2, 3], ((1, 2, 3), None)),
    (1, ALONE, (1, 2), (1, 2)),
]


@pytest.mark.parametrize(("count", "loss_func", "batch", "expected"), PLACES)
def test_items_in_a_row_go_by_position_if_their_number_says_so(count, loss_func, batch, expected):
    forward = {
        1: lambda self, a, b=0: a,
        2: lambda self, a, b: a,
        3: lambda self, a, b, c: a,
    }[count]
    assert tuple(splitter(model_of(forward), loss_func)(batch)) == expected


def test_what_may_be_left_out_is_never_guessed():
    with pytest.raises(TypeError, match="got list of 3"):
        splitter(model_of(lambda self, a, b=None: a), BOTH)([1, 2, 3])
    with pytest.raises(TypeError, match="got list of 3"):
        splitter(model_of(lambda self, *a: a), BOTH)([1, 2, 3])


# Through a Learner ------------------------------------------------------------------------------


def masked(self, ids, *, mask):
    return self.net(ids * mask)


def dicts(*names, n=3):
    generator = torch.Generator().manual_seed(2)
    made = []
    for _ in range(n):
        ids = torch.randn(8, 3, generator=generator)
        every = {"ids": ids, "mask": torch.ones(3), "labels": (ids.sum(1) > 0).long()}
        made.append({name: every[name] for name in names})
    return made


def wrapped(kind):
    model = model_of(masked)
    if kind == "data parallel":
        return nn.DataParallel(model)
    return torch.compile(model, backend="eager") if kind == "compiled" else model


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["bare", "data parallel", "compiled"])
def test_a_dict_trains_as_the_plain_loop_does_whatever_wraps_the_model(kind):
    torch.manual_seed(0)
    model = wrapped(kind)
    other = copy.deepcopy(model)
    opts = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, other)]
    data = dicts("ids", "mask", "labels")
    learn = Learner(model, opts[0], F.cross_entropy, DataBunch(data, data), progress=False)
    losses = []
    for batch in data:
        loss = F.cross_entropy(other(ids=batch["ids"], mask=batch["mask"]), batch["labels"])
        loss.backward()
        opts[1].step()
        opts[1].zero_grad()
        losses.append(loss.item())
    assert learn.fit(1).history["loss"] == losses
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
    assert learn.predict(data).shape == (24, 2)
    assert learn.predict({"ids": torch.zeros(5, 3), "mask": torch.ones(3)}).shape == (5, 2)
    assert learn.summary().inputs == "ids (8, 3), mask (3)"
    assert learn.audit().loss > 0


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_script_module_is_asked_what_it_takes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(3, 2)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor):
            return self.net(ids * mask)

    scripted = torch.jit.script(Net())
    learn = tiny_learner(model=scripted, data=DataBunch(dicts("ids", "mask", "labels")))
    assert len(learn.fit(1).history["loss"]) == 3


def test_a_model_of_another_kind_is_asked_for_its_call():
    class Functional:
        def __init__(self):
            self.net = nn.Linear(3, 2)

        def __getattr__(self, name):
            return getattr(vars(self)["net"], name)

        def __call__(self, ids):
            return self.net(ids)

    split = splitter(Functional(), BOTH)
    assert split({"ids": 1, "y": 2}) == ({"ids": 1}, 2)


def test_a_dict_on_a_device_is_weighed_by_its_items():
    weights = []
    learn = tiny_learner(
        [Device("cpu")],
        model=model_of(masked),
        data=DataBunch(dicts("mask", "ids", "labels")),
        weight=lambda run: weights.append(len(run.yb)) or weights[-1],
    )
    learn.fit(1)
    assert weights == [8, 8, 8]


def test_another_model_is_asked_anew():
    learn = tiny_learner(model=model_of(plain), data=DataBunch(dicts("ids", "labels")))
    assert learn.split_batch({"ids": 1, "labels": 2}) == ({"ids": 1}, 2)
    learn.model = model_of(with_labels)
    assert learn.split_batch({"ids": 1, "labels": 2}) == ({"ids": 1, "labels": 2}, 2)


def test_a_function_of_the_users_own_is_used_as_it_is():
    def own(batch):
        return batch["ids"], batch["labels"]

    learn = tiny_learner(split_batch=own, data=DataBunch(dicts("ids", "labels")))
    assert learn.split_batch is own
    learn.fit(1)
    learn.split_batch = None
    with pytest.raises(TypeError, match=r"it takes \(input\)"):
        learn.fit(1)


def test_pairs_and_triplets_reach_a_model_of_several_inputs():
    def distance(self, a, b):
        return (self.net(a) - self.net(b)).square().sum(1)

    def three(self, anchor, positive, negative):
        return self.net(anchor), self.net(positive), self.net(negative)

    x = torch.randn(6, 3)
    pairs = tiny_learner(
        model=model_of(distance), loss_func=F.mse_loss, data=DataBunch([(x, x + 1, x[:, 0])])
    )
    assert len(pairs.fit(1).history["loss"]) == 1
    triplets = tiny_learner(
        model=model_of(three),
        loss_func=lambda out: F.triplet_margin_loss(*out),
        data=DataBunch([[x, x + 1, x - 1]]),
    )
    assert len(triplets.fit(1).history["loss"]) == 1


def test_an_item_that_is_none_reaches_the_model():
    learn = tiny_learner(
        [Device("cpu")],
        model=model_of(plain),
        data=DataBunch([((torch.randn(4, 3), None), torch.tensor([0, 1, 0, 1]))]),
    )
    assert len(learn.fit(1).history["loss"]) == 1


def test_a_loss_function_of_one_parameter_takes_labels_along_through_any_names():
    def forward(self, ids, **kwargs):
        logits = self.net(ids)
        return SimpleNamespace(loss=F.cross_entropy(logits, kwargs["labels"]), logits=logits)

    for loss_func in ("loss", lambda out: out.loss):
        learn = tiny_learner(
            model=model_of(forward), loss_func=loss_func, data=DataBunch(dicts("ids", "labels"))
        )
        assert len(learn.fit(1).history["loss"]) == 3
