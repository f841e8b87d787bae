"""The parts of a loss are averaged each by itself."""

import pytest
import torch

from lehr.record.part_means import PartMeans


def test_each_part_is_averaged_by_items():
    means = PartMeans()
    means.add({"fit": 1.0, "penalty": torch.tensor(4.0)}, 3)
    means.add({"fit": 2.0}, 1)
    assert means.values() == {"fit": 1.25, "penalty": 4.0}
    assert means.values() != {"fit": 1.5, "penalty": 4.0}  # the unweighted mean


def test_names_are_remembered_when_it_starts_anew():
    means = PartMeans()
    means.add({"fit": 1.0}, 3)
    means.restart()
    assert means.values() == {"fit": None}
    means.names = ["a", "b"]
    assert means.values() == {"a": None, "b": None}


@pytest.mark.parametrize("names", [(), ("fit",), ("fit", "penalty")])
def test_the_state_goes_on_where_it_was(names):
    means, other = PartMeans(), PartMeans()
    means.add(dict.fromkeys(names, 0.1), 3)
    other.load_state_dict(means.state_dict())
    for both in (means, other):
        both.add(dict.fromkeys(names, 0.7), 2)
    assert other.values() == means.values()
    assert means.values() == dict.fromkeys(names, pytest.approx(0.34))
