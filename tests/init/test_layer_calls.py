import pytest
import torch
from torch import nn

from lehr.init.layer_calls import first_output, in_call_order, in_training_mode


def test_the_first_of_several_calls_counts_and_ends_the_run():
    layer, seen = nn.Linear(2, 2), []

    def run():
        seen.append(layer(torch.ones(1, 2)))
        seen.append(layer(torch.zeros(1, 2)))

    out = first_output(layer, run)
    torch.testing.assert_close(out, layer(torch.ones(1, 2)))
    assert seen == []


def test_an_except_in_the_model_does_not_stop_it():
    layer = nn.ReLU()

    def run():
        try:
            layer(torch.ones(1))
        except Exception:
            raise AssertionError("caught") from None

    assert first_output(layer, run).item() == 1


def test_a_layer_that_is_not_called():
    with pytest.raises(
        ValueError, match=r"run must call the layer; got no call of ReLU\. Give a f"
    ):
        first_output(nn.ReLU(), lambda: None)


def test_modules_that_answer_with_no_tensor_are_left_out():
    layers = {"lstm": nn.LSTM(2, 2), "linear": nn.Linear(2, 2)}
    x = torch.ones(1, 1, 2)
    assert in_call_order(layers, lambda: layers["linear"](layers["lstm"](x)[0])) == ["linear"]


@pytest.mark.parametrize("ask", [first_output, lambda m, run: in_call_order({"": m}, run)])
def test_no_hook_stays_after_an_error(ask):
    layer = nn.ReLU()
    with pytest.raises(ZeroDivisionError):
        ask(layer, lambda: 1 / 0)
    assert not layer._forward_hooks


def test_modes_and_buffers_come_back_after_an_error():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()).eval()
    model[1].train()
    mean = model[0].running_mean
    with pytest.raises(ZeroDivisionError), in_training_mode(model):
        assert model[0].training
        model(torch.ones(4, 2))
        assert model[0].num_batches_tracked == 1
        model[0].running_mean = torch.ones(2)
        raise ZeroDivisionError
    assert [m.training for m in model.modules()] == [False, False, True]
    assert model[0].num_batches_tracked == 0
    assert model[0].running_mean is mean
    assert mean.tolist() == [0, 0]
