"""What is asked of timm, for which a stand-in answers here."""

import sys

import pytest
import torch

from lehr.models import from_timm


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
