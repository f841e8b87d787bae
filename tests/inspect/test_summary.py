from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from lehr import Callback, DataBunch
from lehr.callbacks import Freeze
from lehr.inspect.summary import shapes
from lehr.optim import layer_groups
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
        layer.name: (
            layer.kind,
            layer.output,
            layer.parameters,
            layer.group,
            layer.lr,
            layer.frozen,
        )
        for layer in learner().summary().layers
    }
    assert list(found)[:3] == ["first", "norm", "second"]
    assert found == {
        "first": ("Linear", "(8, 4)", 16, "0", "0.01", "partly"),
        "norm": ("BatchNorm1d", "(8, 4)", 8, "none", "", ""),
        "second": ("Linear", "(8, 2)", 10, "1", "0.1", ""),
        "(model)": ("Net", "(8, 2)", 2, "1", "0.1", ""),
        "unused": ("Linear", "", 56, "none", "", ""),
    }


def test_groups_have_their_names_and_what_is_frozen_says_until_when():
    def summarised(freeze):
        model = Net()
        model.scale.requires_grad_(False)
        rule = {"body": ["first", "norm"], "head": ...}
        opt = torch.optim.SGD(layer_groups(model, rule, lr=0.1, decay=0.1, no_decay=["norms"]))
        summary = tiny_learner([freeze], model=model, opt=opt).summary()
        layers = {layer.name: (layer.group, layer.lr, layer.frozen) for layer in summary.layers}
        return layers, summary

    layers, summary = summarised(
        Freeze({"first.bias": 1, "norm": 0.3, "unused": None, "second": 0})
    )
    assert layers == {
        "first": ("body", "0.01", "until epoch 1"),
        "norm": ("body.no_decay", "0.01", "until 30% of the steps"),
        "second": ("head", "0.1", ""),
        "(model)": ("head", "0.1", "yes"),
        "unused": ("head", "0.1", "yes"),
    }
    assert summary.trained == 16 + 8 + 10
    assert str(summary).splitlines()[-1].startswith("group head: SGD, 68 parameters, lr 0.1, mo")
    layers, summary = summarised(Freeze("body"))
    assert (layers["first"][2], layers["norm"][2], summary.trained) == ("yes", "yes", 10 + 56)


def test_it_leaves_no_trace_of_what_is_frozen():
    learn = tiny_learner([Freeze("0")])
    before = capture(learn.state_entries())
    learn.summary()
    assert first_difference(before, capture(learn.state_entries())) is None
    assert learn.model[0].weight.requires_grad


def test_totals_count_shared_parameters_once():
    summary = learner().summary()
    assert (summary.parameters, summary.trained, summary.buffers) == (92, 24, 9)
    tied = nn.Linear(3, 3)
    model = nn.Sequential(tied, tied, nn.Linear(3, 2))
    assert tiny_learner(model=model).summary().parameters == 12 + 8


def test_columns_that_tell_nothing_are_left_out():
    head = str(tiny_learner().summary()).splitlines()[0].split()
    assert head == ["layer", "type", "output", "parameters", "lr"]
    assert "<th>frozen" not in tiny_learner().summary()._repr_html_()


def test_the_text_says_it_all():
    lines = str(learner().summary()).splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "group", "lr", "frozen"]
    assert "not called" in lines[5]
    assert lines[-5:] == [
        "input (8, 3)",
        "output (8, 2)",
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


class Cache:
    keys = torch.zeros(2)


@dataclass
class Output:
    logits: torch.Tensor
    past_key_values: object = None
    states: object = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([torch.zeros(2), {"a": torch.zeros(3, 1)}], "(2), a (3, 1)"),
        (None, "NoneType"),
        ([], "list"),
        ((torch.zeros(8, 2), torch.zeros(()), None), "(8, 2), ()"),
        (Output(torch.zeros(8, 2), Cache()), "logits (8, 2), past_key_values Cache"),
        (
            Output(torch.zeros(8, 2), states=(torch.zeros(8, 4),) * 13),
            "logits (8, 2), states 13 × (8, 4)",
        ),
        (torch.distributions.Normal(torch.zeros(8), 1.0), "Normal"),
        (pack_sequence([torch.zeros(3, 2), torch.zeros(1, 2)]), "PackedSequence (4, 2)"),
        ([{"boxes": torch.zeros(3, 4), "label": 1}] * 8, "8 × [boxes (3, 4), label int]"),
        ([{"boxes": torch.zeros(n, 4)} for n in (1, 1, 2)], "2 × boxes (1, 4), boxes (2, 4)"),
        (
            [torch.zeros(n) for n in range(20)],
            "(0), (1), (2), (3), (4), (5), (6), (7), …",
        ),
        ([["a"] * 3, None], "3 × str"),
    ],
)
def test_shapes_of_nestings(value, text):
    assert shapes(value) == text


@pytest.mark.filterwarnings("ignore:Sparse (CSR|invariant)")
def test_an_output_of_many_parts_is_one_line():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(3, 2)

        def forward(self, x):
            return Output(self.body(x), Cache(), [torch.ones(()), x.to_sparse_csr()])

    summary = tiny_learner(model=Model()).summary()
    assert summary.output == "logits (8, 2), past_key_values Cache, states (), states (8, 3)"
    assert f"output {summary.output}" in str(summary).splitlines()
    assert tiny_learner().summary().output == "(8, 2)"


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_scripted_module_is_listed_and_its_outputs_are_not(how):
    def made():
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU())

    part = (
        torch.jit.script(made()) if how == "script" else torch.jit.trace(made(), torch.ones(8, 3))
    )
    learn = tiny_learner(model=nn.Sequential(part, nn.Linear(4, 2)))
    summary = learn.summary()
    outputs = {layer.name: layer.output for layer in summary.layers}
    assert outputs == {"0.0": "not seen: scripted", "0.1": "not seen: scripted", "1": "(8, 2)"}
    assert summary.trained == 26


def test_hyper_parameters_that_are_no_numbers_are_shown_as_they_are():
    learn = tiny_learner()
    learn.opt.param_groups[0].update(lr=torch.tensor(0.5), momentum=None, weight_decay=(0.1, 0.2))
    assert learn.summary().groups[0].endswith("lr 0.5, momentum None, weight_decay (0.1, 0.2)")
