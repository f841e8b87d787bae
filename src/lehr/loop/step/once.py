"""Numbers that a compiled step computes once, and not anew for every few items of a tensor."""

from typing import Any, final

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

aten = torch.ops.aten
_CHEAP = {  # an instruction each: what is made of nothing else is repeated sooner than kept
    *(aten.add, aten.sub, aten.rsub, aten.mul, aten.neg),
    torch.ops.prims.convert_element_type,
}


@final
class Once(CustomGraphPass):
    """Lets torch's compiler keep what is computed of rates and counts.

    By itself it puts such numbers into the loop over each parameter, for it takes any arithmetic to
    be cheaper than memory. But Adam's are powers, ``beta ** step``, in double precision: they were
    a quarter of a whole step of AdamW.
    """

    def __call__(self, graph: Graph) -> None:
        """Give every tensor the number from where it was kept."""
        costly = _costly(graph)
        for node in costly:
            tensors = [user for user in node.users if _is_large(user)]
            if tensors and _is_computed(node):
                with graph.inserting_after(node):
                    # The same number; to see it with strides, the compiler has to keep it.
                    kept = graph.call_function(aten.as_strided.default, (node, [], []))
                kept.meta["val"] = node.meta["val"]
                for user in tensors:
                    user.replace_input_with(node, kept)

    def uuid(self) -> Any:
        """What tells this from another pass, where compiled graphs are kept on disk."""
        return get_hash_for_files((__file__,))


def _costly(graph: Graph) -> dict[Node, None]:
    """The numbers that are more than sums and products, in order."""
    found: dict[Node, None] = {}
    for node in graph.nodes:
        if node.op == "call_function" and _is_number(node):
            cheap = getattr(node.target, "overloadpacket", None) in _CHEAP
            if not cheap or any(one in found for one in node.all_input_nodes):
                found[node] = None
    return found


def _is_computed(node: Node) -> bool:
    """Whether it comes of others in double precision, as rates and counts are."""
    return any(map(_is_double, (node, *node.all_input_nodes)))


def _is_number(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()


def _is_double(node: Node) -> bool:
    return _is_number(node) and node.meta["val"].dtype == torch.float64


def _is_large(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dim() > 0
