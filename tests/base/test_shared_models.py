"""Only a model of several processes is refused; those are in tests/distributed/test_wrapped.py."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lehr.base.shared_models import check_alone
from lehr.testing import tiny_learner


@pytest.fixture
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_wrapper_of_one_process_changes_nothing(group):
    alone, wrapped = tiny_learner(), tiny_learner()
    wrapped = tiny_learner(model=DistributedDataParallel(wrapped.model))
    alone.fit(1)
    wrapped.fit(1)
    for one, other in zip(alone.model.parameters(), wrapped.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_no_module_is_left_to_others():
    check_alone(3)
    check_alone(nn.DataParallel(nn.Linear(1, 1)))
