import pytest
import torch

from lehr.base.sending import sent

CPU = torch.device("cpu")


def test_what_is_there_already_is_not_copied():
    tensor = torch.tensor([2, 0])
    assert sent(tensor, CPU) is tensor
    assert sent(tensor, CPU, torch.int64) is tensor


def test_to_another_device_and_type():
    made = sent(torch.tensor([2, 0]), torch.device("meta"), torch.float32)
    assert (made.device.type, made.dtype) == ("meta", torch.float32)


@pytest.mark.parametrize(
    ("device", "waits"), [(torch.device("cuda"), False), (torch.device("mps"), True), (CPU, True)]
)
def test_only_a_cuda_device_is_not_waited_for(device, waits, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.Tensor, "to", lambda *_, non_blocking: calls.append(non_blocking))
    sent(torch.ones(1), device)
    assert calls == [not waits]
