"""What a model is looked at with: a pass without gradients, and nothing of it stays."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lehr.state.entries import ModelState
from lehr.state.snapshot import capture
from lehr.state.structure import keep_structure
from lehr.state.wrappers import bare


def keep_for_a_look(model: Any) -> Callable[[], None]:
    """A function that undoes what a pass without gradients may have done to a model.

    Buffers are copied, and parameters that are trained: soon there will be gradients of their size.
    Frozen parameters, which may fill a device, are not copied, only held. Parts, attributes and
    hooks are put back as `lehr.state.structure.keep_structure` does.

    Args:
        model: a module, or something with a module's methods.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> put_back = keep_for_a_look(model)
        >>> _ = model.running_mean.fill_(7.0); put_back(); model.running_mean
        tensor([0., 0.])
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        entry = ModelState(model)
        saved = capture({"model": entry})["model"]
        return lambda: entry.load_state_dict(saved)
    model = bare(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    return keep_structure(model, copied=[*trained, *model.buffers()])
