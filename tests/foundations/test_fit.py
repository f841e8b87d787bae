"""Rung 5: the loop trains, validates with right weights, and leaves nothing behind."""

import os
import statistics
import weakref
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import data
from lehr.foundations.data import Dataset, SliceLoader, get_dls
from lehr.foundations.fit import DataBunch, Learner, fit, get_model, train_batch, validate
from lehr.foundations.losses import cross_entropy
from lehr.foundations.module import Linear, Module
from lehr.foundations.optimizer import Optimizer

NEEDS_MNIST = pytest.mark.skipif("LEHR_DATA" not in os.environ, reason="needs the MNIST files")


@pytest.fixture(scope="module")
def digits() -> DataBunch:
    """Digits as vectors, in slices of 64 and 128: the quickest data with ten classes."""
    bunch = data.digits()
    halves = (Dataset(ds.x.flatten(1), ds.y) for ds in (bunch.train_ds, bunch.valid_ds))
    train_dl, valid_dl = (SliceLoader(ds, bs) for ds, bs in zip(halves, (64, 128), strict=True))
    return DataBunch(train_dl, valid_dl, 10)


@pytest.fixture(scope="module")
def mnist() -> tuple[Dataset, Dataset]:
    """The lesson's 50,000 training and 10,000 validation images, as vectors of raw pixels."""
    bunch = data.mnist(flat=True)
    return tuple(Dataset(ds.x, ds.y) for ds in (bunch.train_ds, bunch.valid_ds))


def learner(bunch: DataBunch, seed: int = 0, **changed) -> Learner:
    torch.manual_seed(seed)
    learn = Learner(*get_model(bunch), cross_entropy, bunch)
    for name, value in changed.items():
        setattr(learn, name, value)
    return learn


def fit_and_lines(learn: Learner, epochs: int = 1):
    lines = []
    return fit(epochs, learn, lines.append), lines


class Fixed(Module):
    """Predicts its input, so that a batch decides its own loss."""

    def forward(self, xb):
        return xb


def weighted(values, sizes) -> float:
    """The validation loss over batches of these sizes, whose losses are these values."""
    batches = [
        (torch.full((n, 2), value), torch.zeros(n, dtype=torch.long))
        for value, n in zip(values, sizes, strict=True)
    ]
    learn = Learner(Fixed(), None, lambda pred, yb: pred.mean(), DataBunch(None, batches))
    return validate(learn)[0]


def test_the_loop_equals_one_written_with_torch(digits):
    learn = learner(digits)
    twin = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))
    twin.load_state_dict(learn.model.state_dict())
    (loss, right), _ = fit_and_lines(learn, 2)
    opt = torch.optim.SGD(twin.parameters(), 0.5)
    for _ in range(2):
        for xb, yb in digits.train_dl:
            F.cross_entropy(twin(xb), yb).backward()
            opt.step()
            opt.zero_grad()
    for p, q in zip(learn.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=2e-4)  # layers round otherwise than torch's
    pred, y = twin(digits.valid_ds.x), digits.valid_ds.y
    assert loss == pytest.approx(F.cross_entropy(pred, y).item(), abs=1e-3)
    assert right == pytest.approx((pred.argmax(1) == y).float().mean().item(), abs=0.006)
    with torch.no_grad():
        twin[2].bias += 0.01
    assert not torch.allclose(twin[2].bias, learn.model[2].bias, rtol=0, atol=2e-4)


def test_the_loss_falls_below_07_only_if_parameters_are_really_updated(digits):
    """Two epochs of the update p -= p.grad * lr bring the loss of digits under 0.7; assigning
    p = p.grad * lr leaves it exactly where it was, above 2.
    """

    class Printed(Optimizer):
        @torch.no_grad()
        def step(self):
            for p in self._parameters():
                p = p.grad * 0.5

    assert fit_and_lines(learner(digits), 2)[0][0] < 0.7
    learn = learner(digits)
    learn.opt = Printed(learn.model.parameters())
    untrained = validate(learn)
    assert fit_and_lines(learn, 2)[0] == untrained
    assert untrained[0] > 2


@pytest.mark.slow
def test_a_guard_on_accuracy_holds_for_nearly_every_seed_and_catches_bugs(digits):
    """At least 99 of 100 seeds get more than 0.7 of the validation digits right after 3 epochs, and
    none does with the step's sign wrong or with shuffled labels.
    """
    assert sum(fit_and_lines(learner(digits, seed), 3)[0][1] > 0.7 for seed in range(100)) >= 99
    train_ds = digits.train_ds
    shuffled = Dataset(train_ds.x, train_ds.y[torch.randperm(len(train_ds))])
    no_labels = DataBunch(SliceLoader(shuffled, 64), digits.valid_dl, 10)

    class Uphill(Optimizer):
        def step(self):
            for p in self._parameters():
                p.grad.neg_()
            super().step()

    for seed in range(5):
        uphill = learner(digits, seed)
        uphill.opt = Uphill(uphill.model.parameters())
        assert not fit_and_lines(uphill, 3)[0][1] > 0.7
        assert not fit_and_lines(learner(no_labels, seed), 3)[0][1] > 0.7


class NeverCleared(Optimizer):
    def zero_grad(self):
        pass


@pytest.mark.slow
@NEEDS_MNIST
def test_the_guard_catches_a_missing_zero_grad_on_mnist(mnist):
    """Never clearing the gradients, at lr 0.5, fails the guard on MNIST that clearing passes."""
    train_ds, valid_ds = mnist
    part = Dataset(*train_ds[:12_800]), Dataset(*valid_ds[:2000])
    bunch = DataBunch(SliceLoader(part[0], 64), SliceLoader(part[1], 128), 10)
    for seed in range(5):
        assert fit_and_lines(learner(bunch, seed))[0][1] > 0.7
        broken = learner(bunch, seed)
        broken.opt = NeverCleared(broken.model.parameters())
        assert not fit_and_lines(broken)[0][1] > 0.7


def test_a_batch_is_five_steps_in_order():
    """Predict, loss, gradients, update, reset: a batch makes exactly these calls, in this order."""
    calls = []

    def note(name, answer=None):
        return lambda *args: (calls.append(name), answer)[1]

    loss = SimpleNamespace(backward=note("gradients"))
    opt = SimpleNamespace(step=note("update"), zero_grad=note("reset"))
    train_batch(None, None, note("predict"), note("loss", loss), opt)
    assert calls == ["predict", "loss", "gradients", "update", "reset"]


class Modes(Module):
    """A model that notes in which mode it was called, and whether gradients were recorded."""

    def __init__(self):
        super().__init__()
        self.layer = Linear(3, 2)
        self.seen = []

    def forward(self, xb):
        self.seen.append((self.training, torch.is_grad_enabled()))
        return self.layer(xb)


def tiny(model, train_batches=2, valid_batches=1) -> Learner:
    xb, yb = torch.rand(4, 3), torch.tensor([0, 1, 0, 1])
    bunch = DataBunch([(xb, yb)] * train_batches, [(xb, yb)] * valid_batches, 2)
    params = list(model.parameters())
    return Learner(model, Optimizer(params, 0.1), cross_entropy, bunch)


def test_the_mode_is_training_in_one_half_and_not_in_the_other():
    """The training flag is up for training batches, down for validation ones without gradients,
    and up again in the next epoch.
    """
    model = Modes()
    fit_and_lines(tiny(model), 2)
    assert model.seen == [(True, True), (True, True), (False, False)] * 2


@pytest.mark.parametrize("switch", [True, False])
def test_validation_drops_nothing_and_updates_no_statistics(switch):
    """In evaluation mode dropout passes everything on and BatchNorm's running statistics stay as
    they are; if the mode were not switched, they would move.
    """
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    if not switch:
        model.eval = lambda: model
    learn = tiny(model)
    fit_and_lines(learn)
    model.train()
    before = model[1].running_mean.clone()
    first, second = validate(learn), validate(learn)
    assert torch.equal(model[1].running_mean, before) is switch
    assert (first == second) is switch


def test_an_epoch_reports_a_line_and_the_last_results_return(digits):
    """A fit of 2 epochs reports 2 lines and returns the last epoch's loss and accuracy; one of
    none trains nothing, reports nothing and returns None.
    """
    learn = learner(digits)
    (loss, right), lines = fit_and_lines(learn, 2)
    assert lines[-1] == f"epoch 1: valid loss {loss:.4f}, accuracy {right:.4f}"
    assert len(lines) == 2
    assert (loss, right) == validate(learn)
    before = learn.model[0].weight.detach().clone()
    assert fit_and_lines(learn, 0) == (None, [])
    assert torch.equal(learn.model[0].weight, before)


def test_a_line_is_printed_by_default(digits, capsys):
    """A fit prints its lines unless it is told what else to do with them."""
    fit(1, learner(digits))
    assert capsys.readouterr().out.startswith("epoch 0: valid loss ")


def test_validation_keeps_no_graph():
    """No prediction of validation records gradients, and none outlives its batch: memory is flat.
    A sum of losses as tensors, outside no_grad, keeps every batch's graph.
    """
    preds, graphs = [], []

    def loss_func(pred, yb):
        preds.append(weakref.ref(pred))
        graphs.append(pred.requires_grad)
        return cross_entropy(pred, yb)

    learn = tiny(Modes(), 1, 50)
    learn.loss_func = loss_func
    validate(learn)
    assert len(preds) == 50
    assert not any(graphs)
    assert not any(pred() is not None for pred in preds)
    total = sum(loss_func(learn.model(xb), yb) for xb, yb in learn.data.valid_dl)
    assert total.requires_grad
    assert all(graphs[50:])


def test_unequal_batches_are_weighted_by_their_size():
    """78 batches of 128 with a loss of 1 and one of 16 with 0 average to 0.9984, not to 78/79 =
    0.98734; 0.6 on 32 items and 0.9 on 2 to 0.617647, not to 0.75.
    """
    assert weighted([1.0] * 78 + [0.0], [128] * 78 + [16]) == pytest.approx(0.9984, abs=1e-7)
    assert statistics.mean([1.0] * 78 + [0.0]) == pytest.approx(0.98734, abs=1e-5)
    assert weighted([0.6, 0.9], [32, 2]) == pytest.approx(0.617647, abs=1e-6)
    assert weighted([0.6, 0.9], [32, 32]) == pytest.approx(0.75, abs=1e-6)


def test_a_validation_without_batches_is_an_error():
    with pytest.raises(ValueError, match="valid_dl must give at least one batch; got none"):
        validate(tiny(Modes(), 1, 0))


def test_what_is_changed_in_a_learner_counts_at_once():
    """The fields of a Learner can be replaced during a fit: the next batch uses the new loss."""
    used = []

    def first(pred, yb):
        used.append("first")
        learn.loss_func = second
        return cross_entropy(pred, yb)

    def second(pred, yb):
        used.append("second")
        return cross_entropy(pred, yb)

    learn = tiny(Modes())
    learn.loss_func = first
    fit_and_lines(learn)
    assert used == ["first", "second", "second"]


def test_a_bunch_leads_to_the_datasets_of_its_loaders(digits):
    """``train_ds`` and ``valid_ds`` are the very datasets of the loaders, and cannot be set."""
    assert digits.train_ds is digits.train_dl.dataset
    assert digits.valid_ds is digits.valid_dl.dataset
    assert digits.train_ds is not digits.valid_ds
    with pytest.raises(AttributeError):
        digits.train_ds = None


def test_get_model_fits_the_data():
    """For vectors of 784 and 10 classes `get_model` makes 784-50-10, and SGD with lr 0.5."""
    ds = Dataset(torch.rand(4, 784), torch.arange(4))
    model, opt = get_model(DataBunch(SliceLoader(ds, 2), None, 10))
    assert [tuple(p.shape) for p in model.parameters()] == [(50, 784), (50,), (10, 50), (10,)]
    assert opt.param_groups[0]["lr"] == 0.5
    wider, opt = get_model(DataBunch(SliceLoader(ds, 2), None, 3), lr=0.1, nh=7)
    assert [tuple(p.shape) for p in wider.parameters()] == [(7, 784), (7,), (3, 7), (3,)]
    assert opt.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(("shape", "c"), [((4, 1, 28, 28), 10), ((4, 784), None)])
def test_get_model_says_what_the_data_lack(shape, c):
    """Images and an unknown number of classes are refused with what would do."""
    ds = Dataset(torch.rand(shape), torch.arange(4))
    with pytest.raises(ValueError, match="data must have vectors as items and say c"):
        get_model(DataBunch(SliceLoader(ds, 2), None, c))


def test_a_learner_runs_nothing_when_it_is_made(digits):
    """Making a Learner calls neither model nor loss nor data; `get_model` fills its first two."""

    def never(*args):
        raise AssertionError("was called")

    model, opt = get_model(digits)
    learn = Learner(never, never, never, never)
    assert learn.model is never
    learn = Learner(*(model, opt), never, digits)
    assert (learn.model, learn.opt) == (model, opt)


def test_the_whole_set_up_takes_few_lines():
    """From four tensors to a trained model in 8 lines, with the number of classes an int."""
    x, y = torch.rand(200, 6), torch.arange(200) % 10
    nh, bs = 50, 64
    train_ds, valid_ds = Dataset(x[:160], y[:160]), Dataset(x[160:], y[160:])
    c = train_ds.y.max().item() + 1
    bunch = DataBunch(*get_dls(train_ds, valid_ds, bs), c)
    learn = Learner(*get_model(bunch, nh=nh), cross_entropy, bunch)
    results = fit(1, learn, report=lambda line: None)
    assert results is not None
    assert c == 10
    assert type(c) is int
    assert type(train_ds.y.max() + 1) is not int  # what leaving out item() gives


def test_a_property_is_read_without_parentheses(digits):
    """``bunch.train_ds`` is the dataset itself, nothing to be called."""
    assert isinstance(digits.train_ds, Dataset)
    assert not callable(digits.train_ds)
    assert isinstance(DataBunch.train_ds, property)


@pytest.mark.slow
@NEEDS_MNIST
def test_an_epoch_over_slices_of_mnist_gets_most_right(mnist):
    """One epoch over the 50,000 images in order, at lr 0.5 and 64 a batch, gets more than 0.9 of
    the validation images right; an untrained model about a tenth.
    """
    bunch = DataBunch(SliceLoader(mnist[0], 64), SliceLoader(mnist[1], 128), 10)
    learn = learner(bunch)
    assert [int(y) for y in mnist[0].y[:5]] == [5, 0, 4, 1, 9]
    assert (len(mnist[0]), len(mnist[1]), mnist[1][0][1].item()) == (50_000, 10_000, 3)
    assert validate(learn)[1] < 0.3
    assert validate(learn)[0] == pytest.approx(2.30, abs=0.05)
    assert fit_and_lines(learn)[0][1] > 0.9
    xb, yb = mnist[0][-16:]
    assert cross_entropy(learn.model(xb), yb) < 0.7


@pytest.mark.slow
@NEEDS_MNIST
def test_torchs_loader_trains_as_well_with_samplers_as_with_defaults(mnist):
    """torch's loader gets more than 0.7 right after an epoch, given samplers or ``shuffle``."""
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    train_ds, valid_ds = Dataset(*mnist[0][:12_800]), mnist[1]
    for make in (
        lambda: DataLoader(
            train_ds, batch_sampler=BatchSampler(RandomSampler(train_ds), 64, False)
        ),
        lambda: DataLoader(train_ds, 64, shuffle=True, drop_last=True),
    ):
        bunch = DataBunch(make(), SliceLoader(valid_ds, 128), 10)
        assert fit_and_lines(learner(bunch))[0][1] > 0.7


@pytest.mark.slow
@pytest.mark.large
@NEEDS_MNIST
def test_five_epochs_of_mnist_end_where_they_were_published(mnist):
    """Five shuffled epochs at lr 0.5 reach more than 0.9 in each, and more than 0.96 in the best;
    published were 0.9664 and 0.9657.
    """
    bunch = DataBunch(*get_dls(*mnist, 64), 10)
    learn = learner(bunch)
    rights = [fit_and_lines(learn)[0][1] for _ in range(5)]
    assert min(rights) > 0.9
    assert max(rights) > 0.96


@pytest.mark.slow
@NEEDS_MNIST
def test_one_epoch_of_mnist_gives_the_published_accuracy(mnist):
    """One epoch at 64 a batch and lr 0.5 gets 0.937 to 0.945 right as published: the median of
    three seeds is not below, and none is above 0.97.
    """
    rights = []
    for seed in range(3):
        torch.manual_seed(seed)
        order = torch.randperm(50_000)
        shuffled = Dataset(*mnist[0][order])
        bunch = DataBunch(SliceLoader(shuffled, 64), SliceLoader(mnist[1], 128), 10)
        rights.append(fit_and_lines(learner(bunch, seed))[0][1])
    assert statistics.median(rights) >= 0.937
    assert max(rights) < 0.97


def test_as_many_steps_on_the_small_digits_get_more_right(digits):
    """34 epochs of the small digits are the 782 steps of one epoch of MNIST: the median of three
    seeds has more than 0.96 right, none less than MNIST's published 0.937. After one epoch of them,
    23 steps, no seed has that.
    """
    train_ds, valid_ds = digits.train_ds, digits.valid_ds
    assert 34 * len(digits.train_dl) == 782
    rights = {1: [], 34: []}
    for epochs, found in rights.items():
        for seed in range(3):
            learn = learner(digits, seed)
            learn.data = DataBunch(*get_dls(train_ds, valid_ds, 64), 10)
            found.append(fit_and_lines(learn, epochs)[0][1])
    assert statistics.median(rights[34]) > 0.96
    assert min(rights[34]) >= 0.937
    assert max(rights[1]) < 0.937
