"""Hooks are gone when their scope ends, however it ends."""

import signal
from functools import partial

import pytest
import torch
from torch import nn

from lehr.base.hooks import hooked


def test_hooks_are_called_in_their_scope_and_gone_after_it():
    layer, seen = nn.ReLU(), []
    with hooked(partial(layer.register_forward_hook, lambda *_, n=n: seen.append(n)) for n in "ab"):
        layer(torch.zeros(1))
    layer(torch.zeros(1))
    assert seen == ["a", "b"]
    assert not layer._forward_hooks


def test_one_that_cannot_be_registered_takes_the_others_with_it():
    layer = nn.ReLU()

    def refuse():
        raise RuntimeError("no hooks here")

    with (
        pytest.raises(RuntimeError, match="no hooks here"),
        hooked([partial(layer.register_forward_hook, print), refuse]),
    ):
        pass
    assert not layer._forward_hooks


def test_a_ctrl_c_while_they_are_registered_leaves_none():
    layer, registered = nn.ReLU(), []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def register():
        handle = layer.register_forward_hook(print)
        signal.raise_signal(signal.SIGINT)
        registered.append(len(layer._forward_hooks))
        return handle

    try:
        with pytest.raises(KeyboardInterrupt), hooked([register, register]):
            registered.append("body")
    finally:
        signal.signal(signal.SIGINT, before)
    assert registered == [1, 2]  # it waited until all were there
    assert not layer._forward_hooks
