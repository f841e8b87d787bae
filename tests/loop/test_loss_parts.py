"""A loss of named parts: the sum is trained, each is recorded."""

from collections import OrderedDict, UserDict, namedtuple

import pytest
import torch
import torch.nn.functional as F

from lehr import Callback, DataBunch, accuracy
from lehr.callbacks import Checkpoint, CSVLog, Metrics, Progress
from lehr.loop.loss_parts import summed
from lehr.testing import tiny_learner


def two(pred, yb):
    return {"fit": F.cross_entropy(pred, yb), "penalty": 0.1 * pred.square().mean()}


def whole(pred, yb):
    return F.cross_entropy(pred, yb) + 0.1 * pred.square().mean()


class Accumulate(Callback):
    batches_per_step = 3

    def begin_batch(self, run):
        run.closes = run.window.batches + 1 == 3


Both = namedtuple("Both", ["fit", "penalty"])
FORMS = [dict, OrderedDict, UserDict, lambda parts: Both(**parts)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("callbacks", [(), (Accumulate,)])
def test_the_sum_trains_as_the_sum_itself_would(form, callbacks):
    learn = tiny_learner(loss_func=lambda pred, yb: form(two(pred, yb)))
    same, other = tiny_learner(loss_func=whole), tiny_learner(loss_func=F.cross_entropy)
    runs = [one.fit(2, callbacks=[c() for c in callbacks]) for one in (learn, same, other)]
    assert runs[0].history["loss"] == runs[1].history["loss"] != runs[2].history["loss"]
    assert torch.equal(learn.model[0].weight, same.model[0].weight)
    assert not torch.equal(learn.model[0].weight, other.model[0].weight)


def test_each_part_is_in_the_history_by_batch_and_by_row():
    history = tiny_learner(loss_func=two, items=36).fit(2).history
    sums = [a + b for a, b in zip(history["fit"], history["penalty"], strict=True)]
    assert sums == pytest.approx(history["loss"])
    weights = [8, 8, 8, 8, 4]
    for name in ("fit", "penalty", "loss"):
        epoch = sum(w * v for w, v in zip(weights, history[name][:5], strict=True)) / 36
        assert history[f"train_{name}"][0] == pytest.approx(epoch)
        assert history[f"train_{name}"][0] != pytest.approx(sum(history[name][:5]) / 5, rel=1e-6)
    for half in ("train", "valid"):
        both = [history[f"{half}_{name}"] for name in ("fit", "penalty")]
        assert [a + b for a, b in zip(*both, strict=True)] == pytest.approx(history[f"{half}_loss"])


def test_a_loss_that_is_a_sum_over_items_has_parts_that_are_means():
    def total(pred, yb):
        return {name: part * len(pred) for name, part in two(pred, yb).items()}

    means = tiny_learner(loss_func=two).fit(1).history
    sums = tiny_learner(loss_func=total, reduction="sum").fit(1).history
    for name in ("fit", "train_penalty", "valid_fit"):
        assert sums[name] == pytest.approx(means[name], rel=1e-4)


def test_a_weight_of_the_users_own_weighs_the_parts():
    weights = iter([1, 2, 3, 4, 5, 6])
    learn = tiny_learner(loss_func=two, weight=lambda run: next(weights), rehearsal=False)
    history = learn.fit(1).history
    mean = sum(w * v for w, v in zip([1, 2, 3, 4], history["fit"], strict=True)) / 10
    assert history["train_fit"] == [pytest.approx(mean)]


def test_validate_returns_them_and_several_loaders_have_their_own():
    learn = tiny_learner(loss_func=two)
    assert sorted(learn.validate()) == ["valid_fit", "valid_loss", "valid_penalty"]
    dl = learn.data.valid_dl
    learn.data = DataBunch(learn.data.train_dl, {"a": dl, "b": dl})
    row = learn.fit(1).history.rows[-1]
    assert {"a/valid_fit", "b/valid_penalty", "b/valid_loss"} <= row.keys()


def test_tables_and_logs_have_them(tmp_path, capsys):
    learn = tiny_learner(loss_func=two, metrics=[accuracy])
    learn.fit(2, callbacks=[CSVLog(tmp_path / "rows.csv"), Progress("plain")])
    assert "train_fit" in (tmp_path / "rows.csv").read_text().splitlines()[0]
    assert "valid_penalty" in capsys.readouterr().out


def test_a_row_that_is_cut_short_has_none_for_them():
    class Cut(Callback):
        def begin_validate(self, run):
            if run.epoch == 1:
                run.stop("enough")

    history = tiny_learner(loss_func=two).fit(3, callbacks=[Cut()]).history
    assert history["valid_fit"][0] is not None
    assert history["valid_fit"][1] is None
    assert history["train_fit"][1] is not None


def test_a_validation_in_the_middle_of_an_epoch_writes_what_was_before_it():
    history = tiny_learner(loss_func=two).fit(1, validate_every="2 steps").history
    assert history["train_fit"] == [
        pytest.approx(sum(history["fit"][:2]) / 2),
        pytest.approx(sum(history["fit"][2:]) / 2),
    ]


def test_a_part_may_come_and_go():
    def sometimes(pred, yb):
        parts = two(pred, yb)
        return parts if pred.shape[0] == 8 else {"fit": parts["fit"]}

    history = tiny_learner(loss_func=sometimes, items=36).fit(1).history
    assert (len(history["fit"]), len(history["penalty"])) == (5, 4)
    assert history["train_penalty"] == [pytest.approx(sum(history["penalty"]) / 4)]


def test_callbacks_have_the_parts_with_their_graph():
    grads = []

    class Compare(Callback):
        def after_loss(self, run):
            if run.training:
                parts = run.loss_parts.values()
                weight = run.model[2].weight
                grads.append([torch.autograd.grad(p, weight, retain_graph=True)[0] for p in parts])

    run = tiny_learner(loss_func=two).fit(1, callbacks=[Compare()])
    assert len(grads) == 4
    assert not torch.equal(*grads[0])
    assert run.loss_parts is None


def test_a_gradient_that_is_taken_again_changes_nothing_that_was_recorded():
    class Again(Callback):
        regrads = True
        state = ()

        def step(self, run, proceed):
            with torch.no_grad():
                for p in run.model.parameters():
                    p += 0.1
                run.regrad()
                for p in run.model.parameters():
                    p -= 0.1
            proceed()

    seen = []

    class See(Callback):
        def after_loss(self, run):
            if run.training and not run.replaying:
                seen.append(float(run.loss_parts["fit"].detach()))

    assert tiny_learner(loss_func=two).fit(1, callbacks=[Again(), See()]).history["fit"] == seen


def test_a_run_goes_on_in_the_middle_of_an_epoch(tmp_path):
    class Cut(Callback):
        replays = False

        def after_step(self, run):
            if run.n_steps == 6:
                raise SystemError("cut")

    whole_run = tiny_learner(loss_func=two).fit(2)
    saved = tmp_path / "c"
    with pytest.raises(SystemError):
        tiny_learner(loss_func=two).fit(2, callbacks=[Checkpoint(saved, every="1 steps"), Cut()])
    again = tiny_learner(loss_func=two)
    again = again.fit(2, callbacks=[Checkpoint(saved, every="1 steps")], resume="auto")
    for name in ("fit", "train_fit", "valid_penalty"):
        assert again.history[name] == whole_run.history[name]
    assert tiny_learner(loss_func=two).check_resume().ok


def test_probes_and_searches_take_it():
    learn = tiny_learner(loss_func=two)
    assert learn.find_lr().losses
    assert learn.audit().loss == pytest.approx(learn.rehearse(1).history["loss"][0])
    assert learn.summary().parameters


def test_a_metric_of_the_same_column_is_refused():
    learn = tiny_learner(loss_func=lambda pred, yb: {"accuracy": F.cross_entropy(pred, yb)})
    learn.metrics = [accuracy]
    with pytest.raises(ValueError, match="the part 'accuracy' of the loss is recorded as accuracy"):
        learn.fit(2)


def test_one_number_and_no_number_stay_what_they_are():
    one = torch.ones(())
    assert summed(one) == (one, None)
    assert summed(0.5) == (0.5, None)
    assert summed({"a": one, "b": 0.5})[0] == 1.5


BAD = [
    ((torch.ones(()), torch.ones(())), TypeError, r"a tuple of 2; it must return one number, or a"),
    ([1.0], TypeError, r"returned \[float\], a list of 1; it must return one number"),
    ({}, ValueError, "a dict without parts"),
    ({3: 1.0}, TypeError, "a part named 3; a name must be a text"),
    ({"": 1.0}, TypeError, "a part named ''"),
    ({"loss": 1.0, "kl": 2.0}, TypeError, "named 'loss', as if it were the sum .* Leave it out"),
    ({"total": 1.0}, TypeError, "named 'total', as if it were the sum of the others"),
    ({"lr": 1.0}, TypeError, "a part named 'lr': the recorder has that column. Choose another"),
    ({"a": torch.ones(2)}, ValueError, r"'a' of the loss must be one number; .* shape \(2,\)"),
    ({"a": None}, TypeError, "the part 'a' of the loss must be one number; got None. Leave it out"),
]


@pytest.mark.parametrize(("loss", "kind", "text"), BAD)
def test_what_is_no_loss_is_refused(loss, kind, text):
    with pytest.raises(kind, match=text):
        summed(loss)


def test_training_metrics_go_beside_them():
    learn = tiny_learner(loss_func=two)
    row = learn.fit(1, callbacks=[Metrics([accuracy], train=True)]).history.rows[0]
    assert {"train_fit", "train_accuracy", "train_loss"} <= row.keys()
