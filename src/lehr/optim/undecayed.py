"""Parameters that are usually left out of weight decay: of norms, biases, embeddings."""

import re
from collections.abc import Collection

from torch import nn

from lehr.errors import did_you_mean
from lehr.optim.parts import modules, named, plain

KINDS = ("norms", "biases", "embeddings")
"""What can be left out by kind."""

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_NORM = re.compile(r"Norm(ali[sz]ation)?(\d\w*)?$")


def undecayed(model: nn.Module, kinds: Collection[str]) -> set[int]:
    """The ``id`` of every parameter of these kinds.

    - ``"norms"``: all of a module whose class, or a class that it inherits from, has a name that
      ends in ``Norm``, such as ``LlamaRMSNorm``, also with a number behind, such as
      ``LayerNorm2d``. A ``NormalHead`` or a ``NormHead`` is none.
    - ``"biases"``: those whose name has the word ``bias``: ``bias``, ``in_proj_bias``, and
      ``bias_ih_l0`` and its like in recurrent layers.
    - ``"embeddings"``: the tables of `torch.nn.Embedding` and `torch.nn.EmbeddingBag`. A head that
      is tied to one is left out with it.

    Args:
        model: whose parameters.
        kinds: some of `KINDS`.

    Raises:
        ValueError: there is no such kind.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> found = undecayed(model, ["norms", "biases"])
        >>> [name for name, p in model.named_parameters() if id(p) in found]
        ['0.bias', '1.weight', '1.bias']
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"no_decay has no kind {kind!r}. {did_you_mean(str(kind), KINDS)}")
    owners = dict(modules(model))

    def left_out(name: str) -> bool:
        path, _, leaf = re.sub(r"\.original\d*$", "", plain(name)).rpartition(".")
        owner = owners.get(path)
        return (
            ("norms" in kinds and _is_norm(owner))
            or ("biases" in kinds and "bias" in leaf.split("_"))
            or ("embeddings" in kinds and isinstance(owner, _EMBEDDINGS))
        )

    return {id(p) for p, names in named(model) if any(left_out(name) for name in names)}


def _is_norm(module: nn.Module | None) -> bool:
    return any(_NORM.search(kind.__name__) for kind in type(module).__mro__)
