"""What a Learner hands on."""

import pytest
import torch

from lehr.testing import tiny_learner


def test_each_door_leads_to_what_does_the_work():
    learn = tiny_learner()
    assert learn.explain().startswith("fit")
    assert len(learn.summary().layers) == 3
    assert learn.audit().sites
    assert learn.find_lr(steps=10).lrs[0] == pytest.approx(1e-6)


def test_weights_go_to_a_file_and_come_back_in_place(tmp_path):
    learn, other = tiny_learner(seed=1), tiny_learner(seed=1)
    learn.fit(1)
    learn.save(tmp_path / "trained.safetensors")
    first, weights = learn.model[0].weight, [p.detach().clone() for p in other.model.parameters()]
    learn.fit(1)
    assert not learn.load(str(tmp_path / "trained.safetensors"))
    other.load(tmp_path / "trained.safetensors")
    assert learn.model[0].weight is first
    pairs = zip(learn.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(weights, other.model.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_what_does_not_fit_is_refused_unless_asked_for(tmp_path):
    learn = tiny_learner()
    torch.save({"0.bias": torch.ones(4)}, tmp_path / "some.pt")
    with pytest.raises(ValueError, match=r"do not fit the model; nothing was changed\."):
        learn.load(tmp_path / "some.pt")
    assert not learn.model[0].bias.equal(torch.ones(4))
    assert len(learn.load(tmp_path / "some.pt", strict=False).missing) == 3
    assert learn.model[0].bias.equal(torch.ones(4))
