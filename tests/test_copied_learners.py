"""A Learner can be pickled and copied after a fit, and the copy trains on as the Learner does."""

import copy
import pickle
import sys
from functools import partial
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

import lehr.base.mapped
from lehr import Callback, DataBunch, Learner, accuracy, data
from lehr.callbacks import (
    EMA,
    Checkpoint,
    ClipGradients,
    Device,
    MLflowLog,
    ParamScheduler,
    Progress,
    TensorBoardLog,
    WandbLog,
)
from lehr.callbacks.log.service_log import ServiceLog
from lehr.data import Dataset, get_dls
from lehr.schedules import one_cycle
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner
from tests.contract.test_callbacks import ALL, learner, make

COPIES = {"pickle": lambda learn: pickle.loads(pickle.dumps(learn)), "deepcopy": copy.deepcopy}
copied_so = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


def trained(learn):
    """What a fit makes of a Learner: its losses, and all state that training needs."""
    run = learn.fit(2)
    entries = {
        name: entry
        for name, entry in learn.state_entries().items()
        if getattr(entry, "replays", True) and not isinstance(entry, Checkpoint)  # it draws a name
    }
    return {"losses": run.recorder.losses, **capture(entries)}


def trains_on_alike(learn, copied):
    """Whether a copy of a Learner that was fitted trains as it does, and leaves it alone."""
    learn.fit(2)
    before = capture(learn.state_entries())
    other = copied(learn)
    assert other.run is not None
    assert other.run.learn is other
    assert learn.run.learn is learn
    assert {*map(id, other.model.parameters())}.isdisjoint(map(id, learn.model.parameters()))
    for callback in other.callbacks:
        if isinstance(callback, Checkpoint):  # it refuses a folder in which another run has saved
            callback.folder = callback.folder / "of the copy"
    of_copy = trained(other)
    assert first_difference(before, capture(learn.state_entries())) is None
    assert first_difference(trained(learn), of_copy) is None


@copied_so
@pytest.mark.filterwarnings("ignore:batches are cut into micro-batches")
@pytest.mark.parametrize("kind", ALL)
def test_with_every_callback(kind, copied):
    trains_on_alike(learner(make(kind)), copied)


def small(*callbacks, **settings):
    return tiny_learner(callbacks, **settings)


class Sent(ServiceLog, Callback):
    """Sends everything nowhere."""

    state = ("written",)

    def connect(self, run, place):
        return "nowhere", {}

    def send(self, points): ...


@pytest.mark.parametrize("log", [TensorBoardLog, WandbLog, MLflowLog])
def test_with_a_service_whose_connection_cannot_be_pickled(log, tmp_path, monkeypatch):
    package = MagicMock()
    package.init.return_value.id = "a"
    package.MlflowClient.return_value.create_run.return_value.info.run_id = "a"
    monkeypatch.setattr(sys.modules[log.__module__], "import_module", lambda name: package)
    monkeypatch.setattr("lehr.callbacks.log.service_log.find_spec", bool)
    learn = tiny_learner([log(str(tmp_path / "a"))])
    learn.fit(1)
    assert package.method_calls
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(package)
    assert pickle.loads(pickle.dumps(learn)).run.n_steps == 4


def squared(pred, yb):
    return nn.functional.mse_loss(pred, nn.functional.one_hot(yb, 2).float())


def batches():
    yield from [(torch.ones(4, 3), torch.tensor([0, 1, 1, 0]))] * 3


class Both(nn.Linear):
    def forward(self, a, b):
        return super().forward(a + b)


def with_inputs(inputs):
    dataset = Dataset(inputs, torch.arange(20) % 2)
    return tiny_learner(model=Both(3, 2), data=DataBunch(*get_dls(dataset, dataset, 8), c=2))


def by_name():
    return with_inputs({"a": torch.randn(20, 3), "b": torch.randn(20, 3)})


def of_torch():
    pairs = TensorDataset(torch.randn(20, 3), torch.arange(20) % 2)
    loaders = {"one": TorchLoader(pairs, batch_size=5), "two": [(torch.ones(2, 3), pairs[:2][1])]}
    return tiny_learner(data=DataBunch(TorchLoader(pairs, batch_size=5, shuffle=True), loaders))


def two_optimizers():
    model = nn.Linear(3, 2)
    opts = {"w": torch.optim.Adam([model.weight]), "b": torch.optim.SGD([model.bias], lr=0.1)}
    return tiny_learner(model=model, opt=opts)


def full():
    own = [EMA(0.9), ClipGradients(1.0), ParamScheduler("lr", one_cycle(0.5)), Device("cpu")]
    return small(*own, metrics=[accuracy], progress=True)


CONFIGURATIONS = {
    "the usual callbacks": full,
    "progress": partial(small, progress=True),
    "no seed": partial(small, seed=None),
    "a service": lambda: small(Sent()),
    "a loss of one's own": partial(small, loss_func=squared),
    "inputs by name": by_name,
    "torch's loaders": of_torch,
    "a function that makes batches": partial(small, data=DataBunch(batches, batches, c=2)),
    "two optimizers": two_optimizers,
    "compiled": lambda: small(ClipGradients(1.0), EMA(0.9), compile="eager"),
    "digits": lambda: on(data.digits(batch_size=512)),
}


def on(bunch):
    xb, _ = next(iter(bunch.train_dl))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(xb[0].numel(), bunch.c))
    opt = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    return Learner(model, opt, nn.functional.cross_entropy, bunch, progress=False)


@copied_so
@pytest.mark.parametrize("made", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_in_every_configuration(made, copied):
    trains_on_alike(made(), copied)


def images(folder, **settings):
    draw = np.random.default_rng(0)
    for number in range(16):
        file = folder / "photos" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(file)
    return data.image_folder(folder / "photos", 4, size=8, valid_share=0.25, **settings)


def kept_images(folder):
    return images(folder, cache=folder / "cache", augment="flip")


def images_by_workers(folder):
    return images(folder, in_memory=False, num_workers=1)


def table(folder):
    rows = [f"{number},{'rb'[number % 2]},{number % 2}\n" for number in range(20)]
    (folder / "a.csv").write_text("size,hue,kind\n" + "".join(rows))
    return data.table(folder / "a.csv", "kind", 8)


def arrays(folder):
    draw = np.random.default_rng(0)
    np.savez(folder / "a.npz", x=draw.normal(size=(20, 3)).astype("f4"), y=np.arange(20) % 2)
    return data.arrays_file(folder / "a.npz", 8)


def mapped(folder):
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(20, 3)).astype("f4"))
    dataset = Dataset(np.load(folder / "x.npy", mmap_mode="r"), torch.arange(20) % 2)
    return DataBunch(*get_dls(dataset, dataset, 8), c=2)


@copied_so
@pytest.mark.parametrize("made", [images, kept_images, images_by_workers, table, arrays, mapped])
def test_with_data_from_files(made, copied, tmp_path, monkeypatch):
    monkeypatch.setattr(lehr.base.mapped, "RESIDENT", 0)  # so that a small file stays on the disk
    trains_on_alike(on(made(tmp_path)), copied)


class Fails(Callback):
    """Raises where there is a prediction, a loss and a graph."""

    state = ()

    def after_loss(self, run):
        if run.training and run.n_iter == 2:
            raise ZeroDivisionError


@copied_so
def test_after_an_error_it_has_the_batch_without_its_graph(copied):
    learn = tiny_learner([Fails()])
    with pytest.raises(ZeroDivisionError):
        learn.fit(1)
    assert learn.run.loss.grad_fn is not None
    other = copied(learn)
    assert torch.equal(other.run.loss, learn.run.loss)
    assert torch.equal(other.run.pred, learn.run.pred)
    assert torch.equal(other.run.xb, learn.run.xb)
    assert other.run.loss.grad_fn is None
    assert learn.run.loss.grad_fn is not None
    learn.callbacks.clear()
    other.callbacks.clear()
    assert first_difference(trained(learn), trained(other)) is None


def test_the_validation_before_a_fit_is_not_made_again_by_a_copy():
    learn = tiny_learner()
    learn.fit(1)
    for copied in COPIES.values():
        assert "Rehearsal" not in {type(cb).__name__ for cb in copied(learn).everybody()}
    assert "Rehearsal" in {type(cb).__name__ for cb in tiny_learner().everybody()}


def test_a_run_that_is_pickled_alone_does_not_keep_its_learner():
    learn = tiny_learner()
    run = pickle.loads(pickle.dumps(learn.fit(1)))
    assert run.history["loss"] == learn.run.history["loss"]
    with pytest.raises(ReferenceError, match=r"run\.learn is gone"):
        _ = run.learn


@copied_so
def test_a_console_of_ones_own_is_refused_in_words(copied):
    shown = Progress("terminal", console=Console(file=sys.stdout))
    learn = tiny_learner([shown])
    learn.fit(1)
    with pytest.raises(TypeError, match=r"a Progress with a console cannot be pickled or copied"):
        copied(learn)
    learn.callbacks.clear()
    learn.fit(1)
    assert copied(learn).run.n_steps == 4
