"""Where tensors have no values, it is said in our words."""

import pytest
import torch
from torch import nn

from lehr.base.values import check_batch, check_default_device, check_values


def test_a_model_without_values_is_refused():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"'0\.weight' of the model is on the device meta, where"):
        check_values(model)
    buffer = nn.BatchNorm1d(2)
    buffer.running_mean = torch.zeros(2, device="meta")
    with pytest.raises(ValueError, match="'running_mean' of the model is on the device meta"):
        check_values(buffer)
    check_values(nn.Linear(2, 2))


def test_a_default_device_without_values_is_refused():
    said = r"default device is meta, .* nothing could be drawn\. Leave the with torch\.device"
    with torch.device("meta"), pytest.raises(ValueError, match=said):
        check_default_device("drawn")
    with torch.device("meta"), pytest.raises(ValueError, match="nothing could be trained or pred"):
        check_values(nn.Identity())
    check_default_device("drawn")


def test_a_batch_without_values_is_refused():
    empty = torch.zeros(2, device="meta")
    for batch in (empty, [torch.zeros(2), {"x": empty}]):
        with pytest.raises(ValueError, match="batch must hold values; its tensors are on the dev"):
            check_batch(batch)
    check_batch([torch.zeros(2), "text", None])
