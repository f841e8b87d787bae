"""What is asked of transformers, which `make test-clients` has; the rest runs anywhere."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lehr.models import from_transformers, pretrained


class Output:
    def __init__(self, logits):
        self.logits = logits


class Network(nn.Module):
    base_model_prefix = "body"

    def __init__(self):
        super().__init__()
        self.body, self.drop, self.classifier = nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2)

    def forward(self, pixel_values):
        return Output(self.classifier(self.body(pixel_values)))


def test_the_scores_alone_come_out_and_the_head_is_what_is_behind_the_body():
    model = from_transformers.Logits(Network())
    assert model(torch.zeros(5, 3)).shape == (5, 2)
    assert from_transformers.heads(model) == ["network.classifier"]


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    for ask in (lambda: pretrained("hf:a/b"), lambda: from_transformers.build("{}", 2)):
        with pytest.raises(ImportError, match="Install it: pip install transformers"):
            ask()


CONFIG = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
IMAGES = {
    "image_processor_type": "ConvNextImageProcessor",
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.2, 0.3],
    "size": {"shortest_edge": 48},
}


@pytest.fixture
def folder(tmp_path):
    """A small pretrained network, made here."""
    transformers = pytest.importorskip("transformers", reason="make test-clients")
    config = transformers.ResNetConfig(**CONFIG, num_labels=5)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    Path(tmp_path, "preprocessor_config.json").write_text(json.dumps(IMAGES))
    return tmp_path


def test_a_folder_of_transformers(folder, recwarn):
    net = pretrained(f"hf:{folder}")
    assert net.data_options == {
        "normalize": ((0.4, 0.5, 0.6), (0.2, 0.2, 0.3)),
        "size": (48, 48),
    }
    first, again = net.build(2), net.build(2)
    x = torch.randn(2, 3, 48, 48)
    assert first(x).shape == (2, 2)
    body, other = first.network.resnet.state_dict(), again.network.resnet.state_dict()
    assert all(body[name].equal(other[name]) for name in body)
    assert not first.network.classifier[1].weight.equal(again.network.classifier[1].weight)
    fresh = net.build(2, weights=False)
    fresh.load_state_dict(first.state_dict())
    assert fresh.eval()(x).equal(first.eval()(x))


def test_a_config_from_a_file_fetches_nothing(folder, recwarn):
    config = json.loads(pretrained(f"hf:{folder}").config)
    spiked = {**config, "auto_map": {"AutoConfig": "evil.Config"}, "_attn_implementation": "a/b"}
    model = from_transformers.build(json.dumps(spiked), 3)
    assert not hasattr(model.network.config, "auto_map")
    for wrong in ("[]", "{", '{"model_type": "gpt2"}', '{"model_type": "timm_wrapper"}'):
        with pytest.raises(ValueError, match=r"hf:|no JSON"):
            from_transformers.build(wrong, 3)
