"""Small models and entries that several tests of this folder use."""

import torch
from torch import nn


class Box:
    """An entry that is its value."""

    def __init__(self, value=None):
        self.value = value

    def state_dict(self):
        return self.value

    def load_state_dict(self, state_dict):
        self.value = state_dict


class Wrapper(nn.Module):
    """What torch.compile puts around a model."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod = model

    def forward(self, x):
        return self._orig_mod(x)


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0), nn.Tanh(), nn.Linear(4, 1))


def with_hidden_buffer():
    model = small_model()
    model.register_buffer("shown", torch.ones(2))
    model.register_buffer("hidden", torch.ones(2), persistent=False)
    model[0].register_buffer("deep", torch.zeros(()), persistent=False)
    return model


def containers_and_tensors(value):
    yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, torch.Tensor):
            yield inner
        elif isinstance(inner, (dict, list, tuple)):
            yield from containers_and_tensors(inner)


def compiled(model):
    return torch.compile(model, backend="eager")


def train(model, opt, steps):
    """So many steps on the same data; every loss seen."""
    generator = torch.Generator().manual_seed(1)
    x, losses = torch.randn(8, 3, generator=generator), []

    def closure():
        opt.zero_grad()
        loss = (model(x).squeeze(1) - x.prod(1)).square().mean()
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(steps):
        opt.step(closure)
    return losses
