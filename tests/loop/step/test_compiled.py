"""Every kind of compiled step tells whether torch has a graph for what comes."""

import pytest
import torch

from lehr.loop.step.capture import Captured
from lehr.loop.step.compiled import Compiled
from lehr.loop.step.direct import Direct


def double(x):
    return x * 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch.jit, within torch
@pytest.mark.parametrize("captures", [False, True])
def test_it_tells_whether_there_is_a_graph(captures):
    torch.compiler.reset()
    graph = torch.compile(double, backend="eager", fullgraph=True)
    direct = Direct(double, graph, by_torch=captures)
    step: Compiled = Captured(direct) if captures else direct
    given = [torch.ones(2)]
    assert step.made_for(given) is None
    assert step(*given).tolist() == [2, 2]
    assert step.made_for(given)(*given).tolist() == [2, 2]
    assert step.made_for([torch.ones(2).double()]) is None
