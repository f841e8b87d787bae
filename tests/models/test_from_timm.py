"""What is asked of timm, for which a stand-in answers here."""

import sys

import pytest
import torch

from lehr.models import from_timm, pretrained
from lehr.state.disk.weights import save_weights


def test_what_a_network_expects(timm):
    assert from_timm.look("tiny_net") == {
        "mean": (0.5, 0.25, 0.125),
        "std": (0.5, 0.5, 0.25),
        "size": (16, 16),
        "any_size": True,
    }


@pytest.mark.parametrize("name", ["tiny_nett", "hf-hub:somebody/net", "local-dir:/tmp", ""])
def test_only_names_of_its_list_are_passed_on(timm, name):
    with pytest.raises(ValueError, match=r"timm has no model .*timm[:.]"):
        from_timm.build(name, 2, 3)
    assert timm.ASKED == []


@pytest.mark.parametrize("classes", [2, 5])
def test_the_body_is_pretrained_and_the_head_is_new(timm, tmp_path, classes):
    old = timm.Net(5, 3)
    timm.CACHE = tmp_path / "tiny.pt"
    torch.save(old.state_dict(), timm.CACHE)
    model = from_timm.build("tiny_net", classes, 3, pretrained=True)
    assert model.stem[0].weight.equal(old.stem[0].weight)
    assert model.fc.weight.shape == (classes, 6)
    assert not model.fc.weight.equal(old.fc.weight[:classes])
    assert from_timm.heads(model) == ["fc"]


def test_weights_that_cannot_be_had(timm):
    with pytest.raises(OSError, match=r"No address .* needs a network. Or give a file") as caught:
        from_timm.build("tiny_net", 2, 3, pretrained=True)
    assert "and more" not in str(caught.value)
    assert from_timm.build("tiny_net", 2, 1)(torch.zeros(2, 1, 8, 8)).shape == (2, 2)


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm:tiny_net needs .* Install it: pip install timm"):
        from_timm.look("tiny_net")


def test_timm_itself_where_it_can_be_imported(tmp_path):
    """Its torchvision must be one for this torch, too, so it is no part of the extra clients."""
    try:
        import timm  # noqa: F401
    except Exception as error:
        pytest.skip(f"timm cannot be imported here: {type(error).__name__}")
    net = pretrained("timm:resnet10t")
    assert net.data_options["size"] == (176, 176)
    old = net.build(7, weights=False)
    save_weights(old, tmp_path / "old.safetensors")
    model = net.build(2, weights=tmp_path / "old.safetensors")
    assert from_timm.heads(model) == ["fc"]
    ours, theirs = model.state_dict(), old.state_dict()
    assert all(ours[name].equal(theirs[name]) for name in ours if not name.startswith("fc."))
    assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 2)
    assert from_timm.build("test_vit", 2, 3)(torch.zeros(2, 3, 160, 160)).shape == (2, 2)
    with pytest.raises(ValueError, match="Did you mean timm:resnet18"):
        pretrained("timm:resnt18")
