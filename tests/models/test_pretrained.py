"""Networks that were trained for something else, whoever made them."""

import pytest
import torch
from torch import nn

from lehr.models import heads, is_import_path, is_packaged, load_body, mlp, pretrained, resnet
from lehr.models.from_transformers import Logits
from lehr.state.disk.weights import save_weights

from .test_from_transformers import Network


def test_names_of_packages_are_no_import_paths():
    for name in ("timm:resnet18", "timm:resnet18.a1_in1k", "hf:microsoft/resnet-18", "hf:vit"):
        assert is_packaged(name)
        assert not is_import_path(name)
    assert not is_packaged("timm")
    assert is_import_path("timm.models:resnet18")


def test_a_network_says_how_images_are_prepared_and_is_built(timm):
    net = pretrained("timm:tiny_net")
    assert net.data_options == {
        "normalize": ((0.5, 0.25, 0.125), (0.5, 0.5, 0.25)),
        "size": (16, 16),
    }
    assert net.build(2, weights=False)(torch.zeros(2, 3, 16, 16)).shape == (2, 2)
    assert net.build(2, weights=False, channels=1).stem[0].in_channels == 1
    assert timm.ASKED == [False, False]


@pytest.mark.parametrize("made_by", ["lehr", "torch"])
def test_a_file_gives_the_body_and_no_head(tmp_path, made_by):
    old, new = resnet(1, 5, widths=(4, 8)), resnet(1, 5, widths=(4, 8))
    path = tmp_path / "old.safetensors"
    if made_by == "lehr":
        save_weights(old, path)
    else:
        torch.save({"state_dict": old.state_dict()}, path)
    (head,) = heads(new)
    before = new.get_submodule(head).weight.clone()
    assert load_body(new, path) == []
    assert new.get_submodule(head).weight.equal(before)
    assert not new.get_submodule(head).weight.equal(old.get_submodule(head).weight)
    for name, value in old.state_dict().items():
        assert name.startswith(head) or new.state_dict()[name].equal(value)


def test_a_file_of_another_network_is_refused(tmp_path):
    save_weights(mlp(64, 10), tmp_path / "mlp.safetensors")
    wrong = r"not of this model: .* the file lacks 1.weight \(it is \(50, 64\) float32 in the file"
    with pytest.raises(ValueError, match=wrong):
        load_body(mlp(32, 10), tmp_path / "mlp.safetensors")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"a": print}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="is refused"):
        load_body(mlp(64, 10), tmp_path / "evil.pt")


def test_weights_of_transformers_fit_with_and_without_our_prefix(tmp_path):
    old = Logits(Network())
    save_weights(old, tmp_path / "ours.safetensors")
    save_weights(old.network, tmp_path / "theirs.safetensors")
    for name in ("ours", "theirs"):
        new = Logits(Network())
        assert load_body(new, tmp_path / f"{name}.safetensors") == []
        assert new.network.body.weight.equal(old.network.body.weight)
        assert not new.network.classifier.weight.equal(old.network.classifier.weight)


def test_a_model_without_parameters_has_no_head():
    with pytest.raises(ValueError, match="no parameters"):
        heads(nn.ReLU())
