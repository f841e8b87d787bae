"""Sums with a factor, written out for torch's compiler, which forgets the factor of some."""

from typing import Any, final

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph

aten = torch.ops.aten


@final
class Factors(CustomGraphPass):
    """Makes ``a + factor * b`` of ``add(a, b, alpha=factor)``.

    Where ``a`` or ``b`` is a product of matrices, torch's compiler makes one call of both, the sum
    without its factor. So SGD with a weight decay of 0.1 decayed every ``Linear`` ten times as
    much: the gradient of its weights is such a product, to which weights times 0.1 are added.
    """

    def __call__(self, graph: Graph) -> None:
        """Write every factor as a product."""
        for node in graph.find_nodes(op="call_function", target=aten.add.Tensor):
            factor = node.kwargs.get("alpha", 1)
            other: Any = node.args[1]
            if factor == 1 or not isinstance(other, torch.fx.Node):
                continue
            with graph.inserting_before(node):
                product = graph.call_function(aten.mul.Tensor, (other, factor))
            product.meta["val"] = other.meta["val"]
            node.args = (node.args[0], product)
            node.kwargs = {name: value for name, value in node.kwargs.items() if name != "alpha"}

    def uuid(self) -> Any:
        """What tells this from another pass, where compiled graphs are kept on disk."""
        return get_hash_for_files((__file__,))
