import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch
from lehr.inspect.summary import shapes
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Linear(4, 2)
        self.unused = nn.Linear(7, 7)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.second(self.norm(self.first(x)).relu()) * self.scale


def learner():
    model = Net()
    model.first.bias.requires_grad_(False)
    groups = [
        {"params": model.first.parameters(), "lr": 0.01},
        {"params": [*model.second.parameters(), model.scale], "weight_decay": 0.5},
    ]
    return tiny_learner(model=model, opt=torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1))


def test_layers_stand_in_the_order_of_their_calls_with_shapes_parameters_and_groups():
    found = {
        layer.name: (layer.kind, layer.output, layer.parameters, layer.group)
        for layer in learner().summary().layers
    }
    assert list(found)[:3] == ["first", "norm", "second"]
    assert found == {
        "first": ("Linear", "(8, 4)", 16, "0, frozen"),
        "norm": ("BatchNorm1d", "(8, 4)", 8, "none"),
        "second": ("Linear", "(8, 2)", 10, "1"),
        "(model)": ("Net", "(8, 2)", 2, "1"),
        "unused": ("Linear", "", 56, "none"),
    }


def test_totals_count_shared_parameters_once():
    summary = learner().summary()
    assert (summary.parameters, summary.trained, summary.buffers) == (92, 24, 9)
    tied = nn.Linear(3, 3)
    model = nn.Sequential(tied, tied, nn.Linear(3, 2))
    assert tiny_learner(model=model).summary().parameters == 12 + 8


def test_the_text_says_it_all():
    lines = str(learner().summary()).splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "group"]
    assert "not called" in lines[5]
    assert lines[-4:] == [
        "input (8, 3)",
        "92 parameters, 24 of them trained; 9 numbers in buffers",
        "group 0: AdamW, 16 parameters, lr 0.01, weight_decay 0.1",
        "group 1: AdamW, 12 parameters, lr 0.1, weight_decay 0.5",
    ]


def test_a_notebook_gets_a_table():
    page = learner().summary()._repr_html_()
    assert page.startswith("<table>")
    assert "<td>BatchNorm1d</td>" in page
    assert "group 1: AdamW" in page


def test_it_leaves_no_trace_and_no_hooks():
    learn = learner()
    before = capture(learn.state_entries())
    learn.summary()
    assert first_difference(before, capture(learn.state_entries())) is None
    assert all(not module._forward_hooks for module in learn.model.modules())


def test_hooks_go_also_when_the_model_raises():
    learn = tiny_learner(model=nn.Linear(4, 2))
    with pytest.raises(RuntimeError):
        learn.summary()
    assert not learn.model._forward_hooks


def test_the_batch_is_prepared_as_in_training():
    class Twice(Callback):
        evaluates = True

        def begin_batch(self, run):
            run.xb = torch.cat([run.xb, run.xb], dim=1)

    summary = tiny_learner([Twice()], model=nn.Linear(6, 2)).summary()
    assert summary.layers[0].output == "(8, 2)"


def test_several_optimizers_and_a_generator_of_batches():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    opts = {
        "a": torch.optim.SGD(model[0].parameters(), lr=0.1),
        "b": torch.optim.Adam(model[1].parameters(), lr=0.2),
    }
    data = DataBunch(lambda: iter([(torch.zeros(5, 3), torch.zeros(5).long())]))
    summary = tiny_learner(model=model, opt=opts, data=data).summary()
    assert [layer.group for layer in summary.layers] == ["a.0", "b.0"]
    assert summary.layers[1].output == "(5, 2)"


def test_shapes_of_nestings():
    assert shapes([torch.zeros(2), {"a": torch.zeros(3, 1)}]) == "(2), a (3, 1)"
    assert shapes(None) == "NoneType"
