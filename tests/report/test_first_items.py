"""The first items of a training as the model gets them, on the page of its run."""

import json

import pytest
import torch

from lehr import Callback, DataBunch
from lehr.data import DataLoader, Dataset
from lehr.report import RunFolder, RunRecord, first_items
from lehr.report.first_items import FirstItem
from lehr.report.page import report
from lehr.report.pictures import as_picture, data_uri
from lehr.testing import tiny_learner


def test_a_run_folder_keeps_them_and_its_page_shows_them(tmp_path):
    learn = tiny_learner(data=DataBunch(DataLoader([(torch.rand(3), 1) for _ in range(8)], 4)))
    with RunFolder.create(tmp_path / "run").keep(learn, {}):
        during = report(RunRecord.read(tmp_path / "run"))
        learn.fit(1)
    items = RunRecord.read(tmp_path / "run").first_items
    assert [item.title for item in items] == ["1"] * 4
    assert all(len(item.text.split(", ")) == 3 for item in items)
    for page in (during, report(RunRecord.read(tmp_path / "run"))):
        assert "<h2>The first batch</h2>" in page
        assert items[0].text in page


class Sees(Callback):
    """Notes what the first batch is."""

    def begin_batch(self, run):
        if run.n_iter == 0 and run.training:
            self.xb, self.yb = run.xb, run.yb


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_they_are_those_that_the_training_begins_with(epochs_before):
    x = torch.rand(20, 1, 8, 8)
    bunch = DataBunch(DataLoader(Dataset(x, torch.arange(20) % 2), 16, shuffle=True))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    learn, sees = tiny_learner(data=bunch, model=model, seed=7), Sees()
    learn.fit(epochs_before)
    items = first_items.first_items(learn)
    learn.fit(1, [sees])
    assert [item.title for item in items] == [str(y) for y in sees.yb[:12].tolist()]
    assert [item.picture for item in items] == [data_uri(as_picture(x)) for x in sees.xb[:12]]
    assert all(item.small and not item.text for item in items)


def test_several_inputs_are_in_words():
    x = {"a": torch.arange(8.0).view(4, 2), "b": torch.zeros(4)}
    learn = tiny_learner(data=DataBunch(DataLoader(Dataset(x, torch.arange(4)), 4)))
    first, second, *_ = first_items.first_items(learn)
    assert first == FirstItem("0", "a 0 1; b 0")
    assert second == FirstItem("1", "a 2 3; b 0")


def test_looking_at_them_draws_nothing():
    learn = tiny_learner()
    before = torch.get_rng_state()
    assert first_items.first_items(learn)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "loader",
    [
        [(torch.zeros(2, 3), torch.zeros(2))],
        DataLoader([None, None], 2),
        torch.utils.data.DataLoader([(torch.zeros(3), 0)]),
    ],
    ids=["not ours", "cannot be read", "torch's"],
)
def test_what_cannot_be_looked_at_in_passing_is_left_out(loader):
    assert first_items.first_items(tiny_learner(data=DataBunch(loader))) == []


def test_items_without_a_target_have_no_title():
    learn = tiny_learner(data=DataBunch(DataLoader([torch.ones(2)] * 3, 3)))
    items = first_items.first_items(learn)
    assert [(item.title, item.text) for item in items] == [("", "1, 1")] * 3


def test_they_come_back_as_they_were_saved(tmp_path):
    first_items.save(tmp_path, [FirstItem("then")])
    assert first_items.load(tmp_path) == [FirstItem("then")]
    assert first_items.load(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1],
        [{"text": "no title"}],
        [{"title": "a", "picture": "javascript:alert(1)"}],
        [{"title": "a", "picture": 'data:image/png;base64,AAA" onload="x'}],
        [{"title": "a", "small": "yes"}],
        [{"title": "a", "more": 1}],
    ],
)
def test_a_damaged_file_is_refused_and_the_page_does_without(tmp_path, content):
    (tmp_path / "first_items.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"first_items\.json is damaged: .* Remove it to do with"):
        first_items.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.warns(UserWarning, match="the first batch is left out"):
        assert RunRecord.read(tmp_path).first_items == []


def test_what_stands_in_an_item_is_no_html(tmp_path):
    first_items.save(tmp_path, [FirstItem("<b>", "<script>")])
    (tmp_path / "config.json").write_text("{}")
    page = report(RunRecord.read(tmp_path))
    assert "&lt;script&gt;" in page
    assert "<script" not in page
