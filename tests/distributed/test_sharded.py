"""Processes that each keep a shard of the model train as one does: D2 of the guarantees."""

from functools import cache

import pytest
import torch

from lehr.distributed import Distributed, sharded
from lehr.testing import tiny_learner

from . import jobs

CASES = [case for case in jobs.CASES if "closure" not in case]  # LBFGS joins all gradients in one


@pytest.fixture(scope="module")
def ends(values):
    """What each process of so many came to, for every case; run once for each number."""
    return cache(lambda n: values(n, "trajectories", cases=CASES, shard=True))


alone = cache(jobs.trajectory)


@pytest.mark.parametrize(
    ("chosen", "error", "text"),
    [
        (lambda model: None, TypeError, r"shard\(model\) must be modules of the model; got None\."),
        (lambda model: model[0], TypeError, r"must be modules of the model; got Linear\("),
        (lambda model: ["0"], TypeError, r"must be modules; one of them is a str\. Return its"),
        (lambda model: [torch.nn.Linear(1, 1)], ValueError, r"which is not in the model\."),
    ],
)
def test_what_is_to_be_sharded_must_be_modules_of_the_model(chosen, error, text):
    model = jobs.small()
    with pytest.raises(error, match=text):
        sharded.shard(model, chosen(model))


def test_a_module_that_is_named_twice_is_sharded_once(monkeypatch):
    model, done = jobs.small(), []
    monkeypatch.setattr(sharded, "fully_shard", lambda module, mesh: done.append(module))
    sharded.shard(model, [model[0], model, model[0]])
    assert done == [model[0], model]


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.large)])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_trajectory_of_one_process(case, processes, ends):
    reference = alone(case)
    for end in (end[case] for end in ends(processes)):
        assert (end["weights"] - reference["weights"]).abs().max() <= 1e-6
        assert end["steps"] == reference["steps"]
        for row, expected in zip(end["rows"], reference["rows"], strict=True):
            assert row == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_another_case_would_be_seen(ends):
    assert (ends(2)[0]["clip"]["weights"] - alone("plain")["weights"]).abs().max() > 1e-3


def test_a_process_keeps_a_shard_of_every_parameter(values):
    first, second = values(2, "shards")
    assert first["whole"] == second["whole"] == 26
    assert first["own"] + second["own"] == 26
    assert max(first["own"], second["own"]) < 26
    assert first["explained"].startswith("fit, in 2 processes: the model is in shards, batches")


def test_what_needs_all_of_the_model_says_so_in_every_process_and_changes_nothing(values):
    for said in values(2, "needs_all_of_the_model"):
        assert said.pop("as before")
        whole = (
            "needs all of the model in one process, and this one is in shards, over a mesh of "
            "shape (2,). "
        )
        assert {name: text.partition(whole)[0::2] for name, text in said.items()} == {
            **dict.fromkeys(["learn.audit", "a repair", "audit"], ("an audit ", AUDIT)),
            **{name: (f"{name} ", EARLIER) for name in ("lsuv", "initialise")},
            "twin": ("a copy of the Learner ", "Try it with a Learner without shards."),
            "EMATeacher": ("the teacher, a copy, ", TEACHER),
        }


AUDIT = "Audit it before it is sharded: lehr.audit(model, batch), or a Learner without engine."
EARLIER = "Call it before the model is sharded."
TEACHER = "Give Distributed() without shard; or EMA, if it is the average that is wanted."


def test_the_optimizer_must_be_made_afterwards(world):
    for kind, text in world(2, "sharded_too_late"):
        assert kind == "error"
        assert "none of which is one of the model's" in text


def test_lbfgs_is_refused_in_every_process_before_anything_is_trained(values):
    for said, same, steps in values(2, "joins_all_parameters"):
        assert said.startswith("LBFGS joins all parameters in one vector, of which every process ")
        assert "e.g. AdamW; or give Distributed() without shard." in said
        assert same
        assert steps == 6


def test_a_model_that_is_sharded_already_is_left_as_it_is(values):
    for weights in values(2, "sharded_before"):
        assert torch.allclose(weights, alone("plain")["weights"], atol=1e-6)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("tensors", r"0.weight is distributed over a mesh of shape (2,) without fully_shard, and"),
        ("both", r"0.weight is distributed over a mesh of shape (1, 2), and Distributed averages"),
    ],
)
def test_a_model_that_is_distributed_otherwise_is_refused(how, said, world):
    for kind, text in world(2, "in_other_shards", how=how):
        assert kind == "error"
        assert said in text


def test_shards_that_are_copied_train_as_one_process(values, tmp_path):
    cases = ["clip", "accumulate"]
    for rank, end in enumerate(
        values(4, "in_copies", cases=cases, copies=2, parts=2, folder=str(tmp_path))
    ):
        for case in cases:
            assert (end[case]["weights"] - alone(case)["weights"]).abs().max() <= 1e-6
            assert end[case]["steps"] == alone(case)["steps"]
        assert torch.equal(end["made"]["weights"], end["clip"]["weights"])
        straight, resumed = end["resumed"]["straight"], end["resumed"][3]
        assert torch.equal(straight["weights"], resumed["weights"])
        assert end["own"] == 13
        (copies, parts), all_of_them = divmod(rank, 2), [0, 1, 2, 3]
        neighbours = [[parts, parts + 2], [2 * copies, 2 * copies + 1]]
        assert end["groups"] == [all_of_them, all_of_them, *neighbours]
        assert end["placements"] == {"(Replicate(), Shard(dim=0))"}
        assert end["explained"].startswith("fit, in 4 processes: the model is in shards, batches")


def test_a_mesh_is_one_of_all_processes(world):
    for kind, said in world(2, "badly_meshed"):
        assert kind == "ok"
        assert "mesh must be two whole numbers above 0, (copies, parts), or a Devi" in said[0]
        assert said[0].partition("got ")[2].startswith("'two'. Give e.g. mesh=(2, 4) for 8")
        assert "got (0, 2)." in said[1]
        assert said[2].startswith("mesh must be of all 2 processes; it is one of 2 × 2. Give")
        assert said[3].startswith("the two dimensions of mesh must have names. Give")
        assert said[4].startswith("mesh must have one or two dimensions; its shape is (1, 1, 2).")


def test_alone_a_mesh_is_only_looked_at():
    assert Distributed(jobs.layers, mesh=(2, 4)).mesh is None
    with pytest.raises(
        TypeError, match=r"^mesh must be two whole numbers above 0, .* got \(2,\)\."
    ):
        Distributed(jobs.layers, mesh=(2,))


def test_a_mesh_without_a_shard_function_is_refused():
    with pytest.raises(TypeError, match=r"^mesh says among which processes a model is sharded, an"):
        Distributed(mesh="any")


def test_weights_are_saved_whole_and_loaded_in_parts(values, tmp_path):
    path = tmp_path / "w.safetensors"
    for saved, loaded in values(2, "saves_weights", path=str(path)):
        assert torch.equal(saved, loaded)
    one = tiny_learner()
    assert not one.load(path)
    assert torch.equal(torch.cat([p.detach().flatten() for p in one.model.parameters()]), saved)


def test_a_shard_function_that_is_none_is_refused():
    with pytest.raises(
        TypeError, match=r"shard must be a function from the model to its large mod"
    ):
        Distributed(shard=3)
