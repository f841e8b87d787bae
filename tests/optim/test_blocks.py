"""What a model is built of, block by block."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lehr.models import mlp, resnet
from lehr.optim.blocks import blocks


class Block(nn.Module):
    """With a row of layers inside, which is no row of blocks."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4))
        self.embed = nn.Linear(4, 4)
        self.layers = nn.ModuleList(Block() for _ in range(3))
        self.norm = nn.LayerNorm(4)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = Inner()
        self.drop = nn.Dropout()
        self.head = nn.Linear(4, 2)


def test_a_row_of_blocks_gives_one_each_and_what_stands_around_it_is_one_each():
    assert blocks(Transformer()) == [
        ["base.position", "base.embed"],
        ["base.layers.0"],
        ["base.layers.1"],
        ["base.layers.2"],
        ["base.norm", "head"],
    ]


class Stages(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
        self.layer1, self.layer2 = (nn.Sequential(*(Block() for _ in range(depth))) for _ in "12")
        self.fc = nn.Linear(1, 1)


def test_stages_are_opened_and_stages_of_one_block_are_children():
    found = ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]
    assert blocks(Stages(2)) == [["conv", "norm"], *([path] for path in found), ["fc"]]
    found = ["conv", "norm", "layer1", "layer2", "fc"]
    assert blocks(Stages(1)) == [[path] for path in found]


def test_the_models_of_lehr():
    assert blocks(mlp(64, 10)) == [["1"], ["3"]]
    assert blocks(resnet(1, 10, blocks=2))[1:3] == [["3"], ["4"]]


def test_a_child_alone_is_opened_and_wrappers_and_parametrizations_are_no_blocks():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(weight_norm(nn.Linear(2, 2)), nn.ReLU(), nn.Linear(2, 2))

    assert blocks(nn.DataParallel(Net())) == [["net.0"], ["net.2"]]
    assert blocks(nn.Sequential(nn.Linear(2, 2))) == [["0"]]
    wide = nn.Sequential(*(weight_norm(weight_norm(nn.Linear(2, 2)), "bias") for _ in range(2)))
    assert blocks(wide) == [["0"], ["1"]]
