import json
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lehr
from lehr import Callback, DataBunch, Learner, audit
from lehr.callbacks import (
    EMA,
    GAN,
    ClipGradients,
    Device,
    Distillation,
    LabelSmoothing,
    MixedPrecision,
    MixUp,
)
from lehr.inspect import Audit
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def deep():
    torch.manual_seed(0)
    return nn.Sequential(*(m for _ in range(8) for m in (nn.Linear(32, 32), nn.ReLU())))


def batch():
    return torch.randn(64, 32, generator=torch.Generator().manual_seed(0))


def test_the_text_is_a_table_with_a_legend_and_the_verdicts_below():
    table, legend, verdicts = (
        part.splitlines() for part in str(audit(deep(), batch())).split("\n\n")
    )
    assert table[0].split()[:6] == ["layer", "does", "output", "mean", "std", "across"]
    assert re.match(r"0 +linear +\(64, 32\) +-?\d", table[1])
    assert len(table) == 1 + 17
    assert len({line.index("linear") for line in table if "linear" in line}) == 1
    assert len(legend) == 9  # and no unit is saturated
    verdict, meaning = verdicts
    assert verdict.startswith("problem: the signal shrinks to 0.00")
    assert meaning.startswith("    that is: the last layers hardly tell items apart")


def legend(audited, width=None):
    """The names that the legend explains."""
    lines = audited.text(width).split("\n\n")[1].splitlines()
    return [line.partition("  ")[0] for line in lines if line[0] != " "]


def test_the_legend_explains_the_columns_and_marks_that_are_there():
    columns = ["mean", "std", "across", "predicted", "signal", "grad", "weight grad"]
    assert legend(audit(nn.Linear(32, 2), batch())) == [*columns, "–"]
    saturated = nn.Sequential(nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 2))
    nn.init.normal_(saturated[0].weight, std=10)
    assert legend(audit(saturated, batch())) == [*columns, "saturated", "–"]
    narrow = audit(deep(), batch()).text(50)
    assert "predicted" not in narrow
    assert "across" not in legend(audit(deep(), batch()), 70)
    assert max(map(len, narrow.split("\n\n")[1].splitlines())) <= 50


def test_after_a_repair_the_text_tells_both():
    lines = str(audit(deep(), batch(), repair="kaiming")).splitlines()
    assert lines[-2] == "nothing wrong in 64 items"
    told = r"repaired: 1 problem before, 0 after; output across items 0\.0\S+ → 0\.\d+"
    assert re.fullmatch(told, lines[-1])


def test_a_notebook_gets_a_table_and_safe_text():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<b>", nn.Linear(32, 32))

        def forward(self, x):
            return self.get_submodule("<b>")(x)

    page = audit(Net(), batch())._repr_html_()
    assert page.startswith("<table>")
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("<tr>") == 3


def test_it_is_machine_readable():
    found = audit(deep(), (batch(), batch()), F.mse_loss, repair="lsuv")
    read = json.loads(json.dumps(found.to_dict()))
    assert read["healthy"] is True
    assert read["before"]["findings"][0]["kind"] == "shrinks"
    assert read["before"]["findings"][0]["evidence"]["per_layer"] == pytest.approx(0.41, abs=0.05)
    assert read["loss"] == found.loss
    assert read["sites"][0]["out"]["across"] == found.sites[0].out.across
    assert read["sites"][0]["predicted"] == found.sites[0].predicted
    assert read["weights"][0]["grad_std"] == found.weights[0].grad_std


def test_a_learner_audits_its_first_batch_with_its_loss_and_leaves_no_trace():
    learn = tiny_learner()
    before = capture(learn.state_entries())
    found = learn.audit()
    assert isinstance(found, Audit)
    assert found.loss is not None
    assert first_difference(before, capture(learn.state_entries())) is None
    assert learn.audit(repair="kaiming").before is not None
    assert first_difference(before, capture(learn.state_entries())) is not None


def test_a_learner_with_dict_batches():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x):
            return self.inner(x)

    batches = [{"x": torch.randn(8, 3), "y": torch.randint(2, (8,))}] * 2
    model = Net()
    learn = Learner(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        F.cross_entropy,
        DataBunch(batches),
        split_batch=lambda b: ({"x": b["x"]}, b["y"]),
        progress=False,
    )
    assert learn.audit().sites[0].name == "inner"


def test_auditing_does_not_change_a_training():
    torch.manual_seed(0)
    plain, audited = tiny_learner(), tiny_learner()
    audited.model.load_state_dict(plain.model.state_dict())
    audited.audit()
    runs = [learn.fit(2).history["train_loss"] for learn in (plain, audited)]
    assert runs[0] == runs[1]


def test_the_public_name_is_the_function():
    assert lehr.audit is audit
    assert callable(lehr.audit)


class Softened(Callback):
    """Halves the loss, and shows the model twice what it would get."""

    state = ()

    def begin_batch(self, run):
        run.xb = run.xb * 2

    def compute_loss(self, run, proceed):
        proceed()
        run.loss = run.loss / 2


def test_where_a_callback_has_a_say_the_audit_is_of_the_batch_and_the_loss_as_in_the_fit():
    def learn(callbacks=(), **kwargs):
        return tiny_learner(callbacks, **kwargs)

    def gradients(audit):
        return [weights.grad_std for weights in audit.weights]

    found, plain = learn([Softened()]).audit(), learn().audit()
    assert found.loss == learn([Softened()]).fit(1).history["loss"][0]
    assert found.sites[0].given.std == pytest.approx(2 * plain.sites[0].given.std)
    assert "random numbers" not in str(found)
    half = learn(
        loss_func=lambda pred, yb: F.cross_entropy(pred, yb) / 2,
        split_batch=lambda batch: (2 * batch[0], batch[1]),
    )
    assert found.loss == half.audit().loss
    assert gradients(found) == gradients(half.audit())
    assert gradients(found) != gradients(plain)
    assert [site.name for site in found.sites] == [site.name for site in plain.sites]


def teacher():
    torch.manual_seed(1)
    return nn.Linear(3, 2)


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [MixUp()],
        lambda: [LabelSmoothing(0.2)],
        lambda: [MixedPrecision("bf16")],
        lambda: [Device("cpu"), MixUp(), LabelSmoothing(), EMA(), ClipGradients(0.1)],
        lambda: [Distillation(teacher())],
    ],
    ids=lambda make: ", ".join(type(callback).__name__ for callback in make()),
)
def test_its_loss_is_the_first_of_the_fit_with_whatever_callbacks_come_with_lehr(callbacks):
    learn = tiny_learner(callbacks())
    before = capture(learn.state_entries())
    found = learn.audit()
    assert first_difference(before, capture(learn.state_entries())) is None
    assert found.loss == tiny_learner(callbacks()).fit(1).history["loss"][0]
    layers = [site.name for site in found.sites]
    assert layers == [site.name for site in tiny_learner().audit().sites]


def test_a_repair_is_measured_with_the_callbacks_as_well():
    learn = tiny_learner([Softened()])
    found = learn.audit(repair="kaiming")
    assert found.loss == learn.fit(1).history["loss"][0]
    assert found.before.loss == tiny_learner([Softened()]).fit(1).history["loss"][0]


def test_where_no_loss_is_of_the_whole_batch_the_gradient_is_random_and_a_note_says_so():
    class Twice(Callback):
        state = ()

        def predict(self, run, proceed):
            proceed()
            proceed()

    found = tiny_learner([Twice()]).audit()
    assert found.loss is None
    assert (
        "note: the gradient began as random numbers, not with the loss: with Twice there is none "
        "of the whole batch that is computed at once." in str(found)
    )
    assert all(weights.grad_std for weights in found.weights)


def test_a_table_fits_into_a_narrow_terminal():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    found = audit(model, torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))
    table = found.text(60).splitlines()[:5]
    assert max(map(len, table)) <= 60
    assert table[0].split()[:2] == ["layer", "does"]
    assert max(map(len, str(found).splitlines()[:5])) > 60


def test_a_holder_of_networks_without_a_forward_is_said_to_be_one():
    model = nn.ModuleDict({"generator": nn.Linear(2, 1), "critic": nn.Linear(1, 1)})
    opts = {name: torch.optim.SGD(model[name].parameters(), 0.1) for name in model}
    bunch = DataBunch([torch.randn(8, 1) for _ in range(4)])
    learn = Learner(model, opts, GAN.wasserstein, bunch, [GAN(2)], progress=False)
    said = (
        r"^model must have a forward to be audited; ModuleDict only holds its parts \(generator, "
        r'critic\)\. Audit each by itself, .*: lehr\.audit\(model\.get_submodule\("generator"\), xb'
    )
    for look in (learn.audit, lambda: audit(model, torch.randn(8, 1))):
        with pytest.raises(TypeError, match=said):
            look()
    assert audit(model.get_submodule("generator"), torch.randn(8, 2)).sites
    with pytest.raises(TypeError, match=r"Identityless only holds its parts \(none\)"):
        audit(type("Identityless", (nn.Module,), {})(), torch.randn(8, 2))


class Centred(nn.Module):
    """A loss with a moving mean and weights of its own."""

    def __init__(self, model=None):
        super().__init__()
        self.model = model
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, pred, yb):
        self.mean.mul_(0.9).add_(pred.detach().mean(0), alpha=0.1)
        return F.cross_entropy((pred - self.mean) * self.scale, yb)


@pytest.mark.parametrize("callbacks", [(), (LabelSmoothing(0.1),)])
@pytest.mark.parametrize("around", [False, True])
def test_a_loss_function_with_state_is_as_before(callbacks, around):
    model, centred = tiny_learner().model, Centred()
    loss_func = (lambda pred, yb: centred(pred, yb)) if around else centred
    params = [*model.parameters(), *centred.parameters()]
    opt = torch.optim.SGD(params, 0.1)
    data = tiny_learner().data
    learn = Learner(model, opt, loss_func, data, callbacks, progress=False)
    for look in (learn.audit, lambda: audit(model, next(iter(data.train_dl)), loss_func)):
        assert look().loss is not None
        assert not centred.mean.any()
        assert centred.scale.grad is None


def test_a_repair_stays_if_the_loss_function_holds_the_model():
    model = deep()
    loss_func = Centred(model)
    before = model[0].weight.clone()
    xb, yb = batch(), torch.zeros(64).long()
    head = nn.Sequential(model, nn.Linear(32, 2))
    audit(head, (xb, yb), loss_func, repair="kaiming")
    assert not torch.equal(model[0].weight, before)
    assert not loss_func.mean.any()
