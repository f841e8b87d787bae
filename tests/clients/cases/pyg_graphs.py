"""Batches of graphs of PyTorch Geometric, a class for each graph."""

import torch
from torch import nn
from torch.nn import functional as F

from lehr import DataBunch, Learner

PACKAGES = ["torch_geometric"]
ITEMS = 8
DRAW = torch.Generator().manual_seed(1)


def loader(count):
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader

    draw, graphs = torch.Generator().manual_seed(count), []
    for _ in range(count):
        nodes = int(torch.randint(3, 7, (1,), generator=draw))
        x = torch.randn(nodes, 4, generator=draw)
        links = torch.randint(0, nodes, (2, 2 * nodes), generator=draw)
        graphs.append(Data(x=x, edge_index=links, y=(x.sum() > 0).long()))
    return DataLoader(graphs, batch_size=4)


def valid():
    return loader(8)


def make():
    from torch_geometric.nn import GCNConv, global_mean_pool

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = GCNConv(4, 8), nn.Linear(8, 2)

        def forward(self, graph):
            hidden = self.conv(graph.x, graph.edge_index).relu()
            return self.head(global_mean_pool(hidden, graph.batch))

    return Model()


def model():
    return make()


def learner(net):
    return Learner(
        net,
        torch.optim.Adam(net.parameters(), lr=0.01),
        F.cross_entropy,
        DataBunch(loader(16), loader(8)),
        split_batch=lambda graph: (graph, graph.y),
        progress=False,
    )


def check(learn, run):
    assert run.weight == 4  # graphs, not nodes


def plain(net):
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(2):
        for graph in loader(16):
            F.cross_entropy(net(graph), graph.y).backward()
            opt.step()
            opt.zero_grad()
