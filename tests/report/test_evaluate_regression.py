import pytest
import torch
from torch import nn

from lehr import DataBunch, Learner, data
from lehr.report import evaluate_regression
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture


def learner(bunch, model=None, loss=nn.functional.mse_loss):
    model = model or nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    return Learner(model, opt, loss, bunch, progress=False, seed=0)


@pytest.fixture
def homes(tmp_path):
    rows = [f"{i % 5},{1000 + 10 * i}" for i in range(40)]
    (tmp_path / "homes.csv").write_text("\n".join(["rooms,price", *rows]))
    return data.table(tmp_path / "homes.csv", "price", regression=True)


def test_errors_are_in_the_units_of_the_target_and_named_by_row(homes):
    learn = learner(homes)
    learn.fit(1)
    before = capture(learn.state_entries())
    found = evaluate_regression(learn, k=3)
    assert first_difference(before, capture(learn.state_entries())) is None
    answers = homes.preparation.answers
    pred, yb = (answers(side).flatten() for side in learn.predict(homes.valid_dl, targets=True))
    assert found.mae == pytest.approx((pred - yb).abs().mean().item(), rel=1e-5)
    assert found.mean == pytest.approx(yb.mean().item())
    assert 1000 <= found.mean <= 1400
    assert [one.index for one in found.worst] == (pred - yb).abs().topk(3).indices.tolist()
    path, _, line = found.worst[0].name.rpartition(":")
    assert path.endswith("homes.csv")
    assert found.worst[0].truth == pytest.approx(1000 + 10 * (int(line) - 2))
    assert found.worst[0].text.startswith("rooms=")


class Sum(nn.Linear):
    def forward(self, rooms, floor):
        return super().forward(rooms + floor)


def test_several_inputs_are_in_words():
    inputs = {"rooms": torch.arange(4.0)[:, None], "floor": torch.ones(4, 1)}
    dataset = data.Dataset(inputs, torch.ones(4, 1), names=lambda i: f"home {i}")
    bunch = DataBunch(*data.get_dls(dataset, dataset, 2))
    found = evaluate_regression(learner(bunch, Sum(1, 1)))
    assert {one.text for one in found.worst} == {f"rooms {i}; floor 1" for i in range(4)}
    assert {one.name for one in found.worst} == {f"home {i}" for i in range(4)}


def test_flat_predictions_and_foreign_loaders_will_do():
    x = torch.arange(6.0)[:, None]
    batches = [(x[:4], x[:4, 0]), (x[4:], x[4:, 0])]
    model = nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))
    found = evaluate_regression(learner(DataBunch(batches, batches), model))
    assert found.items == 6
    assert found.worst[0].name == ""


def of(pred_model, yb, **kwargs):
    batches = [(torch.ones(4, 1), yb)]
    return learner(DataBunch(batches, batches, **kwargs), pred_model)


@pytest.mark.parametrize(
    "learn",
    [
        of(None, torch.zeros(4, dtype=torch.int64)),
        of(None, torch.zeros(4, 1), c=2),
        of(nn.Linear(1, 2), torch.zeros(4, 2)),
        of(None, torch.zeros(4, 3)),
        of(None, torch.full((4, 1), float("nan"))),
        learner(DataBunch([(torch.ones(4, 1), torch.ones(4, 1))])),
        learner(DataBunch([torch.ones(4, 1)], [torch.ones(4, 1)])),
    ],
)
def test_what_is_no_single_number_for_each_item_is_left_alone(learn):
    assert evaluate_regression(learn) is None
