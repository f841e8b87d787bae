import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

from lehr.data.loading.untouched import untouched


def states(*generators):
    own = [g.get_state() for g in generators]
    return [torch.get_rng_state(), *own], random.getstate(), np.random.get_state()[1].tolist()


@pytest.mark.parametrize("fails", [False, True])
def test_every_generator_is_put_back(fails):
    own, samplers = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    items = list(range(10))
    dl = DataLoader(items, sampler=RandomSampler(items, generator=samplers), generator=own)

    def read():
        list(dl), torch.rand(1), random.random(), np.random.rand()

    before = states(own, samplers)
    try:
        with untouched(dl):
            read()
            inside = states(own, samplers)
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    after = states(own, samplers)
    pairs = list(zip(before[0], after[0], inside[0], strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not any(torch.equal(a, c) for a, _, c in pairs)
    assert before[1:] == after[1:]
