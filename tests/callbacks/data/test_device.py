"""Device moves what is elsewhere, and leaves alone what is there."""

from collections import UserDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from lehr import Callback, CancelFit, DataBunch, accuracy, engine, learner, on
from lehr.callbacks import Device
from lehr.callbacks.data import device
from lehr.testing import tiny_learner

META, CPU = torch.device("meta"), torch.device("cpu")
Pair = namedtuple("Pair", "ids mask")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(autouse=True)
def meta_is_a_device_like_any_other(monkeypatch):
    for module in (learner, engine):
        monkeypatch.setattr(module, "check_values", lambda model: None)


class Look(Callback):
    """Notes the batch as the model sees it, and ends the fit: on meta there are no values."""

    def after_pred(self, run):
        self.batch, self.xb, self.yb, self.pred = run.batch, run.xb, run.yb, run.pred
        raise CancelFit


def on_meta(batch, **kwargs):
    """One batch through a model that was made on meta."""
    look = Look()
    model = kwargs.pop("model", None) or nn.Linear(3, 2, device="meta")
    data = DataBunch([batch], None)
    tiny_learner([Device("meta"), look], model=model, data=data, **kwargs).fit(1)
    return look


def test_the_batch_follows_and_the_loaders_own_is_left():
    xb, yb = torch.zeros(4, 3), torch.zeros(4)
    look = on_meta((xb, yb))
    assert look.xb.device == look.yb.device == look.pred.device == META
    assert look.batch[0] is xb
    assert look.batch[0].device == CPU


def test_nesting_and_what_is_no_tensor_stay():
    class Model(nn.Linear):
        def forward(self, ids, rest):
            self.rest = rest
            return super().forward(ids)

    yb = Pair([torch.zeros(4)], None)
    xb = {"ids": torch.zeros(4, 3), "rest": (torch.ones(1), "text", 3)}
    model = Model(3, 2, device="meta")
    look = on_meta((xb, yb), model=model)
    assert look.xb["ids"].device == look.xb["rest"][0].device == META
    assert look.xb["rest"][1:] == ("text", 3)
    assert isinstance(look.yb, Pair)
    assert look.yb.ids[0].device == META
    assert look.yb.mask is None


def test_what_knows_how_to_move_does_it_itself():
    packed = pack_sequence([torch.zeros(2, 3), torch.zeros(1, 3)])
    moved = device._moved(packed, META)
    assert moved.data.device == META
    assert moved.batch_sizes.device == CPU  # torch wants them there


def test_a_packed_sequence_among_other_inputs_keeps_its_batch_sizes_where_they_are():
    packed, rest = device._moved((pack_sequence([torch.zeros(2, 3)]), {"a": torch.ones(1)}), META)
    assert packed.data.device == rest["a"].device == META
    assert packed.batch_sizes.device == CPU


def test_a_dataclass_is_moved_and_keeps_its_class():
    @dataclass(frozen=True)
    class Batch:
        ids: torch.Tensor
        names: tuple

    batch = Batch(torch.zeros(4, 3), ("a", torch.ones(2)))
    moved = device._moved(batch, META)
    assert type(moved) is Batch
    assert moved.ids.device == moved.names[1].device == META
    assert moved.names[0] == "a"
    assert batch.ids.device == CPU


def test_what_is_there_already_is_not_touched(monkeypatch):
    calls = []

    class SameObjects(Callback):
        def after_pred(self, run):
            calls.append(run.xb is run.batch[0] and run.yb is run.batch[1])

    monkeypatch.setattr(torch.Tensor, "to", lambda *args, **kwargs: pytest.fail("a copy"))
    batch = ({"input": torch.zeros(4, 3)}, torch.zeros(4, dtype=torch.long))
    data = DataBunch([batch] * 3, [batch])
    model = nn.Linear(3, 2)
    tiny_learner([Device("cpu"), SameObjects()], model=model, data=data).fit(1)
    assert calls == [True] * 4


def test_without_a_name_it_is_the_accelerator_or_else_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: META)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert device._resolved(None) == META
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert device._resolved(None) == CPU
    assert tiny_learner([Device("cpu")]).fit(1).n_steps == 4


def test_it_takes_part_in_validation_and_prediction():
    moved = []
    learn = tiny_learner([Device("cpu")])
    learn.callbacks[0].begin_batch = lambda run: moved.append(run.xb.shape)
    learn.validate()
    pred = learn.predict(torch.zeros(5, 3))
    assert len(moved) == 2
    assert pred.device == CPU


@needs_cuda
def test_a_fit_on_cuda_and_one_on_the_cpu_afterwards():
    learn = tiny_learner(
        opt=lambda p: torch.optim.Adam(p, lr=0.01),
        metrics=[accuracy],
        loss_func=nn.CrossEntropyLoss(),
    )
    cpu = tiny_learner(
        opt=lambda p: torch.optim.Adam(p, lr=0.01),
        metrics=[accuracy],
        loss_func=nn.CrossEntropyLoss(),
    )
    learn.fit(1, [Device("cpu")])
    learn.fit(1, [Device("cuda")])
    assert next(learn.model.parameters()).device.type == "cuda"
    learn.callbacks.append(Device())
    assert set(learn.validate()) == {"valid_loss", "accuracy"}
    assert learn.predict(torch.zeros(5, 3)).device == CPU
    learn.callbacks.clear()
    learn.fit(1, [Device("cpu")])
    for epochs in (1, 1, 1):
        cpu.fit(epochs)
    for a, b in zip(learn.model.parameters(), cpu.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("flags", "step"), [({}, CPU), ({"capturable": True}, META)])
def test_the_optimizers_state_goes_with_the_model_but_counts_stay_on_the_host(flags, step):
    p, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    state = {p: {"step": torch.ones(()), "exp_avg": torch.ones(2), "old": [torch.ones(2)], "n": 3}}
    groups = [{"params": [p, other], **flags}]
    opt = SimpleNamespace(param_groups=groups, state=state)
    device._move_state(opt, META)
    assert state[p]["step"].device == step
    assert state[p]["exp_avg"].device == state[p]["old"][0].device == META
    assert state[p]["n"] == 3
    assert list(state) == [p]


def test_a_loss_function_and_metrics_that_are_modules_go_there_too():
    from torchmetrics.classification import MulticlassAccuracy

    loss = nn.CrossEntropyLoss(weight=torch.ones(2))
    metric = MulticlassAccuracy(2)
    seen = []
    for module in (loss, metric):
        module.to = lambda to, module=module: seen.append((module, to))
    tiny_learner([Device("cpu")], loss_func=loss, metrics=[metric]).fit(0)
    assert seen == [(metric, CPU)]  # the loss is there; of a metric's state nothing can be seen


def test_the_modules_of_a_callback_go_where_the_model_goes():
    class Distils(Callback):
        def __init__(self, *, tells):
            self.teacher = nn.Identity()  # of a module without parameters nothing can be seen
            self.teacher.to = lambda to: moved.append((tells, to))
            self.modules = [self.teacher] if tells else []

    moved = []
    tiny_learner([Device("cpu"), Distils(tells=True), Distils(tells=False)]).fit(0)
    assert moved == [(True, CPU)]


def test_a_model_on_several_devices_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, device="meta"))
    learn = tiny_learner([Device("cpu")], model=model)
    with pytest.raises(
        ValueError, match=r"Sequential is spread over 2 devices: cpu, meta; .* Leave"
    ):
        learn.fit(1)
    assert model[0].weight.device == CPU


@pytest.mark.parametrize(("start", "to"), [("cpu", "meta"), ("meta", "cpu")])
def test_a_model_that_cannot_move_in_place_is_refused_before_it_moves(start, to):
    model = nn.Linear(3, 2, device=start)
    learn = tiny_learner([Device(to)], model=model)
    with pytest.raises(
        ValueError, match=rf"Linear cannot go from {start} to {to} in place: .* Move"
    ):
        learn.fit(1)
    assert model.weight.device == torch.device(start)


def test_looking_whether_it_can_move_draws_no_random_numbers():
    model = nn.Linear(3, 2)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="in place"):
        device._check(model, META)
    assert torch.equal(torch.get_rng_state(), before)


def test_names_that_are_no_device_speak():
    with pytest.raises(
        ValueError, match=r"device must be one that is here; got 'gpu'. Use .*: cpu"
    ):
        Device("gpu")
    with pytest.raises(TypeError, match=r"device must be a name or a torch.device; got 1. Write"):
        Device(1)
    learn = tiny_learner([Device(f"cuda:{torch.cuda.device_count()}")])
    with pytest.raises(ValueError, match=r"device must be one that is here; got 'cuda:\d+'. Use"):
        learn.fit(1)
    assert learn.run.n_iter == 0


def test_what_is_there_is_listed(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"Use one of: cpu, cuda:0, cuda:1, or leave it out"):
        Device("gpu")


def test_it_prints_as_it_was_written():
    assert [repr(Device()), repr(Device("cuda:1"))] == ["Device()", "Device('cuda:1')"]


class Encoding(UserDict):
    """As the BatchEncoding of transformers: a dict that moves its tensors in place."""

    def to(self, device):
        self.data = {name: tensor.to(device) for name, tensor in self.data.items()}
        return self


class Graph:
    """As a graph of PyG."""

    def __init__(self, x):
        self.x = x

    def __copy__(self):
        return Graph(self.x)

    def to(self, device):
        self.x = self.x.to(device)
        return self


def test_what_moves_by_itself_does_so_wherever_it_is_and_the_loaders_own_stays():
    class Model(nn.Linear):
        def forward(self, graphs, words, texts):
            self.seen = graphs, words, texts
            return super().forward(graphs[0].x)

    graph, words = Graph(torch.zeros(4, 3)), Encoding({"ids": torch.zeros(4, 7)})
    xb = {"graphs": [graph], "words": words, "texts": ["a", "b"]}
    model = Model(3, 2, device="meta")
    on_meta((xb, torch.zeros(4)), model=model)
    graphs, moved, texts = model.seen
    assert (graphs[0].x.device, moved["ids"].device, texts) == (META, META, ["a", "b"])
    assert isinstance(moved, Encoding)
    assert (graph.x.device, words["ids"].device) == (CPU, CPU)


class Gathers:
    """A metric that is no module, and moves itself."""

    def __init__(self, in_place=True):
        self.device, self.in_place = torch.device("meta"), in_place

    def to(self, device):
        if not self.in_place:
            return Gathers()
        self.device = device
        return self

    def update(self, pred, target):
        assert pred.device == self.device

    def compute(self):
        return 0.5

    def reset(self): ...


def test_a_metric_that_is_no_module_goes_where_the_model_goes():
    for metric in (Gathers(), on(Gathers(), lambda out: out)):
        learn = tiny_learner([Device("cpu")], metrics={"mine": metric})
        assert learn.fit(1).history["mine"] == [0.5]
    with pytest.raises(AssertionError):  # the control: without Device nobody moves it
        tiny_learner(metrics={"mine": Gathers()}).fit(1)
    with pytest.raises(ValueError, match=r"^Gathers\.to must move it in place and return it; got"):
        tiny_learner([Device("cpu")], metrics={"mine": Gathers(in_place=False)}).fit(1)
