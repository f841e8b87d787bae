"""Which parameters are left out of weight decay."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lehr.models import RunningBatchNorm
from lehr.optim.undecayed import undecayed


class LlamaRMSNorm(nn.Module):
    """As a library writes its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


class NormalHead(nn.Linear):
    """Which has nothing to do with norms."""


class NormHead(nn.Linear):
    """A head, though behind a norm."""


class LayerNorm2d(nn.Module):
    """As vision libraries write theirs."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


def model():
    return nn.ModuleDict(
        {
            "embed": nn.Embedding(3, 2),
            "bag": nn.EmbeddingBag(3, 2),
            "attention": nn.MultiheadAttention(2, 1),
            "batch": nn.BatchNorm1d(2),
            "rms": LlamaRMSNorm(),
            "normed": weight_norm(weight_norm(nn.Linear(2, 2)), "bias"),
        }
    )


def names(kinds, net=None):
    net = net or model()
    found = undecayed(net, kinds)
    return {name for name, p in net.named_parameters() if id(p) in found}


def test_norms_are_known_by_their_class_also_those_of_others():
    assert names(["norms"]) == {"batch.weight", "batch.bias", "rms.weight"}


def test_a_class_is_no_norm_for_having_the_letters_in_its_name():
    net = nn.Sequential(NormalHead(2, 2), NormHead(2, 2), LayerNorm2d(), RunningBatchNorm(2))
    assert names(["norms"], net) == {"2.weight", "3.weight", "3.bias"}


def test_the_biases_of_recurrent_layers_and_of_attention_are_biases():
    net = nn.ModuleDict(
        {
            "read": nn.LSTM(2, 2, bidirectional=True),
            "cell": nn.GRUCell(2, 2),
            "see": nn.MultiheadAttention(2, 1, add_bias_kv=True),
        }
    )
    biases = {name for name, _ in net.named_parameters() if "bias" in name}
    assert names(["biases"], net) == biases
    assert {"read.bias_ih_l0", "read.bias_hh_l0_reverse", "cell.bias_ih", "see.bias_k"} <= biases
    unbiased = nn.ParameterDict({"unbiased": nn.Parameter(torch.ones(1))})
    assert names(["biases"], unbiased) == set()


def test_biases_are_known_by_name_also_parametrized_ones():
    assert names(["biases"]) == {
        "batch.bias",
        "attention.in_proj_bias",
        "attention.out_proj.bias",
        "normed.parametrizations.bias.original0",
        "normed.parametrizations.bias.original1",
    }


def test_embeddings_are_left_out_when_asked_and_with_them_what_is_tied_to_them():
    assert names(["embeddings"]) == {"embed.weight", "bag.weight"}
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Embedding(3, 2))
    net[1].weight = net[0].weight
    assert names(["embeddings"], net) == {"0.weight"}
    assert names([]) == set()


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"no_decay has no kind 'norm'. Did you mean norms\?"):
        undecayed(model(), ["norm"])
