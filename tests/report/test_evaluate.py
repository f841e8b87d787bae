import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lehr import Callback, DataBunch, accuracy
from lehr.report import evaluate
from lehr.report.classes import mistakes
from lehr.report.evaluate import first_loader, probabilities
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def trained(**kwargs):
    learn = tiny_learner(metrics=[accuracy], **kwargs)
    learn.fit(1)
    return learn


def reference(learn):
    xb, yb = (torch.cat(parts) for parts in zip(*learn.data.valid_dl, strict=True))
    return xb, yb, learn.predict(learn.data.valid_dl)


def test_it_says_what_the_predictions_say():
    learn = trained(items=200)
    evaluation = evaluate(learn)
    _, yb, pred = reference(learn)
    guess = pred.argmax(1)
    for truth in range(2):
        for given in range(2):
            count = int(((yb == truth) & (guess == given)).sum())
            assert int(evaluation.confusion[truth, given]) == count
    assert evaluation.loss == pytest.approx(F.cross_entropy(pred, yb).item(), rel=1e-6)
    assert evaluation.accuracy == pytest.approx(learn.validate()["accuracy"])
    assert torch.equal(evaluation.truth, yb.int())
    assert torch.equal(evaluation.predicted, guess.int())
    assert evaluation.confusion.dtype == torch.int64


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_the_worst_mistakes_come_first_and_no_other_is_worse(k):
    learn = trained(items=200)
    evaluation = evaluate(learn, k=k)
    _, yb, pred = reference(learn)
    chances = pred.double().softmax(1)
    wrong = (pred.argmax(1) != yb).nonzero().flatten().tolist()
    assert len(wrong) > 5
    ranked = sorted(wrong, key=lambda i: chances[i, yb[i]].item())[:k]
    assert [mistake.index for mistake in evaluation.mistakes] == ranked
    for mistake in evaluation.mistakes:
        assert mistake.truth == yb[mistake.index] != mistake.predicted
        assert mistake.p_truth == pytest.approx(chances[mistake.index, mistake.truth].item())
        assert mistake.p_predicted == pytest.approx(1 - mistake.p_truth)
        assert mistake.picture is None
        assert mistake.text.count(",") == 2  # three numbers


def entries(learn):
    return capture(learn.state_entries())


def foreign_data():
    x = torch.randn(20, 3)
    ds = TensorDataset(x, (x.sum(1) > 0).long())
    generator = torch.Generator().manual_seed(1)
    return DataBunch(DataLoader(ds), DataLoader(ds, 4, shuffle=True, generator=generator), c=2)


class Counting(Callback):
    """Takes part in evaluations and remembers them in its state."""

    evaluates = True

    def __init__(self):
        self.batches = 0

    def begin_batch(self, run):
        self.batches += 1

    def state_dict(self):
        return {"batches": self.batches}

    def load_state_dict(self, state_dict):
        self.batches = state_dict["batches"]


@pytest.mark.parametrize("foreign", [False, True])
def test_it_leaves_no_trace(foreign):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    learn = trained(model=model, callbacks=[Counting()])
    if foreign:
        learn.data = foreign_data()
    learn.model[1].eval()
    callbacks, metrics, run = list(learn.callbacks), list(learn.metrics), learn.run
    before = entries(learn)
    assert evaluate(learn).items > 0
    assert first_difference(before, entries(learn)) is None
    assert (learn.callbacks, learn.metrics, learn.run) == (callbacks, metrics, run)
    learn.callbacks[0].batches += 1  # the control: the entries are seen to change
    assert first_difference(before, entries(learn)) is not None


class Cached(nn.Module):
    """Has buffers that change in evaluation mode as well, and new ones."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("cache", torch.zeros(1), persistent=False)

    def forward(self, x):
        self.seen += 1
        self.cache = x.clone()
        self.register_buffer("new", torch.ones(1))
        return self.inner(x)


def test_buffers_that_change_in_evaluation_mode_are_as_before():
    learn = tiny_learner(model=Cached())
    before, seen = entries(learn), learn.model.seen
    assert evaluate(learn).items > 0
    assert first_difference(before, entries(learn)) is None
    assert learn.model.seen is seen
    assert not hasattr(learn.model, "new")
    learn.model(torch.zeros(1, 3))  # the control
    assert first_difference(before, entries(learn)) is not None


def test_no_parameter_is_copied():
    learn = trained(
        model=nn.Sequential(nn.Linear(3, 1000), nn.BatchNorm1d(1000), nn.Linear(1000, 2))
    )
    cloned, clone = [], torch.Tensor.clone

    def count(tensor, **kwargs):
        cloned.append(tensor.data_ptr())
        return clone(tensor, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "clone", count)
        evaluate(learn)
    assert learn.model[1].running_mean.data_ptr() in cloned
    assert not {p.data_ptr() for p in learn.model.parameters()} & set(cloned)


def test_an_optimizers_state_that_a_device_moves_comes_back_with_the_model():
    class Moves(Callback):
        evaluates = True

        def begin_fit(self, run):
            run.model.to(torch.float64)
            for state in run.opt.state.values():
                state["exp_avg"] = state["exp_avg"].double()

        def begin_batch(self, run):
            run.xb = run.xb.double()

    learn = tiny_learner(opt=torch.optim.Adam, seed=0)
    learn.fit(1)
    before = entries(learn)
    learn.callbacks.append(Moves())
    assert evaluate(learn).items > 0
    learn.callbacks.pop()
    assert first_difference(before, entries(learn)) is None


def test_an_untrained_learner_without_a_seed():
    learn = tiny_learner(seed=None)
    before = entries(learn)
    assert evaluate(learn).items == 16
    assert first_difference(before, entries(learn)) is None


def with_data(valid, c=2, **kwargs):
    learn = tiny_learner(**kwargs)
    learn.data = SimpleNamespace(train_dl=learn.data.train_dl, valid_dl=valid, c=c)
    return learn


X = torch.randn(4, 3)


@pytest.mark.parametrize(
    ("valid", "c"),
    [
        (None, 2),
        ([(X, torch.zeros(4, dtype=torch.long))], None),
        ([(X, torch.zeros(4, dtype=torch.long))], 3),  # the model gives 2
        ([(X, torch.zeros(4, dtype=torch.long))], 5000),
        ([(X, torch.zeros(4, 2))], 2),
        ({}, 2),
    ],
)
def test_none_where_nothing_is_classified(valid, c):
    assert evaluate(with_data(valid, c)) is None


def test_none_for_data_without_c_or_predictions_of_another_shape():
    learn = tiny_learner()
    learn.data = SimpleNamespace(train_dl=[], valid_dl=[(X, torch.zeros(4).long())])
    assert evaluate(learn) is None
    model = nn.Sequential(nn.Linear(3, 2), nn.Unflatten(1, (2, 1)))
    xy = [(X, torch.zeros(4, dtype=torch.long))]
    learn = with_data(xy, model=model, loss_func=lambda pred, yb: pred.sum())
    assert evaluate(learn) is None


def test_other_errors_are_not_swallowed():
    learn = with_data([(torch.randn(4, 7), torch.zeros(4, dtype=torch.long))])
    with pytest.raises(RuntimeError, match="shape"):
        evaluate(learn)


def test_items_without_a_label_of_a_class_are_left_out():
    y = torch.tensor([0, -100, 1, 1])
    evaluation = evaluate(with_data([(X, y), (X, y)]))
    assert evaluation.items == 6
    assert evaluation.confusion.sum(1).tolist() == [2, 4]
    assert {m.index for m in evaluation.mistakes} <= {0, 2, 3, 4, 6, 7}


def test_nan_is_the_worst_of_all():
    x = X.clone()
    x[2] = float("nan")
    evaluation = evaluate(with_data([(x, torch.ones(4, dtype=torch.long))]))
    assert evaluation.loss is None
    assert evaluation.mistakes[0].index == 2
    assert evaluation.mistakes[0].p_truth is None


def images(channels=1):
    x = torch.zeros(4, channels, 2, 3)
    x[:, :, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]
    model = nn.Sequential(nn.Flatten(), nn.Linear(6 * channels, 2))
    nn.init.zeros_(model[1].weight)
    model[1].bias.data = torch.tensor([1.0, 0.0])
    return model, [(x, torch.tensor([0, 1, 0, 1]))]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_without_a_preparation(channels):
    model, valid = images(channels)
    evaluation = evaluate(with_data(valid, model=model))
    assert [mistake.index for mistake in evaluation.mistakes] == [1, 3]
    picture = evaluation.mistakes[0].picture
    assert picture.shape == (2, 3, 3)
    assert picture[0, 0].tolist() == [255] * 3
    assert picture.sum() == 3 * 255


def test_pictures_words_and_names_from_the_preparation():
    model, valid = images()
    learn = with_data(valid, model=model)
    learn.data.preparation = SimpleNamespace(
        picture=lambda x: None, in_words=lambda x: f"first {x.max().item():g}"
    )
    learn.data.classes = ("cat", "dog")
    evaluation = evaluate(learn)
    assert evaluation.classes == ("cat", "dog")
    assert [mistake.text for mistake in evaluation.mistakes] == ["first 2", "first 4"]
    learn.data.classes = ("only one",)  # no names for two classes
    assert evaluate(learn).classes == ("0", "1")


class OfTwo(nn.Module):
    """Knows what it gets by name, or by place; always says that it is a cat."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, size, photo):
        return self.scores.expand(len(size), 2)


def two_inputs(form, photo):
    size = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    inputs = form(size, photo)
    return with_data([(inputs, torch.tensor([0, 1, 0, 1]))], model=OfTwo())


FORMS = {"dict": lambda size, photo: {"size": size, "photo": photo}, "tuple": lambda *both: both}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_of_several_inputs_the_first_image_is_shown(form):
    photo = torch.zeros(4, 1, 2, 3)
    photo[:, :, 0, 0] = 1
    learn = two_inputs(form, photo)
    learn.data.preparation = SimpleNamespace(picture=None, in_words=None)  # they are of one input
    evaluation = evaluate(learn)
    assert [mistake.index for mistake in evaluation.mistakes] == [1, 3]
    for mistake in (*evaluation.mistakes, *evaluation.right):
        assert mistake.picture[..., 0].tolist() == [[255, 0, 0], [0, 0, 0]]
        assert mistake.text == ""


def test_several_inputs_that_are_no_images_are_in_words_and_come_back_from_the_disk(tmp_path):
    evaluation = evaluate(two_inputs(FORMS["dict"], torch.arange(8).reshape(4, 2)))
    words = [mistake.text for mistake in evaluation.mistakes]
    assert words == ["size 2; photo 2 3", "size 4; photo 6 7"]
    assert [item.text for item in evaluation.right] == ["size 1; photo 0 1"]
    evaluation.save(tmp_path)
    assert evaluation.load(tmp_path).mistakes == evaluation.mistakes
    assert "size 2; photo 2 3" in mistakes(evaluation)
    by_place = evaluate(two_inputs(FORMS["tuple"], torch.arange(8).reshape(4, 2)))
    assert by_place.mistakes[0].text == "2; 2 3"


def test_inputs_of_unlike_lengths_are_known_by_their_number():
    learn = two_inputs(FORMS["dict"], torch.zeros(3))
    evaluation = evaluate(learn)
    assert [(item.index, item.text, item.picture) for item in evaluation.mistakes] == [
        (1, "", None),
        (3, "", None),
    ]


def test_single_predictions_are_not_kept_for_too_many(monkeypatch):
    monkeypatch.setattr(sys.modules["lehr.report.evaluate"], "MOST_LABELS", 10)
    evaluation = evaluate(tiny_learner())
    assert (evaluation.items, evaluation.truth, evaluation.predicted) == (16, None, None)


def test_first_loader():
    assert first_loader(None) is None
    assert first_loader([1]) == [1]
    assert first_loader({}) is None


def test_probabilities_of_log_probabilities():
    chances = torch.tensor([[0.2, 0.8], [0.5, 0.5]], dtype=torch.float64)
    assert torch.allclose(probabilities(chances.log()), chances)
    assert torch.equal(probabilities(chances), chances)
    assert not torch.allclose(probabilities(chances + 1), chances)  # scores, not probabilities


def test_items_are_called_by_their_names_where_the_loader_is_in_order():
    learn = trained(items=200)
    learn.data.valid_ds.names = "people.csv:{}".format
    evaluation = evaluate(learn)
    assert {m.name for m in evaluation.mistakes} == {
        f"people.csv:{m.index}" for m in evaluation.mistakes
    }
    learn.data.valid_dl = list(learn.data.valid_dl)
    assert {m.name for m in evaluate(learn).mistakes} == {""}


def test_of_each_class_the_first_item_that_was_right_is_kept():
    learn = trained(items=200)
    evaluation = evaluate(learn)
    _, yb, pred = reference(learn)
    right = pred.argmax(1) == yb
    first = {
        c: int((right & (yb == c)).nonzero()[0]) for c in range(2) if (right & (yb == c)).any()
    }
    assert {item.truth: item.index for item in evaluation.right} == first
    for item in evaluation.right:
        assert item.predicted == item.truth
        assert item.p_truth == item.p_predicted > 0.5
