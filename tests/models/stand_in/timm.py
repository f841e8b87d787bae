"""A stand-in for the package timm: what lehr calls of it, with one network, and nothing else.

It is no test of timm. Where timm itself can be imported, tests/clients try that.
"""

from dataclasses import dataclass

import torch
from torch import nn

CACHE = None  # the weights that timm would have downloaded
ASKED = []  # whether weights were asked for, by each call of create_model


@dataclass
class Cfg:
    mean: tuple = (0.5, 0.25, 0.125)
    std: tuple = (0.5, 0.5, 0.25)
    input_size: tuple = (3, 16, 16)
    num_classes: int = 5
    classifier: str = "fc"
    fixed_input_size: bool = False


class Net(nn.Module):
    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_chans, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(6, num_classes)
        self.pretrained_cfg = vars(Cfg())

    def reset_classifier(self, num_classes):
        self.fc = nn.Linear(6, num_classes)

    def forward(self, x):
        return self.fc(self.pool(self.body(self.stem(x))))


def list_models():
    return ["tiny_net"]


def get_pretrained_cfg(name, allow_unregistered=True):
    if name != "tiny_net":
        raise RuntimeError(f"Model architecture ({name}) has no pretrained cfg registered.")
    return Cfg()


def create_model(name, pretrained=False, num_classes=5, in_chans=3):
    ASKED.append(pretrained)
    model = Net(num_classes, in_chans)
    if pretrained:
        if CACHE is None:
            raise RuntimeError("No address associated with hostname\nand more.")
        kept = model.state_dict()
        weights = torch.load(CACHE, weights_only=True)
        kept.update({k: v for k, v in weights.items() if v.shape == kept[k].shape})
        model.load_state_dict(kept)
    return model
