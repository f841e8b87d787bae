import pytest
import torch
from torch import nn

from lehr import DataBunch, Learner, data
from lehr.data import DataLoader, Dataset
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def shown(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_predictions_stand_with_the_targets_that_they_miss_and_nothing_changes():
    learn = tiny_learner()
    before = capture(learn.state_entries())
    texts = shown(learn.show_results(16))[2::2]
    assert first_difference(before, capture(learn.state_entries())) is None
    pred, yb = learn.predict(learn.data.valid_dl, targets=True)
    given = pred.argmax(1)
    expected = [
        str(g) if g == t else f"{g}, is {t}"
        for g, t in zip(given.tolist(), yb.tolist(), strict=True)
    ]
    assert texts == expected
    assert any("is" in text for text in texts)
    assert any("is" not in text for text in texts)


def test_pictures_are_drawn_as_pictures_and_no_more_than_asked_for():
    pictures = Dataset(torch.rand(6, 1, 4, 4), torch.arange(6) % 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    loader = DataLoader(pictures, 4)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = Learner(model, opt, nn.CrossEntropyLoss(), DataBunch(loader, loader), progress=False)
    ax = learn.show_results(3).axes[0]
    assert len(ax.images) == 3
    assert learn.show_results(ax=ax) is ax.figure


def test_numbers_are_in_the_units_of_the_user(tmp_path):
    rows = [f"{i % 5},{1000 + 10 * i}" for i in range(40)]
    (tmp_path / "homes.csv").write_text("\n".join(["rooms,price", *rows]))
    bunch = data.table(tmp_path / "homes.csv", "price", regression=True)
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = Learner(model, opt, nn.MSELoss(), bunch, progress=False)
    given, true = shown(learn.show_results(1))[2].replace(",", "").split(" is ")
    assert float(given) > 900
    assert float(true) >= 1000


def test_inputs_without_targets_are_shown_with_their_predictions():
    learn = tiny_learner()
    assert len(shown(learn.show_results(2, [torch.zeros(4, 3)]))) == 6


def test_items_is_a_number():
    with pytest.raises(ValueError, match=r"^items must be at least 1; got 0"):
        tiny_learner().show_results(0)
