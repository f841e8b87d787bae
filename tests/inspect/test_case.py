import torch
import torch.nn.functional as F
from torch import nn

from lehr.inspect.case import Case
from lehr.inspect.chains import follow
from lehr.inspect.measure import measure


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b, self.head = (nn.Linear(4, 4) for _ in range(4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        nn.init.zeros_(self.b.weight)
        nn.init.zeros_(self.b.bias)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.b(F.relu(self.a(x)))
        return self.head(self.attention(x, x, x)[0])


def case():
    torch.manual_seed(0)
    seen = measure(Net(), torch.randn(8, 3, 4))
    return Case(seen.sites, seen.weights, follow(seen.sites))


def site(case, name):
    return next(s for s in case.sites if s.name == name)


def test_where_each_layer_stands():
    c = case()
    assert [s.name for s in c.layers] == ["stem", "a", "b", "head"]
    assert [c.is_head(s) for s in c.layers] == [False, False, False, True]
    assert [c.ends_branch(s) for s in c.layers] == [False, False, True, False]
    assert [c.may_be_small(s) for s in c.layers] == [True, True, True, True]
    assert [s.name for s in c.after(site(c, "a"))][:2] == ["b", "attention"]


def test_weights_and_sites_find_each_other():
    c = case()
    weights = {w.name: w for w in c.weights}
    assert c.site_of(weights["a.weight"]).name == "a"
    assert c.weight_of(site(c, "a")) is weights["a.weight"]
    assert c.site_of(weights["attention.in_proj_weight"]) is None
    assert c.owner_of(weights["attention.in_proj_weight"]).name == "attention"
    assert c.owner_of(weights["a.weight"]) is None


def test_between_two_layers_lie_their_activations():
    c = case()
    names = [s.kind for s in c.between([site(c, "a"), site(c, "b")])]
    assert names == ["linear", "relu", "linear"]
