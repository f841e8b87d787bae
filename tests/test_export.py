"""A model becomes a program; torch takes seconds to load what it makes one with."""

import copy

import pytest
import torch
from torch import nn

from lehr import DataBunch, Learner
from lehr.export import check_ending, write_program
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import tiny_learner


def load(path):
    return torch.export.load(path).module()


class Two(nn.Module):
    """Takes a dict with a mask, and returns a dict."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x, mask):
        return {"a": self.drop(self.layer(x) * mask), "b": x.sum(1)}


@pytest.mark.slow
def test_the_program_gives_what_the_learner_predicts_and_leaves_no_trace(tmp_path):
    learn = tiny_learner()
    learn.fit(1)
    before = capture(learn.state_entries())
    learn.export(tmp_path / "tiny.pt2")
    assert first_difference(before, capture(learn.state_entries())) is None
    for items in (1, 2, 7):
        xb = torch.randn(items, 3)
        assert torch.allclose(load(tmp_path / "tiny.pt2")(xb), learn.predict(xb), atol=1e-6)
    learn.fit(1)  # the control
    assert not torch.allclose(load(tmp_path / "tiny.pt2")(xb), learn.predict(xb), atol=1e-6)


@pytest.mark.slow
def test_dicts_and_dropout_and_a_batch_of_one_item(tmp_path):
    model = Two().train()
    write_program(model, {"x": torch.ones(1, 3), "mask": torch.ones(1, 1)}, tmp_path / "m.pt2")
    assert model.training
    xb = {"x": torch.randn(5, 3), "mask": torch.ones(5, 1)}
    expected = model.eval()(**xb)
    got = load(tmp_path / "m.pt2")(**xb)
    assert got.keys() == expected.keys()
    assert torch.allclose(got["a"], expected["a"])
    assert not torch.allclose(got["a"], model.train()(**xb)["a"])


@pytest.mark.slow
def test_a_compiled_or_parallel_model_is_exported_without_its_wrapper(tmp_path):
    model = nn.Linear(3, 2)
    write_program(nn.DataParallel(model), torch.ones(4, 3), tmp_path / "m.pt2")
    assert torch.allclose(load(tmp_path / "m.pt2")(torch.ones(3, 3)), model(torch.ones(3, 3)))


@pytest.mark.slow
def test_notes_are_kept_in_the_file(tmp_path):
    write_program(nn.Linear(3, 2), torch.ones(4, 3), tmp_path / "m.pt2", {"words.json": "[1]"})
    extra = {"words.json": ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    assert extra == {"words.json": "[1]"}


def test_an_ending_without_a_format_is_refused(tmp_path):
    match = (
        r"^path must end in \.pt2 \(torch\.export\) or \.onnx; got '.*m\.pt'\. Give e\.g\. model"
    )
    with pytest.raises(ValueError, match=match):
        tiny_learner().export(tmp_path / "m.pt")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("lehr.export.find_spec", lambda name: None)
    match = (
        r"^an \.onnx file needs packages that are not installed: onnx and onnxscript\. Install "
        r"them: pip install 'lehr\[onnx\]'\.$"
    )
    with pytest.raises(ImportError, match=match):
        check_ending(tmp_path / "m.onnx")


class Data(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


class Random(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, training=True)


class Sized(nn.Module):
    def forward(self, x):
        return x + torch.ones(2, 40)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "match"),
    [
        (
            Data(),
            r"^torch\.export cannot turn the model into a program: \w+: .* See in torch\.export's",
        ),
        (Random(), r"^the program gives something else than the model: .* Does the model draw"),
        (Sized(), r"^the program takes no batch of 1: .* Does the model's forward use the number"),
    ],
)
def test_a_model_that_makes_no_program_is_refused_and_nothing_is_written(model, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        write_program(model, torch.ones(64, 40), tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_batch_without_items_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^the first batch has no items, so nothing can be tried"):
        write_program(nn.Linear(3, 2), torch.ones(0, 3), tmp_path / "m.pt2")


def onnx_model(path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path)
    return lambda xb: torch.as_tensor(
        session.run(None, {session.get_inputs()[0].name: xb.numpy()})[0]
    )


@pytest.mark.slow
def test_onnx_gives_what_the_learner_predicts(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-clients")
    pytest.importorskip("onnxscript")
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(4 * 36, 2))
    batch = torch.randn(8, 1, 8, 8), torch.arange(8) % 2
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = Learner(model, opt, nn.functional.cross_entropy, DataBunch([batch]), progress=False)
    learn.fit(1)
    learn.export(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(proto)
    run = onnx_model(tmp_path / "m.onnx")
    for items in (1, 5):
        assert torch.allclose(run(batch[0][:items]), learn.predict(batch[0][:items]), atol=1e-5)
    other = copy.deepcopy(learn)
    other.fit(1)
    assert not torch.allclose(run(batch[0]), other.predict(batch[0]), atol=1e-5)


@pytest.mark.slow
def test_onnx_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="onnx is not installed: make test-clients")

    def fail(*args, **kwargs):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    match = r"^torch\.onnx cannot write the model: RuntimeError: no such operator\. Export it as"
    with pytest.raises(ValueError, match=match):
        write_program(nn.Linear(3, 2), torch.ones(4, 3), tmp_path / "m.onnx")
