"""Data, numbers, stops and files: D5, D7, D8, D10 and D11 of the guarantees."""

import csv
import json
import pickle
import random
import signal
from functools import partial
from itertools import chain

import pytest
import torch

from lehr import DataBunch
from lehr.callbacks import ParamScheduler
from lehr.data import DataLoader, Dataset
from lehr.distributed import Distributed
from lehr.schedules import one_cycle
from lehr.testing import tiny_learner

from . import jobs


def sizes(count: int) -> list[tuple[int, int]]:
    draw = random.Random(0)
    return [(draw.randint(1, 60), draw.randint(1, 20)) for _ in range(count)]


@pytest.mark.parametrize("processes", [2, 3])
def test_each_item_is_read_once_in_the_order_of_one_process(processes, values):
    wanted = sizes(100)
    parts = values(processes, "parts", sizes=wanted)
    for case, (items, batch_size) in enumerate(wanted):
        numbers = torch.arange(items)
        whole = DataLoader(Dataset(numbers, numbers), batch_size, shuffle=True)
        for index, (batch, _) in enumerate(whole.batches(3, 1)):
            shares = [part[case][index] for part in parts]
            assert list(chain(*shares)) == batch.tolist()
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_without_other_processes_nothing_is_done():
    engine = Distributed()
    one, other = tiny_learner(engine=engine).fit(2), tiny_learner().fit(2)
    assert one.history["loss"] == other.history["loss"]
    assert (engine.rank, engine.world, engine.key, engine.processes_text()) == (0, 1, (), "")
    assert engine.gather(3) == [3]
    assert engine.same(3) == 3
    assert engine.sum(torch.ones(2)).tolist() == [1, 1]
    assert list(engine.shares(iter([1, 2]), "loader")) == [1, 2]


def test_of_several_processes_none_is_pickled(values):
    for message, is_shared in values(2, "pickled"):
        assert message.startswith("a Distributed of several processes cannot be pickled, for it is")
        assert is_shared
    assert pickle.loads(pickle.dumps(Distributed())).world == 1


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ValueError, match=r'data must be "whole", "own" or None; got \'mine\''):
        Distributed(data="mine")
    with pytest.raises(ValueError, match=r"timeout must be above 0 seconds; got 0"):
        Distributed(timeout=0)
    with pytest.raises(ValueError, match=r"late_flags_above must be"):
        Distributed(late_flags_above=0)


DURING = ["begin_batch", "after_loss", "after_step", "after_batch"]
AT_THE_END = ["after_train", "begin_validate", "after_validate", "after_epoch"]


@pytest.fixture(scope="module")
def ends(values, tmp_path_factory):
    """What comes of many jobs that end well, by name: what each process returned."""
    folder = tmp_path_factory.mktemp("many")
    calls: dict[str, dict] = {
        "passes": {},
        "reports": {},
        "finds_lr": {},
        "fits_after_a_cancel": {},
        "stops": {"names": [*DURING, *AT_THE_END]},
        "own_states": {"folder": str(folder / "own")},
        "by_the_clock": {"folder": str(folder / "clock")},
        "pieces": {},  # the last one: it ends with a failure
    }
    processes = values(2, "many", calls=calls)
    return {name: [end[name] for end in processes] for name in calls}


@pytest.fixture
def passes(ends):
    return ends["passes"]


def test_passes_give_what_they_give_in_one_process(passes):
    for outcome in passes:
        together, alone = outcome["together"], outcome["alone"]
        assert together["validate"] == pytest.approx(alone["validate"], abs=1e-6)
        assert torch.allclose(together["predict"], alone["predict"], atol=1e-6)
        for one, other in zip(together["loader"], alone["loader"], strict=True):
            assert torch.allclose(one, other, atol=1e-6)
        assert together["untouched"] == 0


def test_a_fit_that_was_cancelled_sends_nothing_in_the_next(ends):
    assert ends["fits_after_a_cancel"] == [12, 12]


def test_a_learning_rate_is_found_by_the_losses_of_all(ends):
    first, second = ends["finds_lr"]
    assert first["together"] == second["together"]
    assert first["together"] == pytest.approx(first["alone"], abs=1e-6)


def test_a_seed_that_is_drawn_is_the_same_everywhere(passes):
    assert passes[0]["seed"] == passes[1]["seed"]
    assert passes[0]["together"]["losses"] == passes[1]["together"]["losses"]
    assert passes[0]["together"]["losses"] != passes[0]["alone"]["losses"]  # another seed


def reference(lengths: list[int]) -> tuple[torch.Tensor, list[float]]:
    """One process that reads, batch by batch, what two read that have so many."""
    read = []
    for rank, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(rank)
        read.append(torch.randn(3 * length, 3, generator=generator).split(3))
    joined = []
    for index in range(max(lengths)):
        x = torch.cat([batches[index] for batches in read if index < len(batches)])
        joined.append((x, torch.zeros(len(x), dtype=torch.long)))
    opt = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    schedule = ParamScheduler("lr", one_cycle(0.3))
    learn = tiny_learner([schedule], data=DataBunch(joined, joined), opt=opt)
    run = learn.fit(2)
    return jobs.weights_of(learn), run.history["valid_loss"]


@pytest.fixture(scope="module", params=[[5, 3], [3, 5]], ids=str)
def own(request, values, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("own"))
    return values(2, "own_batches", lengths=request.param, folder=folder), request.param


@pytest.mark.parametrize("name", ["sized", "unsized"])
def test_loaders_of_unequal_length_end_together_and_no_item_is_lost(name, own):
    ends, lengths = own
    for steps, weights, losses in (end[name] for end in ends):
        assert steps == 10
        assert torch.equal(weights, ends[0][name][1])
        assert torch.allclose(weights, reference(lengths)[0], atol=1e-6)
        assert losses == pytest.approx(reference(lengths)[1], abs=1e-6)
        assert not torch.allclose(weights, reference([3, 3])[0], atol=1e-3)


def test_loaders_of_unequal_length_are_entered_where_one_is_at_its_end(own):
    ends, _ = own
    for end in ends:
        assert end["resumed"][0] == 10
        assert torch.equal(end["resumed"][1], end["sized"][1])
        (warned,) = end["warned"]
        assert "trained on (4) are read once more and left out" in warned


def test_what_own_loaders_draw_is_another_thing_in_each_process(own):
    (first, second), _ = own
    assert not any(map(torch.equal, first["draws"], second["draws"]))


def test_of_own_loaders_all_look_at_the_batch_of_the_first(own):
    (first, second), _ = own
    assert first["looks"] == second["looks"]


def test_what_own_loaders_know_is_kept_by_process(ends):
    for end in ends["own_states"]:
        assert torch.equal(end["resumed"], end["straight"])
        assert torch.equal(end["resumed"], ends["own_states"][0]["resumed"])


def test_a_state_of_two_processes_cannot_be_had_by_one():
    said = r"train_dl yields batches of each process's own, and its state is that of 2 processes; t"
    with pytest.raises(ValueError, match=said):
        Distributed().parts({}, {"train_dl": {"by process": [1, 2]}})


def test_if_one_process_has_no_memory_all_take_smaller_pieces(ends):
    first, second = ends["pieces"]
    for at in ("forward", "backward"):
        assert first[at][1:] == second[at][1:] == (2, 2)
        assert torch.equal(first[at][0], second[at][0])
        assert torch.allclose(first[at][0], first["alone"], atol=1e-6)
    assert torch.equal(first["in a wrapper"], second["in a wrapper"])
    assert torch.allclose(first["in a wrapper"], first["alone"], atol=1e-6)
    assert "cannot do a batch again whose model is sharded" in "\n".join(second["sharded"])
    assert "rank 1 failed in" in first["sharded"][0]


def test_the_batches_of_own_loaders_are_told_as_they_are(own):
    for end in own[0]:
        assert end["said"] == [
            f"2 processes, batches of {sizes}; other loaders: each its own"
            for sizes in ("6 = 2 × 3", "3 = 2 + 1", "4 = 2 × 2")
        ]


def test_the_numbers_of_a_validation_are_merged_in_two_messages(ends):
    for end in ends["reports"]:
        assert end["together"] == pytest.approx(end["alone"], abs=1e-5)
        assert {"accuracy", "largest", "valid_loss"} < {*end["together"]}
        assert end["kinds"].count("alike") == 3  # of what is given, the metrics, and the rest
        assert end["kinds"].count("gather") == 1  # of the function that sees the whole set
        assert end["unlike"]["valid_mine"] is not None
        assert end["alike"] == [True, False]


def test_a_foreign_loader_must_be_declared(world):
    for kind, text in world(2, "undeclared"):
        assert kind == "error"
        assert "ValueError: train_dl is not one of lehr's loaders, so it must be said" in text


def test_a_stop_in_one_process_stops_all_at_the_same_step(ends):
    first, second = ends["stops"]
    assert first == second
    for name in DURING:
        steps, reason = first[name]
        assert steps in (7, 8)
        assert reason == "enough (rank 1)"
    for name in AT_THE_END:
        assert first[name] == (12, "enough (rank 1)")


@pytest.mark.parametrize(
    ("number", "ended"),
    [
        (signal.SIGTERM, "SystemExit(143)"),
        (signal.SIGINT, "KeyboardInterrupt('interrupted by Ctrl-C')"),
    ],
)
def test_a_signal_to_one_process_ends_all_alike(number, ended, values):
    first, second = values(2, "signalled", ranks=[1], number=int(number))
    assert first == second
    assert first[0] == ended
    assert first[2] == 9


@pytest.fixture(scope="module")
def written(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return values(2, "writes", folder=str(folder)), folder


def test_only_the_first_process_writes(written):
    ((first, _), (second, _)), _ = written
    assert second == []
    assert len(first) > 5


@pytest.fixture(scope="module")
def written_alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    jobs.learner(None, callbacks=lambda: jobs.logging(folder)).fit(2)
    return folder


def lines_of(folder, kind):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize("name", ["late", "soon"])
def test_what_is_written_is_of_all_processes(name, written, written_alone):
    folder = written[1] / name
    for kind, count in (("step", 12), ("row", 2)):
        lines, expected = lines_of(folder, kind), lines_of(written_alone, kind)
        assert len(lines) == len(expected) == count
        for line, other in zip(lines, expected, strict=True):
            line.pop("seconds", 0)
            other.pop("seconds", 0)
            assert line == pytest.approx(other, abs=1e-6)
    assert {"batch", "loss", "lr", "norm"} < {*lines_of(folder, "step")[0]}
    table, expected = (
        list(csv.DictReader((at / "log.csv").read_text().splitlines()))
        for at in (folder, written_alone)
    )
    assert len(table) == len(expected) > 0
    for row, other in zip(table, expected, strict=True):
        for column in {*row} - {"seconds"}:
            assert float(row[column]) == pytest.approx(float(other[column]), abs=1e-6)
    one, other = tiny_learner(), tiny_learner()
    one.load(folder / "saved" / "step-00000012" / "model.safetensors")
    other.load(written_alone / "saved" / "step-00000012" / "model.safetensors")
    assert torch.allclose(jobs.weights_of(one), jobs.weights_of(other), atol=1e-6)
    # The control: the first process alone would have written something else.
    assert lines_of(folder, "row")[0] != lines_of(folder, "row")[1]


def test_a_batch_is_written_when_all_of_its_numbers_are_there(written):
    (_, early), _ = written[0]
    assert early == {"late": 0, "soon": 4}


def test_the_clock_of_the_first_process_says_when_all_save(ends):
    first, second = ends["by_the_clock"]
    assert first["5 minutes"][0] == second["5 minutes"][0] == [0, 6, 11, 17, 18]
    assert first["1000 minutes"][0] == [0, 18]
    for end in (first, second):  # and nothing is sent for it
        assert end["1000 minutes"][1] == end["99 epochs"][1]


@pytest.mark.parametrize("shard", [False, True])
def test_a_number_that_each_process_has_of_its_own_decides_alike_in_all(shard, values, tmp_path):
    alone = jobs.decides(str(tmp_path / "alone"), alone=True)
    first, second = values(2, "decides", folder=str(tmp_path / "two"), shard=shard)
    assert torch.equal(first["weights"], second["weights"])
    assert torch.allclose(first["weights"], alone["weights"], atol=1e-6)
    for end in (first, second):
        assert (end["steps"], end["stop"], end["lr"]) == (36, alone["stop"], alone["lr"])
        assert end["saved"] == alone["saved"]
    assert min(alone["lr"]) < max(alone["lr"])  # the control: something was decided
    saved = tmp_path / "two" / alone["saved"][1] / "model.safetensors"
    one, other = tiny_learner(), tiny_learner()
    one.load(saved)
    other.load(tmp_path / "alone" / alone["saved"][1] / "model.safetensors")
    assert torch.allclose(jobs.weights_of(one), jobs.weights_of(other), atol=1e-6)


@pytest.mark.parametrize("action", ["raise", "stop"])
def test_a_loss_that_is_bad_in_one_process_ends_all(action, values):
    first, second = values(2, "spoilt", action=action)
    assert first[1] == second[1] == 8
    for reason, _ in (first, second):
        assert "loss is nan at step 8 (epoch 1, batch 2)" in reason
