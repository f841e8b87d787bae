"""What was driven is put back, also by a run that goes on from a state."""

import pytest
import torch

from lehr.optim.driven import Driven
from lehr.optim.slots import Slot


@pytest.mark.parametrize("kept", [True, False])
def test_a_resumed_run_puts_back_what_the_first_one_found(kept):
    group = {"lr": 0.1, "betas": (0.9, 0.99)}
    driven = Driven([Slot(group, "lr"), Slot(group, "betas")], kept=kept)
    group.update(lr=0.5, betas=(0.8, 0.99))
    state = driven.state_dict()

    fresh = {"lr": 0.3, "betas": (0.7, 0.99)}  # as a script makes it that was changed
    again = Driven([Slot(fresh, "lr"), Slot(fresh, "betas")], kept=kept)
    again.load_state_dict(state)
    now = {"lr": 0.3, "betas": (0.7, 0.99)} if kept else group
    assert fresh == now  # where another state has it, that one will set it
    fresh["lr"] = 0.6
    again.put_back()
    assert fresh == {"lr": 0.1, "betas": (0.9, 0.99)}


def test_without_the_state_it_would_put_back_what_it_found():
    fresh = {"lr": 0.3}
    driven = Driven([Slot(fresh, "lr")], kept=True)
    fresh["lr"] = 0.6
    driven.put_back()
    assert fresh == {"lr": 0.3}


def test_tensors_are_kept_as_numbers_and_set_in_place():
    lr = torch.tensor(0.1)
    driven = Driven([Slot({"lr": lr}, "lr")], kept=False)
    lr.fill_(0.5)
    state = driven.state_dict()
    assert state == {"before": [torch.tensor(0.1).item()], "now": [0.5]}
    lr.fill_(0.7)
    driven.load_state_dict(state)
    assert lr.item() == 0.5
    driven.put_back()
    assert torch.equal(lr, torch.tensor(0.1))


def test_a_state_of_other_places_is_refused():
    driven = Driven([Slot({"lr": 0.1}, "lr")], kept=True)
    with pytest.raises(ValueError, match=r"the state has 2 numbers for 1 places\. Make the opt"):
        driven.load_state_dict({"before": [0.1, 0.2]})
