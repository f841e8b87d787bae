import pytest
import torch
from torch import nn

from lehr import DataBunch, Learner, data
from lehr.data import DataLoader, Dataset
from lehr.engine import Engine
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def test_the_items_are_those_whose_own_loss_is_highest():
    learn = tiny_learner()
    before = capture(learn.state_entries())
    worst = learn.top_losses(5)
    assert first_difference(before, capture(learn.state_entries())) is None
    pred, yb = learn.predict(learn.data.valid_dl, targets=True)
    losses = nn.functional.cross_entropy(pred, yb, reduction="none")
    values, indices = losses.topk(5)
    assert [item.index for item in worst] == indices.tolist()
    assert [item.index for item in worst] != losses.topk(5, largest=False).indices.tolist()
    assert [item.loss for item in worst] == pytest.approx(values.tolist())
    for item in worst:
        assert item.target == str(int(yb[item.index]))
        assert item.prediction == str(int(pred[item.index].argmax()))
        assert torch.equal(item.x, learn.data.valid_ds.x[item.index])


def test_a_nan_is_worst_and_of_equals_the_first():
    model = nn.Identity()
    model.weight = nn.Parameter(torch.zeros(1))
    x = torch.tensor([[1.0], [float("nan")], [1.0], [0.0]])
    batches = [(x[:2], torch.zeros(2, 1)), (x[2:], torch.zeros(2, 1))]
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = Learner(model, opt, nn.MSELoss(), DataBunch(batches, batches), progress=False)
    assert [item.index for item in learn.top_losses(3)] == [1, 0, 2]


def test_numbers_are_in_the_units_of_the_user_and_items_have_names(tmp_path):
    rows = [f"{i % 5},{1000 + 10 * i}" for i in range(40)]
    (tmp_path / "homes.csv").write_text("\n".join(["rooms,price", *rows]))
    bunch = data.table(tmp_path / "homes.csv", "price", regression=True)
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = Learner(model, opt, nn.MSELoss(), bunch, progress=False)
    worst = learn.top_losses(1)[0]
    line = int(worst.name.rpartition(":")[2])
    assert worst.name == f"{tmp_path / 'homes.csv'}:{line}"
    assert float(worst.target.replace(",", "")) == float(rows[line - 2].split(",")[1])
    assert float(worst.prediction.replace(",", "")) > 900


def test_they_show_themselves_as_a_table_and_as_pictures():
    pictures = Dataset(torch.rand(6, 1, 4, 4), torch.arange(6) % 2, names="{}<.png".format)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(pictures, 4)
    learn = Learner(model, opt, nn.CrossEntropyLoss(), DataBunch(loader, loader), progress=False)
    worst = learn.top_losses(3)
    assert len(worst) == 3
    assert str(worst).split()[:5] == ["item", "loss", "is", "taken", "for"]
    assert "&lt;.png" in worst._repr_html_()
    ax = worst.plot().axes[0]
    assert len(ax.images) == 3
    assert worst.plot(ax) is ax.figure


def test_a_loss_without_a_value_for_one_item_is_refused():
    def coupled(pred, yb):
        if len(pred) < 2:
            raise ValueError("two items at least.")
        return pred.var()

    match = (
        r"the loss of one item alone is needed, and loss_func cannot be called on it: two items at "
        r"least\. Find the worst items by hand"
    )
    with pytest.raises(ValueError, match=match):
        tiny_learner(loss_func=coupled).top_losses()


def test_k_is_a_number_of_items():
    with pytest.raises(ValueError, match=r"^k must be at least 1; got 0"):
        tiny_learner().top_losses(0)


def test_of_several_processes_each_would_know_its_share_alone():
    class Two(Engine):
        world = 2

    learn = tiny_learner()
    learn.engine = Two()
    with pytest.raises(RuntimeError, match=r"top_losses works in one process; this is one of 2"):
        learn.top_losses()
