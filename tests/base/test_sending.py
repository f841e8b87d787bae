from types import SimpleNamespace

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
    ("source", "target", "waits"),
    [
        ("cpu", "cuda:0", False),  # which CUDA heeds where the tensor is pinned
        ("cpu", "mps", True),
        ("cpu", "cpu", True),
        ("cuda:0", "cpu", True),
        ("cuda:0", "cuda:1", True),
    ],
)
def test_only_copies_from_the_host_into_cuda_are_not_waited_for(source, target, waits):
    def to(*_, non_blocking):
        return non_blocking

    tensor = SimpleNamespace(is_cpu=source == "cpu", to=to)
    assert sent(tensor, torch.device(target)) is not waits
