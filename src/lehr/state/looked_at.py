"""What a model is looked at with: a pass without gradients, and nothing of it stays."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.state.differences import first_difference
from lehr.state.entries import ModelState, modules
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


@interrupts_wait_at_both_ends
@contextmanager
def buffers_kept(*roots: Any) -> Generator[None]:
    """A scope after which the buffers that modules have now are the same, with the same values.

    A module of which a buffer has changed gets its plain attributes back, too: the length of a
    cache belongs to the cache. What is lazy may be made inside, and a buffer that is new stays. A
    module that was moved to another device, or cast, stays there.

    Args:
        roots: the modules, with all that are in them; what is no module has no buffers.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with buffers_kept(model):
        ...     _ = model.running_mean.fill_(7.0)
        >>> model.running_mean
        tensor([0., 0.])
    """
    parts = [part for root in roots if isinstance(root, nn.Module) for _, part in modules(root)]
    kept = [_KeptBuffers(part) for part in {id(part): part for part in parts}.values()]
    try:
        yield
    finally:
        for one in kept:
            one.put_back()


class _KeptBuffers:
    """The buffers of one module, without those of the modules in it."""

    def __init__(self, part: nn.Module) -> None:
        self.part, self.held = part, _buffers(part)
        if any(is_lazy(t) for t in (*part.parameters(recurse=False), *self.held.values())):
            self.held = {}
        self.values = {name: buffer.detach().clone() for name, buffer in self.held.items()}
        own = vars(part).items() if self.held else ()
        self.plain = {name: v for name, v in own if v is None or isinstance(v, _PLAIN)}

    @torch.no_grad()
    def put_back(self) -> None:
        now = _buffers(self.part)
        changed = [self._put_back(name, now.get(name)) for name in self.held]
        if True in changed:
            vars(self.part).update(self.plain)

    def _put_back(self, name: str, now: Tensor | None) -> bool:
        """Whether it had changed."""
        held, values = self.held[name], self.values[name]
        if now is not None and _is_moved(held, now):
            moved = values.to(now.device, now.dtype)
            if not (same := _is_same(now, moved)):
                setattr(self.part, name, moved)
            return not same
        if now is not held:
            setattr(self.part, name, held)
        if not (same := _is_same(held, values)):
            if held.shape == values.shape:
                held.copy_(values)
            else:
                held.data = values
        return now is not held or not same


_PLAIN = (bool, int, float, str)


def _buffers(part: nn.Module) -> dict[str, Tensor]:
    return dict(part.named_buffers(recurse=False, remove_duplicate=False))


def _is_moved(before: Tensor, now: Tensor) -> bool:
    """Whether it looks like what ``module.to(…)`` makes: that casts real numbers alone."""
    cast = before.is_floating_point() and now.is_floating_point() and before.dtype != now.dtype
    return before.device != now.device or cast


def _is_same(a: Tensor, b: Tensor) -> bool:
    """Whether they are the same bits; those of a device are not read unless they differ."""
    both = (a, b)
    if a.shape != b.shape:
        return False
    plain = all(t.layout is torch.strided and not t.is_quantized for t in both)
    if plain and not any(hasattr(t, "to_local") for t in both):
        x, y = (t.resolve_conj().resolve_neg().contiguous().reshape(-1) for t in both)
        x, y = (t.view(torch.uint8) for t in (x, y))
        return torch.equal(x, y)
    return first_difference(a, b) is None
