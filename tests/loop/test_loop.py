"""The loop: its order, its cancels, its windows, its scopes, its errors."""

import gc
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lehr import Callback, CancelBatch, CancelEpoch, CancelFit, DataBunch, Learner, Phase, accuracy
from lehr.events import EVENTS
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import EventLog, tiny_learner

TRAIN = [
    *("begin_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch"),
]
VALID = ["begin_batch", "after_pred", "after_loss", "after_batch"]


def published(epochs: int = 2, train: int = 2, valid: int = 1) -> list[tuple[str, tuple]]:
    """Every event of a fit in the published order, with the scope it happens in."""
    trace = [("begin_fit", ())]
    for epoch in range(epochs):
        trace += [("begin_epoch", (epoch,)), ("begin_train", (epoch,))]
        trace += [(e, (epoch, "train", b)) for b in range(train) for e in TRAIN]
        trace += [("after_train", (epoch,)), ("begin_validate", (epoch,))]
        trace += [(e, (epoch, "valid", b)) for b in range(valid) for e in VALID]
        trace += [("after_validate", (epoch,)), ("after_epoch", (epoch,))]
    return [*trace, ("after_fit", ())]


def names(trace: list[tuple[str, tuple]]) -> list[str]:
    return [event for event, _ in trace]


class Events(Callback):
    """Hears everything; raises ``cancel`` the n-th time that ``at`` happens."""

    def __init__(self, at: str = "", cancel: Exception | None = None, nth: int = 0) -> None:
        self.at, self.cancel, self.left, self.heard = at, cancel, nth, []


def _hear(event: str):
    def heard(self: Events, run) -> None:
        self.heard.append(event)
        if event == self.at:
            self.left -= 1
            if self.left == -1 and self.cancel is not None:
                raise self.cancel

    return heard


for _event in EVENTS:
    setattr(Events, _event, _hear(_event))


def fit_and_trace(*callbacks: Callback, epochs: int = 2) -> list[str]:
    learn = tiny_learner(callbacks, items=16)
    learn.fit(epochs)
    return callbacks[0].heard


def test_nothing_unusual_follows_the_published_order():
    assert fit_and_trace(Events()) == names(published())


def test_actions_come_in_the_published_order():
    spy = EventLog()
    tiny_learner([spy], items=8).fit(1)
    batch = spy.log[spy.log.index("one_batch") : spy.log.index("after_train")]
    assert batch == [
        *("one_batch", "begin_batch", "predict", "after_pred", "compute_loss", "after_loss"),
        *("backward", "after_backward", "finish_grad", "step", "after_step", "zero_grad"),
        "after_batch",
    ]


def after_cancel(kind: type, index: int) -> list[str] | None:
    """What the published table leaves of the trace when ``kind`` is raised at event ``index``.

    None where the cancel has no meaning.
    """
    trace = published()
    event, scope = trace[index]
    width = {CancelBatch: 3, CancelEpoch: 1, CancelFit: 0}[kind]
    last = {CancelBatch: "after_batch", CancelEpoch: "after_epoch", CancelFit: "after_fit"}[kind]
    if len(scope) < width or event == "after_fit":
        return None
    rest = [
        (name, where)
        for name, where in trace[index + 1 :]
        if where[:width] != scope[:width] or (name == last and where == scope[:width])
    ]
    return names(trace[: index + 1] + rest)


CASES = [
    (kind, index)
    for kind in (CancelBatch, CancelEpoch, CancelFit)
    for index in range(len(published()))
]


@pytest.mark.parametrize(
    ("kind", "index"), CASES, ids=[f"{k.__name__}-{i}-{published()[i][0]}" for k, i in CASES]
)
def test_what_follows_a_cancel_is_what_the_table_says(kind, index):
    event = published()[index][0]
    nth = names(published()[:index]).count(event)
    spy = Events(event, kind("why"), nth)
    expected = after_cancel(kind, index)
    if expected is None:
        with pytest.raises(RuntimeError, match=f"{kind.__name__} was raised in Events.{event}, wh"):
            fit_and_trace(spy)
    else:
        assert fit_and_trace(spy) == expected


@pytest.mark.parametrize("event", EVENTS)
def test_a_cancel_robs_no_listener(event):
    first, second = Events(event, CancelFit("enough")), Events()
    with pytest.raises(RuntimeError) if event == "after_fit" else nothing():
        tiny_learner([first, second], items=16).fit(2)
    assert second.heard == first.heard


@contextmanager
def nothing() -> Iterator[None]:
    yield


def test_the_widest_cancel_wins():
    narrow, wide = Events("begin_batch", CancelBatch()), Events("begin_batch", CancelFit("all"))
    learn = tiny_learner([narrow, wide], items=16)
    run = learn.fit(2)
    assert wide.heard == ["begin_fit", "begin_epoch", "begin_train", "begin_batch", "after_fit"]
    assert run.stop_reason == "all"


def test_a_cancel_in_an_action_unwinds_at_once():
    class Refuse(Callback):
        def backward(self, run, proceed):
            raise CancelBatch

    spy = Events()
    with pytest.warns(UserWarning, match="nothing was learnt"):
        tiny_learner([spy, Refuse()], items=8).fit(1)
    batch = spy.heard[spy.heard.index("begin_batch") : spy.heard.index("after_train")]
    assert batch == ["begin_batch", "after_pred", "after_loss", "after_batch"]


def test_misplaced_cancels_say_where_they_would_have_a_meaning():
    with pytest.raises(RuntimeError, match=r"no batch is running.*Raise it inside a batch"):
        fit_and_trace(Events("begin_epoch", CancelBatch()))
    with pytest.raises(RuntimeError, match=r"the fit is over.*Take it out"):
        fit_and_trace(Events("after_fit", CancelFit()))


class Accumulate(Callback):
    """Close the update window every ``n`` batches."""

    def __init__(self, n: int) -> None:
        self.n = self.batches_per_step = n

    def begin_batch(self, run):
        run.closes = run.window.batches + 1 >= self.n


def weights(learn: Learner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in learn.model.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_window_of_one_batch_equals_the_plain_loop_bit_for_bit():
    learn, plain = tiny_learner(), tiny_learner()
    learn.fit(2)
    for epoch in range(2):
        for xb, yb in plain.data.train_dl.batches(plain.seed, epoch):
            F.cross_entropy(plain.model(xb), yb).backward()
            plain.opt.step()
            plain.opt.zero_grad()
    assert same(weights(learn), weights(plain))
    plain.opt.param_groups[0]["lr"] = 0.2
    learn.fit(1)
    assert not same(weights(learn), weights(plain))


@pytest.mark.parametrize(("items", "n"), [(32, 2), (32, 4), (36, 3), (36, 7), (44, 2)])
def test_a_window_is_the_one_big_batch_short_windows_included(items, n):
    """Batches of 8 gathered n at a time equal batches of 8n, in double precision."""
    small = tiny_learner([Accumulate(n)], items=items, model=double_model())
    large = tiny_learner(items=items, batch_size=8 * n, model=double_model())
    for learn in (small, large):
        to_double(learn)
    run = small.fit(2)
    large.fit(2)
    for ours, theirs in zip(weights(small), weights(large), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert run.n_steps == 2 * -(-items // (8 * n))
    # Negative control: the mean of the batch means is another gradient where a batch is short.
    if items % 8:
        naive = tiny_learner([Accumulate(n)], items=items, model=double_model(), weight=lambda r: 1)
        to_double(naive)
        naive.fit(2)
        assert not same(weights(naive), weights(large))
        assert (
            max((a - b).abs().max() for a, b in zip(weights(naive), weights(large), strict=True))
            > 1e-6
        )


def double_model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def to_double(learn: Learner) -> None:
    for loader in (learn.data.train_dl, learn.data.valid_dl):
        loader.dataset.x = loader.dataset.x.double()
    learn.opt = torch.optim.SGD(learn.model.parameters(), lr=0.1)


def test_reduction_sum_gives_the_same_training_and_the_same_numbers_as_the_mean():
    def summed(pred, yb):
        return F.cross_entropy(pred, yb, reduction="sum")

    for callbacks in ([], [Accumulate(3)]):
        a = tiny_learner(callbacks, items=36)
        b = tiny_learner(callbacks, items=36, loss_func=summed, reduction="sum")
        run_a, run_b = a.fit(2), b.fit(2)
        for ours, theirs in zip(weights(a), weights(b), strict=True):
            torch.testing.assert_close(ours, theirs)
        for name in ("loss", "train_loss", "valid_loss"):
            assert run_a.history[name] == pytest.approx(run_b.history[name], rel=1e-5), name
        assert a.validate() == pytest.approx(b.validate(), rel=1e-5)
    undeclared = tiny_learner(items=36, loss_func=summed).fit(1)
    assert undeclared.history["train_loss"][0] > 2 * run_a.history["train_loss"][0]


def test_a_batch_without_weight_contributes_nothing_not_even_nan():
    def nan_on_empty(pred, yb):
        mask = yb >= 0
        return F.cross_entropy(pred[mask], yb[mask])

    x, y = torch.randn(16, 3), torch.tensor([0, 1] * 8)
    y[4:8] = -1  # the second batch of four has no labels
    batches = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 16, 4)]
    for n in (1, 2):
        learn = tiny_learner(
            [Accumulate(n)],
            data=DataBunch(batches),
            loss_func=nan_on_empty,
            weight=lambda run: int((run.yb >= 0).sum()),
        )
        run = learn.fit(1)
        assert all(p.isfinite().all() for p in learn.model.parameters())
        assert run.n_steps == (3 if n == 1 else 2)
        assert run.history["train_loss"][0] == run.history["train_loss"][0]  # not nan


def test_a_window_without_weight_makes_no_step_and_clears_the_gradients():
    learn = tiny_learner(weight=lambda run: 0)
    before = weights(learn)
    with pytest.warns(UserWarning, match="nothing was learnt"):
        run = learn.fit(1)
    assert run.n_steps == 0
    assert same(weights(learn), before)
    assert all(p.grad is None for p in learn.model.parameters())


def test_a_batch_cancelled_after_backward_discards_its_window():
    class CancelThird(Callback):
        def after_backward(self, run):
            if run.batch_index == 2:
                raise CancelBatch

    a = tiny_learner([Accumulate(2), CancelThird()], items=32)
    run = a.fit(1)
    assert run.n_steps == 2  # (0, 1), then 3 alone: 2 is gone and 3 is the last batch
    assert all(p.grad is None for p in a.model.parameters())


def test_a_batch_cancelled_before_backward_leaves_the_window_open_and_the_last_one_closes_it():
    class CancelLast(Callback):
        def begin_batch(self, run):
            if run.batch_index == 3:
                raise CancelBatch

    learn = tiny_learner([Accumulate(2), CancelLast()], items=32)
    run = learn.fit(1)
    assert run.n_steps == 2
    three = tiny_learner([Accumulate(3), CancelLast()], items=32)
    assert three.fit(1).n_steps == 1
    four = tiny_learner([Accumulate(4), CancelLast()], items=32)  # open until the end: flushed
    assert four.fit(1).n_steps == 1


@pytest.mark.parametrize("kind", [CancelEpoch, CancelFit])
def test_a_cancel_in_an_open_window_leaves_no_gradient_behind(kind):
    learn = tiny_learner([Accumulate(3), Events("after_backward", kind(), nth=1)], items=32)
    run = learn.fit(1)
    assert run.n_steps == 0
    assert all(p.grad is None for p in learn.model.parameters())
    assert run.window.batches == 0


def test_gradients_from_elsewhere_do_not_leak_into_the_first_step():
    clean, dirty = tiny_learner(), tiny_learner()
    for p in dirty.model.parameters():
        p.grad = torch.ones_like(p)
    clean.fit(1)
    dirty.fit(1)
    assert same(weights(clean), weights(dirty))


def test_a_skipped_step_advances_nothing_and_after_step_is_not_heard():
    class SkipSecond(Callback):
        def step(self, run, proceed):
            if run.batch_index != 1:
                proceed()

    spy = Events()
    learn = tiny_learner([spy, SkipSecond()])
    run = learn.fit(1)
    assert (run.n_iter, run.n_steps) == (4, 3)
    assert spy.heard.count("after_step") == 3
    assert all(p.grad is None for p in learn.model.parameters())


def test_positions_start_at_zero_and_never_reach_one():
    class Positions(Callback):
        def begin_fit(self, run):
            self.seen = []

        def begin_batch(self, run):
            if run.training:
                self.seen.append((run.pos, run.n_epochs))

    spy = Positions()
    tiny_learner([spy]).fit(3)
    assert [pos for pos, _ in spy.seen] == [i / 12 for i in range(12)]
    assert [n for _, n in spy.seen] == [i / 4 for i in range(12)]


def test_positions_at_every_event():
    class Positions(Callback):
        def __init__(self):
            self.seen = []

    def note(event):
        return lambda self, run: self.seen.append((event, run.pos, run.n_epochs))

    for event in EVENTS:
        setattr(Positions, event, note(event))
    spy = Positions()
    tiny_learner([spy]).fit(2)
    by_event = {event: [row[1:] for row in spy.seen if row[0] == event] for event in EVENTS}
    training = [i / 8 for i in range(8)]
    assert [pos for pos, _ in by_event["after_step"]] == training  # fixed within a window
    assert [pos for pos, _ in by_event["after_backward"]] == training
    assert by_event["begin_epoch"] == [(0.0, 0.0), (0.5, 1.0)]
    assert by_event["after_epoch"] == [(0.5, 1.0), (1.0, 2.0)]
    assert by_event["after_fit"] == [(1.0, 2.0)]


def test_pos_stays_within_a_window_and_counts_steps_not_batches():
    class Positions(Callback):
        def begin_fit(self, run):
            run.steps_per_epoch = 2
            self.seen = []

        def begin_batch(self, run):
            if run.training:
                self.seen.append(run.pos)

    spy = Positions()
    tiny_learner([spy, Accumulate(2)]).fit(2)
    assert spy.seen == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


def test_pos_without_a_length_refuses():
    class ReadPos(Callback):
        def begin_batch(self, run):
            self.pos = run.pos

    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))] * 3
    learn = tiny_learner([ReadPos()], data=DataBunch(lambda: iter(batches)))
    with pytest.raises(ValueError, match=r"run.pos needs the length.*Give fit\("):
        learn.fit(1)
    learn.fit(1, steps_per_epoch=3)
    learn.fit(steps=2)
    with pytest.raises(ValueError, match="the loader gives more batches than steps_per_epoch says"):
        learn.fit(1, steps_per_epoch=2)


def test_counters_are_those_after_the_batch():
    class Counters(Callback):
        def begin_fit(self, run):
            self.seen = []

        def begin_batch(self, run):
            self.seen.append(("begin", run.n_iter, run.n_steps))

        def after_step(self, run):
            self.seen.append(("step", run.n_iter, run.n_steps))

        def after_batch(self, run):
            self.seen.append(("after", run.n_iter, run.n_steps))

    spy = Counters()
    learn = tiny_learner([spy], items=8)
    learn.data.valid_dl = None
    learn.fit(1)
    assert spy.seen == [("begin", 0, 0), ("step", 0, 1), ("after", 1, 1)]


def test_length_in_steps():
    run = tiny_learner().fit(steps=6)
    assert (run.n_steps, run.epoch, len(run.history)) == (6, 1, 2)
    assert run.history["valid_loss"][-1] is not None


def test_a_run_in_steps_that_makes_none_is_an_error():
    class Never(Callback):
        def step(self, run, proceed): ...

    with pytest.raises(
        RuntimeError, match=r"without one optimizer step, so fit\(steps=5\) would n"
    ):
        tiny_learner([Never()]).fit(steps=5)


@pytest.mark.parametrize(
    ("every", "validations"),
    [(None, [4, 8, 12]), ("2 epochs", [8, 12]), ("5 steps", [5, 10, 12]), ("4 steps", [4, 8, 12])],
)
def test_validate_every(every, validations):
    class When(Callback):
        def begin_fit(self, run):
            self.seen = []

        def begin_validate(self, run):
            self.seen.append(run.n_steps)

    spy = When()
    learn = tiny_learner([spy])
    learn.fit(3, validate_every=every)
    assert spy.seen == validations


def test_validation_inside_an_epoch_changes_nothing_of_the_training():
    often, never = tiny_learner(), tiny_learner()
    never.data.valid_dl = None
    often.fit(2, validate_every="1 steps")
    never.fit(2)
    assert same(weights(often), weights(never))


def test_stop_acts_when_the_window_closes():
    class StopInWindow(Callback):
        def after_backward(self, run):
            if run.n_iter == 1:
                run.stop("because")

    spy = Events()
    learn = tiny_learner([spy, Accumulate(3), StopInWindow()], items=64)
    run = learn.fit(5)
    assert (run.n_iter, run.n_steps, run.stop_reason) == (3, 1, "because")
    assert spy.heard[-2:] == ["after_batch", "after_fit"]


def test_stop_between_validation_batches_and_at_the_end_of_an_epoch():
    class StopAt(Callback):
        def __init__(self, event):
            self.event = event

        def after_batch(self, run):
            if self.event == "valid" and not run.training:
                run.stop("valid")

        def after_epoch(self, run):
            if self.event == "epoch":
                run.stop("epoch")

    spy = Events()
    run = tiny_learner([spy, StopAt("valid")], items=64, batch_size=4).fit(3)
    assert spy.heard[-2:] == ["after_batch", "after_fit"]
    assert run.history["valid_loss"] == [None]  # a pass that was cut short has no number
    spy = Events()
    run = tiny_learner([spy, StopAt("epoch")]).fit(3)
    assert spy.heard[-2:] == ["after_epoch", "after_fit"]
    assert len(run.history["valid_loss"]) == 1


def test_a_pass_cut_short_has_no_numbers():
    events = Events("after_loss", CancelEpoch(), nth=2)
    run = tiny_learner([events], metrics=[accuracy]).fit(2)
    first, second = run.history.rows
    assert first["train_loss"] is None
    assert first["valid_loss"] is None
    assert first.get("accuracy") is None
    assert None not in (second["train_loss"], second["valid_loss"], second["accuracy"])


SCOPES = {
    "begin_fit": "after_fit",
    "begin_epoch": "after_epoch",
    "begin_train": "after_train",
    "begin_validate": "after_validate",
    "begin_batch": "after_batch",
}


@pytest.mark.parametrize(("opened", "closing"), SCOPES.items())
@pytest.mark.parametrize("ending", [None, CancelBatch, CancelEpoch, CancelFit, ZeroDivisionError])
def test_deferred_undos_run_after_their_scope_however_it_ends(opened, closing, ending):
    log = []

    class Patch(Callback):
        phase = Phase.PREPARE

        def end(self, run):
            if ending is not None and run.batch_index == 0:
                raise ending

    def begin(self, run):
        run.defer(lambda: log.append("first undone last"))
        run.defer(lambda: log.append("undo"))
        log.append(opened)

    setattr(Patch, opened, begin)
    if closing != opened:
        setattr(Patch, closing, lambda self, run: log.append(closing))
    if opened in ("begin_batch", "begin_train", "begin_validate"):
        Patch.after_pred = Patch.end
    patch = Patch()
    learn = tiny_learner([patch], items=16)
    with (
        nothing()
        if ending is not ZeroDivisionError or not hasattr(Patch, "after_pred")
        else (pytest.raises(ZeroDivisionError))
    ):
        learn.fit(1)
    assert log.count("undo") == log.count("first undone last") == log.count(opened)
    for index, entry in enumerate(log):
        if entry == "undo":
            assert log[index + 1] == "first undone last"
            assert closing not in log[index - 1 : index] or log[index - 1] == closing


def test_around_fit_is_open_for_the_whole_fit_and_swallows_nothing():
    log = []

    class Around(Callback):
        @contextmanager
        def around_fit(self, run):
            log.append("open")
            try:
                yield
            except ZeroDivisionError:
                log.append("seen")  # and not raised again
            finally:
                log.append("closed")

        def begin_fit(self, run):
            log.append("begin_fit")

        def after_fit(self, run):
            log.append("after_fit")

    tiny_learner([Around()]).fit(1)
    assert log == ["open", "begin_fit", "after_fit", "closed"]
    log.clear()
    with pytest.raises(ZeroDivisionError):
        tiny_learner([Around(), Events("after_loss", ZeroDivisionError())]).fit(1)
    assert log == ["open", "begin_fit", "seen", "closed"]


def test_modes_of_every_module_are_restored_exactly():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[1].eval()  # frozen on purpose, the others train
    seen = []

    class Modes(Callback):
        def after_pred(self, run):
            seen.append((run.training, [m.training for m in run.model]))

    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    learn = tiny_learner([Modes()], model=model, opt=opt)
    learn.fit(1, validate_every="2 steps")
    trained = {tuple(modes) for training, modes in seen if training}
    validated = {tuple(modes) for training, modes in seen if not training}
    assert trained == {(True, False, True, True)}
    assert validated == {(False, False, False, False)}
    assert [m.training for m in model] == [True, False, True, True]
    model.eval()
    learn.fit(1)
    assert not any(m.training for m in model.modules())


def test_misspelt_assignment_to_the_run_is_an_error():
    class Typo(Callback):
        def begin_batch(self, run):
            run.xbatch = 1

    with pytest.raises(AttributeError, match="xbatch"):
        tiny_learner([Typo()]).fit(1)


@pytest.mark.parametrize("event", EVENTS)
def test_an_error_keeps_its_type_and_names_the_event_callback_and_batch(event):
    with pytest.raises(ZeroDivisionError) as caught:
        fit_and_trace(Events(event, ZeroDivisionError()))
    note = caught.value.__notes__[0]
    assert f"Events.{event}" in note
    assert ("epoch 0" in note) == (event not in ("begin_fit", "after_fit"))
    if event in ("begin_batch", "after_loss"):
        assert "batch 0" in note
        assert "xb: (8, 3) float32 cpu; yb: (8,) int64 cpu" in note


def test_an_error_without_arguments_and_stop_iteration_surface():
    for error in (AssertionError(), StopIteration(), StopIteration("x")):
        with pytest.raises(type(error)):
            fit_and_trace(Events("after_loss", error))


def test_an_error_in_a_wrapper_names_the_chain():
    class Outer(Callback):
        def step(self, run, proceed):
            proceed()

    class Inner(Callback):
        def step(self, run, proceed):
            raise KeyError("inner")

    with pytest.raises(KeyError) as caught:
        tiny_learner([Outer(), Inner()]).fit(1)
    assert "Outer.step > Inner.step" in caught.value.__notes__[0]


def test_the_failing_batch_can_be_looked_at():
    class Model(nn.Sequential):
        def forward(self, xb):
            if len(xb) == 5:
                raise ValueError("five")
            return super().forward(xb)

    model = Model(nn.Linear(3, 2))
    learn = tiny_learner(model=model, opt=torch.optim.SGD(model.parameters(), 0.1), items=13)
    with pytest.raises(ValueError, match="five"):
        learn.fit(1)
    assert learn.run.xb.shape == (5, 3)
    assert learn.run.yb.shape == (5,)


@pytest.mark.parametrize("event", EVENTS)
def test_after_an_error_everything_is_as_it_was(event):
    learn = tiny_learner([Events(event, ZeroDivisionError(), nth=0)])
    before = capture({k: e for k, e in learn.state_entries().items() if k in ("modes", "random")})
    with pytest.raises(ZeroDivisionError):
        learn.fit(1)
    after = capture({k: e for k, e in learn.state_entries().items() if k in ("modes", "random")})
    assert first_difference(before, after) is None
    assert all(p.grad is None for p in learn.model.parameters())
    assert not learn.model._forward_hooks
    assert learn.fit(1).n_steps == 4


def test_at_most_six_frames_in_four_files_between_fit_and_forward():
    frames = []

    class Model(nn.Sequential):
        def forward(self, xb):
            frames.append([f for f in inspect.stack() if "/src/lehr/" in f.filename])
            return super().forward(xb)

    model = Model(nn.Linear(3, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    tiny_learner(model=model, opt=opt, rehearsal=False).fit(1)
    assert len(frames) == 4 + 1  # batches of training and of validation
    for stack in frames:
        assert len(stack) <= 6
        assert len({frame.filename for frame in stack}) <= 4


def test_log_goes_to_steps_in_training_to_means_in_validation_and_to_rows_elsewhere():
    class Log(Callback):
        def after_loss(self, run):
            run.log("seen", run.loss.detach())

        def after_epoch(self, run):
            run.log("note", run.epoch * 10)

    run = tiny_learner([Log()], items=36).fit(2)
    assert run.history["seen"] == run.history["loss"]
    assert run.history["valid_seen"] == pytest.approx(run.history["valid_loss"])
    assert run.history["note"] == [0, 10]


def test_streams_do_not_depend_on_who_else_draws():
    class Draw(Callback):
        def __init__(self, name, also=0):
            self.name_, self.also, self.seen = name, also, []

        def begin_batch(self, run):
            torch.rand(self.also)  # disturbs the default generator
            if self.also:
                torch.rand(3, generator=run.stream("other"))
            self.seen.append(torch.rand(2, generator=run.stream(self.name_)).tolist())

    alone, disturbed, other = Draw("mixup"), Draw("mixup", also=5), Draw("noise")
    for draw in (alone, disturbed, other):
        tiny_learner([draw]).fit(2)
    assert alone.seen == disturbed.seen
    assert alone.seen != other.seen
    assert len({tuple(draw) for draw in alone.seen}) == len(alone.seen)


def test_adding_a_callback_that_draws_changes_neither_data_nor_dropout():
    class Draw(Callback):
        def after_step(self, run):
            torch.rand(7)

    def trained(*callbacks):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.5), nn.Linear(16, 2))
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        learn = tiny_learner(callbacks, model=model, opt=opt)
        learn.fit(2)
        return weights(learn)

    class Disturb(Callback):
        def after_pred(self, run):
            run.pred = run.pred + 1e-3 * torch.rand(1)

    assert same(trained(), trained(Draw()))
    assert not same(trained(), trained(Disturb()))


def test_two_fits_see_the_data_of_one():
    class Data(Callback):
        def begin_batch(self, run):
            if run.training:
                self.__dict__.setdefault("seen", []).append(run.xb.sum().item())

    once, twice = Data(), Data()
    a, b = tiny_learner([once]), tiny_learner([twice])
    a.fit(2)
    b.fit(1)
    b.fit(1)
    assert once.seen == twice.seen
    assert once.seen[:4] != once.seen[4:]
    assert same(weights(a), weights(b))


ACTING = ("one_batch", "predict", "compute_loss", "backward", "finish_grad", "step", "zero_grad")


class OwnLoader:
    """Somebody's loader, which counts how often it was opened."""

    def __init__(self):
        self.opened = 0
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(32, 3, generator=generator)
        self.batches = [(xb, (xb.sum(1) > 0).long()) for xb in x.split(8)]

    def __iter__(self):
        self.opened += 1
        return iter(self.batches)

    def __len__(self):
        return 4

    def state_dict(self):
        return {"opened": self.opened, "first": self.batches[0][0]}

    def load_state_dict(self, state):
        self.opened = state["opened"]


def surroundings(learn):
    entries = learn.state_entries()
    found = capture({name: entries[name] for name in ("modes", "random", "train_dl")})
    found["train_dl"].pop("opened")
    found["hyper"] = [
        {k: v for k, v in group.items() if k != "params"} for group in learn.opt.param_groups
    ]
    found["params"] = [[id(p) for p in group["params"]] for group in learn.opt.param_groups]
    found["hooks"] = [list(m._forward_hooks) for m in learn.model.modules()]
    return found


@pytest.mark.parametrize("action", ACTING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_in_any_action_leaves_everything_as_it_was(action, when):
    class Raise(Callback):
        active = True

        def begin_fit(self, run):
            handle = run.model[0].register_forward_hook(lambda *args: None)
            run.defer(handle.remove)

    def act(self, run, proceed):
        if when == "after":
            proceed()
        if self.active and run.n_iter == 1:
            self.active = False
            raise ZeroDivisionError
        if when == "before":
            proceed()

    setattr(Raise, action, act)
    learn = tiny_learner([Raise()], data=DataBunch(OwnLoader()))
    kept = learn.model[0].register_forward_hook(lambda *args: None)
    before = surroundings(learn)
    with pytest.raises(ZeroDivisionError) as caught:
        learn.fit(1)
    assert "epoch 0, training batch 1" in caught.value.__notes__[0]
    assert first_difference(before, surroundings(learn)) is None
    assert all(p.grad is None for p in learn.model.parameters())
    assert learn.fit(1).n_steps == 4
    kept.remove()
    assert first_difference(before, surroundings(learn)) is not None  # negative control


def test_logging_what_is_no_number_says_so():
    class Log(Callback):
        def __init__(self, value):
            self.value = value

        def after_loss(self, run):
            run.log("it", self.value)

    for value, shown in ((torch.ones(3), r"\(3,\) float32 cpu"), ("text", "str"), (None, "None")):
        with pytest.raises(TypeError, match=rf"run.log\('it', …\) takes one number; got {shown}"):
            tiny_learner([Log(value)]).fit(1)


def test_what_was_logged_is_a_copy_without_a_graph():
    class Log(Callback):
        def after_loss(self, run):
            run.log("weight", run.model[2].bias[0])
            run.log("with_graph", run.loss)

    run = tiny_learner([Log()]).fit(1)
    assert len(set(run.history["weight"])) == 4
    assert run.history["with_graph"] == run.history["loss"]


def test_reading_the_history_in_the_middle_changes_nothing():
    class Read(Callback):
        phase = Phase.REPORT
        replays = False

        def after_loss(self, run):
            run.log("seen", run.loss)

        def after_batch(self, run):
            _ = run.history.rows, run.history.names, run.history.to_dict()

    learn = tiny_learner([Read()], items=64, batch_size=4)
    run = learn.fit(2)
    assert run.history["valid_seen"] == pytest.approx(run.history["valid_loss"])


def test_logs_of_several_validation_loaders_stay_apart():
    class Log(Callback):
        def after_loss(self, run):
            run.log("seen", run.loss)

    batch = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    data = DataBunch([batch], {"a": [batch], "b": [(batch[0] * 3, batch[1])]})
    row = tiny_learner([Log()], data=data).fit(1).history.rows[0]
    assert row["a/valid_seen"] == pytest.approx(row["a/valid_loss"])
    assert row["b/valid_seen"] == pytest.approx(row["b/valid_loss"])


def test_a_loss_of_shape_one_is_a_number():
    learn = tiny_learner(loss_func=lambda pred, yb: F.cross_entropy(pred, yb)[None])
    assert learn.fit(1).history["loss"] == tiny_learner().fit(1).history["loss"]


def test_a_failing_clean_up_does_not_erase_the_error():
    class Undo(Callback):
        def begin_fit(self, run):
            run.defer(lambda: 1 / 0)
            run.defer(lambda: [][0])

        def after_loss(self, run):
            raise ValueError("mine")

    with pytest.raises(IndexError) as caught:
        tiny_learner([Undo()]).fit(1)
    assert str(caught.value.__context__) == "mine"
    assert "Another clean-up failed as well: ZeroDivisionError" in caught.value.__notes__[0]


def test_an_error_in_validation_says_so_and_a_decorated_listener_is_named():
    class Decorated(Callback):
        @torch.no_grad()
        def after_loss(self, run):
            if not run.training:
                raise ValueError

    with pytest.raises(ValueError) as caught:
        tiny_learner([Decorated()]).fit(1)
    assert "In Decorated.after_loss, epoch 0, validation batch 0" in caught.value.__notes__[0]


@pytest.mark.parametrize("inner", ["validate", "fit"])
def test_an_error_in_a_run_within_a_run_keeps_its_type(inner):
    class Nested(Callback):
        def after_step(self, run):
            fit = {"validate": run.learn.validate, "fit": lambda: tiny_learner([Boom()]).fit(1)}
            fit[inner]()

    class Boom(Callback):
        evaluates = True

        def after_pred(self, run):
            if not run.training or inner == "fit":
                raise ValueError("the real error")

    with pytest.raises(ValueError, match="the real error") as caught:
        tiny_learner([Nested(), Boom()] if inner == "validate" else [Nested()]).fit(1)
    assert "Boom.after_pred" in caught.value.__notes__[0]


def test_an_error_in_a_static_method_or_a_function_keeps_its_type():
    class Static(Callback):
        @staticmethod
        def after_loss(run):
            raise ZeroDivisionError

    held = Callback()
    held.after_loss = lambda run: 1 / 0
    for callback in (Static(), held):
        with pytest.raises(ZeroDivisionError) as caught:
            tiny_learner([callback]).fit(1)
        assert "after_loss" in caught.value.__notes__[0]


def test_a_note_that_cannot_be_made_hides_nothing(monkeypatch):
    monkeypatch.setattr("lehr.loop.blame.describe", lambda value: 1 / 0)
    with pytest.raises(ValueError, match="mine") as caught:
        tiny_learner([Events("after_loss", ValueError("mine"))]).fit(1)
    assert "could not be found out: ZeroDivisionError" in caught.value.__notes__[0]


def test_an_error_while_reading_a_batch_does_not_blame_the_batch_before():
    def batches():
        yield torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
        yield torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk") as caught:
        tiny_learner(data=DataBunch(batches)).fit(1)
    note = caught.value.__notes__[0]
    assert "reading one, epoch 0, training batch 1." in note  # looking one ahead
    assert "xb" not in note


def test_a_stopped_run_has_a_complete_row():
    class Stop(Callback):
        def after_step(self, run):
            if run.n_steps == 3:
                run.stop("three")

    row = tiny_learner([Stop()]).fit(1).history.rows[-1]
    assert (row["step"], row["train_loss"]) == (3, None)
    assert row["seconds"] > 0


@pytest.mark.parametrize("name", ["loss", "lr", "epoch", "valid_loss", "kind"])
def test_the_recorders_columns_cannot_be_written(name):
    class Log(Callback):
        def after_loss(self, run):
            run.log(name, 1.0)

    with pytest.raises(ValueError, match=rf"run.log cannot write '{name}': the recorder does"):
        tiny_learner([Log()]).fit(1)


def test_a_name_is_one_column():
    class Log(Callback):
        def after_loss(self, run):
            run.log("both", 1.0)

        def after_epoch(self, run):
            run.log("both", 1.0)

    with pytest.raises(ValueError, match="'both' is logged both by batch and by row"):
        tiny_learner([Log()]).fit(1)


def test_a_stream_is_keyed_by_where_it_is_drawn():
    class Draw(Callback):
        def __init__(self, early):
            self.early = early

        def begin_fit(self, run):
            if self.early:
                torch.rand(1, generator=run.stream("it"))

        def begin_batch(self, run):
            if run.n_iter == 0 and run.training:
                self.drawn = torch.rand(1, generator=run.stream("it")).item()

    early, late = Draw(True), Draw(False)
    for draw in (early, late):
        tiny_learner([draw]).fit(1)
    assert early.drawn == late.drawn


@pytest.mark.parametrize("call", ["validate", "predict"])
def test_looking_draws_nothing_even_before_there_is_a_seed(call):
    learn = tiny_learner(seed=None)
    before = torch.get_rng_state()
    learn.validate() if call == "validate" else learn.predict(torch.zeros(2, 3))
    assert torch.equal(before, torch.get_rng_state())
    first = learn.seed
    assert not torch.equal(before, torch.get_rng_state())  # the one draw, for the training
    assert learn.seed == first


def test_mappings_of_any_kind_reach_the_model_as_keywords():
    from collections import UserDict

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, a):
            return self.layer(a)

    batch = UserDict(a=torch.randn(4, 3)), torch.tensor([0, 1, 0, 1])
    learn = tiny_learner(model=Named(), data=DataBunch([batch]))
    assert learn.fit(1).n_steps == 1
    assert learn.predict(batch[0]).shape == (4, 2)


def test_the_first_batch_warns_of_a_silent_broadcast():
    x, y = torch.randn(8, 3), torch.randn(8)
    learn = tiny_learner(
        model=nn.Linear(3, 1),
        data=DataBunch([(x, y)]),
        loss_func=lambda pred, yb: (pred - yb).square().mean(),
    )
    with pytest.warns(UserWarning, match=r"pred has shape \(8, 1\), yb \(8,\).*pred.squeeze\(1\)"):
        learn.fit(1)


def test_what_belongs_to_a_run_under_way_says_so_after_it():
    run = tiny_learner().fit(1)
    with pytest.raises(RuntimeError, match="where no scope is open"):
        run.defer(print)
    with pytest.raises(RuntimeError, match="no batches to replay"):
        run.regrad()


def test_a_coroutine_is_refused():
    class Async(Callback):
        async def after_loss(self, run): ...

    with pytest.raises(TypeError, match=r"Async.after_loss is a coroutine.*Write def, not async"):
        tiny_learner([Async()])


def test_fits_leave_no_garbage():
    learn = tiny_learner(items=160)
    learn.fit(1)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(20):
            learn.fit(1)
        assert len(gc.get_objects()) - before < 50  # a cycle a fit would make thousands
    finally:
        gc.enable()


@pytest.mark.parametrize("length", [{"epochs": 1}, {"steps": 2}])
def test_a_validation_that_falls_due_as_a_cancelled_window_is_closed_takes_place(length):
    class Pairs(Callback):
        batches_per_step = 2

        def begin_batch(self, run):
            run.closes = run.batch_index % 2 == 1

    class CancelLast(Callback):
        def after_backward(self, run):
            if run.batch_index == 3:
                raise CancelBatch

    class CancelEarly(Callback):
        def begin_batch(self, run):
            if run.training and run.batch_index == 3:
                raise CancelBatch

    for callback in (CancelLast(), CancelEarly()):
        run = tiny_learner([Pairs(), callback]).fit(**length, validate_every="2 steps")
        assert run.history.rows[-1]["valid_loss"] is not None
        assert run.validated_at == run.n_steps


def test_the_place_in_the_training_pass_comes_back_after_a_cancelled_validation():
    class Cancel(Callback):
        def __init__(self, kind):
            self.kind, self.seen = kind, []

        def begin_batch(self, run):
            if not run.training and self.kind:
                raise self.kind

        def after_epoch(self, run):
            self.seen.append((run.batch_index, run.num_batches))

    for kind, place in ((CancelEpoch, (1, 4)), (None, (0, 1))):
        callback = Cancel(kind)
        tiny_learner([callback]).fit(1, validate_every="2 steps")
        assert callback.seen == [place if kind else (3, 4)]


def test_a_stop_where_a_validation_is_due_begins_none_and_leaves_no_row_of_it():
    class Stop(Callback):
        def __init__(self, last):
            self.last, self.began = last, 0

        def after_step(self, run):
            if run.n_steps == self.last:
                run.stop("enough")

        def begin_validate(self, run):
            self.began += 1

    for last, rows in ((4, [2]), (5, [2, 4, 5]), (9, [2, 4, 6, 8])):
        stop = Stop(last)
        run = tiny_learner([stop]).fit(2, validate_every="2 steps")
        assert [row["step"] for row in run.history.rows] == rows
        assert stop.began == min(last - 1, 8) // 2


def test_a_number_that_is_logged_when_the_run_is_over_is_an_error():
    class Ends(Callback):
        def after_fit(self, run):
            run.log("at_the_end", 1.0)
            run.defer(lambda: run.log("deferred", 2.0))

    run = tiny_learner([Ends()]).fit(1)
    assert run.history.rows[-1]["at_the_end"] == 1.0
    assert run.history.rows[-1]["deferred"] == 2.0
    match = (
        r"run\.log\('late', …\) was called when the run was not under way: the number would belong "
        r"to no row\. Log in a callback; after_fit is the last event\."
    )
    with pytest.raises(RuntimeError, match=match):
        run.log("late", 1.0)
    assert "late" not in run.history


def test_a_number_that_is_logged_after_an_error_in_a_batch_is_an_error():
    class Fails(Callback):
        def after_loss(self, run):
            raise ZeroDivisionError

    learn = tiny_learner([Fails()])
    with pytest.raises(ZeroDivisionError):
        learn.fit(1)
    assert not learn.run.in_batch
    with pytest.raises(
        RuntimeError, match=r"run\.log\('late', …\) was called when the run was not"
    ):
        learn.run.log("late", 1.0)


@pytest.mark.parametrize("also", [False, True])
def test_a_batch_may_be_cancelled_while_the_gradients_are_cleared(also):
    class Cancels(Callback):
        def after_backward(self, run):
            if also and run.n_iter == 1:
                raise CancelBatch

        def zero_grad(self, run, proceed):
            proceed()
            if run.n_iter == 1:
                raise CancelBatch

    learn = tiny_learner([Cancels()])
    run = learn.fit(1)
    assert run.n_iter == 4
    assert run.n_steps == (3 if also else 4)
    assert all(p.grad is None for p in learn.model.parameters())


def test_who_replaces_a_whole_batch_need_not_count_its_items():
    class Plainly(Callback):
        def one_batch(self, run, proceed):
            run.pred = run.model(run.xb)
            run.loss = run.loss_func(run.pred, run.yb)
            if run.training:
                run.loss.backward()
                run.opt.step()
                run.opt.zero_grad()
                run.stepped = True

    usual, replaced = (
        tiny_learner(metrics=[accuracy]),
        tiny_learner([Plainly()], metrics=[accuracy]),
    )
    for learn in (usual, replaced):
        learn.fit(2)
    assert same(weights(usual), weights(replaced))
    for name in ("loss", "train_loss", "valid_loss", "accuracy"):
        assert replaced.run.history[name] == usual.run.history[name]


@pytest.mark.parametrize("event", ["after_backward", "backward", "begin_batch"])
@pytest.mark.parametrize("size", [1, 2])
def test_a_gradient_is_taken_again_only_when_its_window_has_closed(event, size):
    class Early(Callback):
        regrads = True

        def begin_batch(self, run):
            if event == "begin_batch" and run.training and run.batch_index == 1:
                run.regrad()

        def backward(self, run, proceed):
            proceed()
            if event == "backward":
                run.regrad()

        def after_backward(self, run):
            if event == "after_backward":
                run.regrad()

    told = "before the window had closed|has no batches to replay"
    with pytest.raises(RuntimeError, match=told):
        tiny_learner([Accumulate(size), Early()]).fit(1)
