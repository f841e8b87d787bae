"""Weights alone: to a file and back, whatever wraps the model, and all of them or none."""

import os
import re
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save_file
from torch import nn

from lehr.base import files
from lehr.state.differences import first_difference
from lehr.state.disk import checkpoint
from lehr.state.disk.weights import Differences, differences, load_weights, save_weights
from lehr.state.entries import ModelState
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def net(seed=0, out=2):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, out))


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_inside(model):
    model[3] = compiled(model[3])
    model[0] = nn.DataParallel(model[0])
    return model


WRAPS = {
    "bare": lambda model: model,
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "both": lambda model: compiled(nn.DataParallel(model)),
    "inside": compiled_inside,
}


def state(model):
    return capture({"model": ModelState(model)})["model"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


@pytest.fixture
def saved(path):
    """The state that was saved to ``path``."""
    model = net(seed=1)
    model[1].running_mean.add_(3)
    save_weights(model, path)
    return state(model)


# To a file and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("onto", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_weights_cross_between_wrappers_and_names_are_those_of_the_bare_model(wrap, onto, path):
    names, before = net().state_dict().keys(), state(wrap(net(seed=1)))
    save_weights(wrap(net(seed=1)), path)
    assert load(path.read_bytes()).keys() == names
    other = onto(net())
    parameters = [*other.parameters()]
    assert first_difference(before, state(other))
    assert not load_weights(other, path)
    assert first_difference(before, state(other)) is None
    assert all(a is b for a, b in zip(parameters, other.parameters(), strict=True))


def test_any_tool_reads_the_file(saved, path):
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert first_difference(saved, load(path.read_bytes())) is None
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_tied_strided_odd_and_empty_tensors_are_saved(path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Conv2d(2, 2, 2))
    model[1].weight = model[0].weight
    model[0].bias = nn.Parameter(torch.arange(9.0).reshape(3, 3).t()[1])
    model.to(memory_format=torch.channels_last)
    model.register_buffer("empty", torch.zeros(0, 3))
    model.register_buffer("brain", torch.ones(2, dtype=torch.bfloat16))
    model.register_buffer("turned", torch.ones(2, dtype=torch.complex64).mul(1j).conj())
    save_weights(model, path)
    assert first_difference(state(model), load(path.read_bytes())) is None
    before = state(model)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    load_weights(model, path)
    assert first_difference(before, state(model)) is None
    assert model[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[1].weight is model[0].weight


def test_buffers_kept_out_of_the_models_state_are_kept_out_of_the_file(path):
    model = nn.Linear(1, 1)
    model.register_buffer("cache", torch.ones(2), persistent=False)
    save_weights(model, path)
    assert load(path.read_bytes()).keys() == {"weight", "bias"}
    model.cache.add_(1)
    assert not load_weights(model, path)
    assert model.cache.tolist() == [2, 2]
    save_file(ModelState(model).state_dict(), path)  # as run folders once were
    model.cache.zero_()
    assert not load_weights(model, path)
    assert model.cache.tolist() == [2, 2]


def test_a_failed_write_leaves_the_old_file(saved, path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "no space")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save_weights(net(), path)
    assert first_difference(saved, load(path.read_bytes())) is None
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("way", ["straight", "link of a link", "to nothing yet"])
def test_a_link_of_the_users_stays_and_what_it_leads_to_is_replaced(way, path, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    real, link = store / "weights-7", path
    if way != "to nothing yet":
        save_weights(net(), real.with_name("old.safetensors"))
        real.with_name("old.safetensors").rename(real)
    if way == "link of a link":
        (tmp_path / "between").symlink_to("store/weights-7")
        link.symlink_to("between")
    else:
        link.symlink_to(real)
    tiny_learner(model=net(seed=1)).save(link)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert first_difference(dict(net(seed=1).state_dict()), load(real.read_bytes())) is None
    assert sorted(p.name for p in store.iterdir()) == ["weights-7"]
    save_weights(net(), path)  # the control: under a name of lehr's own, none is followed
    assert not path.is_symlink()
    assert first_difference(dict(net(seed=1).state_dict()), load(real.read_bytes())) is None


def test_a_write_through_a_link_that_fails_leaves_the_old_file(saved, path, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "no space")

    link = tmp_path / "link.safetensors"
    link.symlink_to(path.name)
    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        tiny_learner(model=net()).save(link)
    assert first_difference(saved, load(path.read_bytes())) is None
    assert sorted(tmp_path.iterdir()) == [link, path]


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("w.pt", ValueError, "path must end in .safetensors, the format that is written; got 'w.p"),
        ("w.pt", ValueError, "Write e.g. 'w.safetensors'."),
        ("w", ValueError, "Write e.g. 'w.safetensors'."),
        ("", ValueError, "Write e.g. 'weights.safetensors'."),
        ("none/w.safetensors", FileNotFoundError, "there is no folder none. Make it first."),
        ("file/w.safetensors", FileNotFoundError, "there is no folder file. Make it first."),
        ("folder.safetensors", IsADirectoryError, "folder.safetensors is a folder. Give the name"),
        (3, TypeError, "path must be the path of a file; got 3. Write e.g. 'weights.safetensors'."),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(name, error, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder.safetensors").mkdir()
    Path("file").touch()
    with pytest.raises(error, match=re.escape(told)):
        save_weights(nn.Linear(1, 1), name)
    assert sorted(map(str, Path().iterdir())) == ["file", "folder.safetensors"]


class Holding(nn.Module):
    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        if state == "bad":
            raise ArithmeticError("no such state")
        self.extra = state


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: Holding({}), "_extra_state is dict; a .safetensors file holds dense tensors with"),
        (lambda: Holding({}), "Save a Checkpoint, which holds more."),
        (lambda: nn.LazyLinear(1), "weight is a parameter without a shape yet; "),
        (lambda: nn.LazyLinear(1), "Predict one batch first."),
        (lambda: nn.Linear(1, 1, device="meta"), "weight is a tensor without values (on the meta"),
        (lambda: nn.Linear(1, 1, dtype=torch.complex128), "weight is a tensor of torch.complex128"),
        (lambda: Holding(torch.eye(2).to_sparse()), "_extra_state is a tensor of torch.sparse_coo"),
    ],
)
def test_what_no_file_of_weights_can_hold_is_named(model, told, path):
    with pytest.raises(TypeError, match=re.escape(told)):
        save_weights(model(), path)
    assert not path.exists()


# What fits --------------------------------------------------------------------------------------


def other_files(path, saved):
    torch.save(saved, path)
    yield path
    torch.save({"epoch": 3, "model": {f"module.{k}": v for k, v in saved.items()}}, path)
    yield path
    torch.save({f"module._orig_mod.{k}": v for k, v in saved.items()}, path)
    yield path
    torch.save({f"_orig_mod.module._orig_mod.{k}": v for k, v in saved.items()}, path)
    yield path
    folder = path.with_name("step-00000003")
    checkpoint.write(folder, {"model": saved}, {"run": "a", "serial": 1, "step": 3, "epoch": 0})
    yield folder


def test_files_of_other_programs_and_checkpoints_are_read(saved, path):
    for file in other_files(path, saved):
        model = net()
        assert not load_weights(model, file)
        assert first_difference(saved, state(model)) is None


def test_a_prefix_that_is_the_models_own_stays(path):
    model = nn.ModuleDict({"module": nn.Linear(1, 1)})
    save_weights(model, path)
    assert not load_weights(model, path)
    assert load_weights(model["module"], path) == Differences()


def test_values_take_the_dtype_that_the_model_has(saved, path):
    model = net().to(torch.bfloat16)
    load_weights(model, path)
    assert model[0].weight.dtype == torch.bfloat16
    assert torch.equal(model[0].weight, saved["0.weight"].bfloat16())


@pytest.mark.parametrize("strict", [True, False])
def test_a_model_that_ties_weights_needs_them_once(strict, path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    for name in ("0.weight", "1.weight"):
        save_file({name: torch.ones(2, 2), "0.bias": torch.ones(2)}, path)
        with torch.no_grad():
            model[0].weight.zero_()
        assert not load_weights(model, path, strict=strict)
        assert model[1].weight.tolist() == [[1, 1], [1, 1]]
    save_file({"0.bias": torch.ones(2)}, path)
    assert load_weights(model, path, strict=False).missing == ("0.weight", "1.weight")


def test_tied_weights_cannot_take_two_values(path):
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    save_file({"0.weight": torch.ones(2, 2), "1.weight": torch.zeros(2, 2)}, path)
    told = r"1\.weight is not equal to 0\.weight in the file and tied to it in the model"
    with pytest.raises(ValueError, match=told):
        load_weights(model, path)
    load_weights(model, path, strict=False)
    assert model[1].weight.tolist() == [[1, 1], [1, 1]]


def change(tensors):
    """One of each kind of difference."""
    tensors["3.weigth"] = tensors.pop("3.weight")
    tensors["3.bias"] = torch.zeros(7)
    tensors["1.num_batches_tracked"] = torch.tensor(0.5)
    tensors["head"] = torch.zeros(1)


READABLE = """\
missing in the file (1): 3.weight
not in the model (2): 3.weigth (3.weight?), head
that do not fit (2): 1.num_batches_tracked is () float32 in the file and () int64 in the model, \
3.bias is (7,) float32 in the file and (2,) float32 in the model"""


def test_what_does_not_fit_is_listed_and_nothing_changes(saved, path):
    tensors = load(path.read_bytes())
    change(tensors)
    torch.save(tensors, path)
    model = net()
    before = state(model)
    match = re.escape(
        f"the weights in {path} do not fit the model; nothing was changed.\n{READABLE}\n"
        "Give strict=False to load what fits."
    )
    with pytest.raises(ValueError, match=f"^{match}$"):
        load_weights(model, path)
    assert first_difference(before, state(model)) is None


def test_what_fits_is_loaded_if_that_is_asked_for(saved, path):
    tensors = load(path.read_bytes())
    change(tensors)
    torch.save(tensors, path)
    model = net()
    before = state(model)
    unlike = load_weights(model, path, strict=False)
    assert repr(unlike) == READABLE
    assert unlike.missing == ("3.weight",)
    after = state(model)
    left = {"3.weight", "3.bias", "1.num_batches_tracked"}
    for name, value in after.items():
        assert first_difference(value, (before if name in left else saved)[name]) is None
    assert first_difference(before["0.weight"], after["0.weight"])


def test_a_state_that_is_no_tensor_must_be_of_its_kind(path):
    torch.save({"_extra_state": {"n": 1}, "w": torch.zeros(1)}, path)
    model = Holding({"n": 0})
    assert load_weights(model, path, strict=False).unexpected == ("w",)
    assert model.extra == {"n": 1}
    model = Holding(torch.zeros(1))
    with pytest.raises(ValueError, match="_extra_state is dict in the file and "):
        load_weights(model, path)


def test_an_error_of_the_models_own_loading_leaves_it_as_it_was(path):
    model = nn.Sequential(nn.Linear(1, 1), Holding("good"))
    before = state(model)
    torch.save(model.state_dict() | {"0.bias": torch.ones(1), "1._extra_state": "bad"}, path)
    with pytest.raises(ArithmeticError, match="no such state") as caught:
        load_weights(model, path)
    assert "all entries are as they were before" in caught.value.__notes__[0]
    assert first_difference(before, state(model)) is None


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.LazyLinear(1), "weight of the model has no shape yet. Predict one batch first."),
        (nn.Linear(1, 1, device="meta"), "weight of the model is on the meta device, which keeps"),
    ],
)
def test_a_model_without_memory_takes_no_weights(model, told, saved, path):
    with pytest.raises(ValueError, match=re.escape(told)):
        load_weights(model, path, strict=False)


def test_only_a_path_is_loaded_from():
    with pytest.raises(TypeError, match="path must be the path of a file; got None"):
        load_weights(net(), None)


def test_long_lists_are_cut_and_counted():
    some = tuple("abcdefgh")
    unlike = Differences(missing=some, unlike=tuple((x, "1", "2") for x in some))
    first, second = repr(unlike).splitlines()
    assert first == "missing in the file (8): a, b, c, d, e, and 3 more"
    assert second.startswith("that do not fit (8): a is 1 in the file and 2 in the model, ")
    assert second.endswith(", and 3 more")
    assert unlike
    assert not Differences()


def test_states_are_compared_by_names_and_shapes_alone():
    class Odd(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layer, self.lazy = nn.Linear(2, width), nn.LazyLinear(1)
            self.register_buffer("cache", torch.zeros(width), persistent=False)

        def get_extra_state(self):
            return {"width": self.layer.out_features}

        def set_extra_state(self, state): ...

    then = state(Odd(3))
    made = Odd(3)
    made.lazy(torch.zeros(1, 5))
    for model in (Odd(3), made):
        assert not differences(ModelState(model), then)
        assert not differences(ModelState(Odd(3)), state(model))
    found = differences(ModelState(Odd(4)), then)
    assert [name for name, _, _ in found.unlike] == ["layer.weight", "layer.bias"]
    assert differences(ModelState(net()), then).unexpected[:1] == ("layer.weight",)
