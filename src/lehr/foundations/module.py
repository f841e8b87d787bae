"""Adds models to what is recorded: layers that are called, have a mode, and make up one another."""

from collections import OrderedDict, abc
from typing import Any, Self

import torch

from lehr.foundations.registry import Parameter, Registry


class Module(Registry):
    """Something with parameters that can be called; a subclass says in ``forward`` what it does."""

    def __init__(self) -> None:
        super().__init__()
        self._hooks: OrderedDict[int, abc.Callable[..., Any]] = OrderedDict()
        self.training = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output, and show it to the hooks."""
        output = self.forward(*args, **kwargs)
        for hook in list(self._hooks.values()):
            hook(self, args, output)
        return output

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call computes, defined by each subclass. Call the module, so that hooks see it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward. Write one in the class.")

    def register_forward_hook(self, hook: abc.Callable[..., Any]) -> Any:
        """Show each output to ``hook(module, args, output)``, until the handle's ``remove()``."""
        handle = torch.utils.hooks.RemovableHandle(self._hooks)
        self._hooks[handle.id] = hook
        return handle

    def train(self, mode: bool = True) -> Self:
        """Tell this module and all its parts whether they are being trained."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Tell them that they are not."""
        return self.train(False)


class Linear(Module):
    """x·Wᵀ + b, with W of shape ``(n_out, n_in)``; drawn from U(−1/√n_in, 1/√n_in) as torch's."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight = Parameter(torch.empty(n_out, n_in).uniform_(-bound, bound))
        self.bias = Parameter(torch.empty(n_out).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From ``(..., n_in)`` to ``(..., n_out)``."""
        return x @ self.weight.T + self.bias


class ReLU(Module):
    """What is below 0 becomes 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the shape of ``x``."""
        return x.relu()


class ModuleList(Module):
    """Modules recorded as 0, 1, …; there is no ``forward``: the loop over them is yours."""

    def __init__(self, modules: abc.Iterable[Module] = ()) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def __len__(self) -> int:
        return len(list(self.children()))

    def __getitem__(self, i: Any) -> Any:
        return list(self.children())[i]


class Sequential(ModuleList):
    """Each module is given what the one before made of it; a slice is a Sequential too."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def __getitem__(self, i: Any) -> Any:
        picked = super().__getitem__(i)
        return Sequential(*picked) if isinstance(i, slice) else picked

    def forward(self, x: Any) -> Any:
        """What the last module makes of it."""
        for module in self.children():
            x = module(x)
        return x


class SequentialModel(Module):
    """The same by hand, out of a ModuleList and a loop."""

    def __init__(self, layers: abc.Iterable[Module]) -> None:
        super().__init__()
        self.layers = ModuleList(layers)

    def forward(self, x: Any) -> Any:
        """What the last layer makes of it."""
        for layer in self.layers:
            x = layer(x)
        return x


class DummyModule(Registry):
    """Two layers, known because they were assigned. It is a record only: it cannot be called."""

    def __init__(self, n_in: int, nh: int, n_out: int) -> None:
        super().__init__()
        self.l1, self.l2 = Linear(n_in, nh), Linear(nh, n_out)
