"""Other data in the middle of a run: from when on, for how long, and what a resume says of them."""

import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from lehr import Callback, DataBunch
from lehr.callbacks import Checkpoint, Rewind
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture
from lehr.testing import EventLog, tiny_learner


def batches(n, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, size, 3, generator=generator)
    return [(xb, (xb.sum(1) > 0).long()) for xb in x]


STAGES = [DataBunch(batches(4, 8, seed=e), batches(1, 4 + e, seed=9)) for e in range(3)]


class Assigns(Callback):
    """Assigns data in one event of one epoch, and notes how many items each pass had."""

    state = ()
    replays = False

    def __init__(self, event, data, epoch=1):
        self.seen = []

        def assign(run):
            if run.epoch == epoch and (run.training or "valid" in event):
                run.data = data
                assert run.data is data

        setattr(self, event, assign)
        self._first = getattr(self, "begin_batch", None)
        self.begin_batch = self._note

    def _note(self, run):
        self.seen.append((run.epoch, run.training, len(run.xb), run.num_batches))
        if self._first:
            self._first(run)


OTHER = DataBunch(batches(4, 5), batches(2, 6))
"""Five items in a batch, and six in one of validation; eight and sixteen before."""


def sizes(seen):
    """How many items a batch of training and one of validation has, by epoch."""
    return [
        tuple(
            {size for e, training, size, _ in seen if (e, training) == (epoch, half)}
            for half in (True, False)
        )
        for epoch in range(3)
    ]


OLD, NEW = ({8}, {16}), ({5}, {6})


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("begin_epoch", [OLD, NEW, NEW]),
        ("begin_train", [OLD, OLD, NEW]),
        ("begin_batch", [OLD, OLD, NEW]),
        ("after_step", [OLD, OLD, NEW]),
        ("after_batch", [OLD, OLD, NEW]),
        ("after_train", [OLD, OLD, NEW]),
        ("begin_validate", [OLD, OLD, NEW]),
        ("after_validate", [OLD, OLD, NEW]),
    ],
)
def test_data_that_are_assigned_are_read_from_the_next_epoch_on(event, expected):
    assigns = Assigns(event, OTHER)
    learn = tiny_learner([assigns])
    data = learn.data
    learn.fit(3, validate_every="2 steps" if "valid" in event else None)
    assert sizes(assigns.seen) == expected
    assert learn.data is data  # assigned for that run alone
    assert learn.run.data is OTHER
    assigns.seen.clear()
    learn.callbacks.clear()
    learn.fit(1, callbacks=[Assigns("after_fit", OTHER)])
    assert learn.run.n_steps == 4


class Binds(Assigns):
    """Assigns the loaders to the DataBunch that is there."""

    def __init__(self, event, names, epoch=1):
        super().__init__("unused", None)

        def assign(run):
            if run.epoch == epoch and (run.training or "valid" in event):
                for name in names:
                    setattr(run.data, name, getattr(OTHER, name))

        setattr(self, event, assign)
        self._first = assign if event == "begin_batch" else None
        self.begin_batch = self._note


BOTH = ("train_dl", "valid_dl")


@pytest.mark.parametrize(
    ("event", "names", "expected"),
    [
        ("begin_epoch", BOTH, [OLD, NEW, NEW]),
        ("begin_batch", BOTH, [OLD, OLD, NEW]),
        ("after_train", BOTH, [OLD, OLD, NEW]),
        ("begin_epoch", ("train_dl",), [OLD, ({5}, {16}), ({5}, {16})]),
        ("begin_epoch", ("valid_dl",), [OLD, ({8}, {6}), ({8}, {6})]),
        ("begin_epoch", (), [OLD, OLD, OLD]),
    ],
)
def test_loaders_that_are_assigned_to_the_data_are_read_from_the_next_epoch_on(
    event, names, expected
):
    binds = Binds(event, names)
    learn = tiny_learner([binds], data=DataBunch(batches(4, 8), batches(1, 16)))
    run = learn.fit(3)
    assert sizes(binds.seen) == expected
    assert run.sources.changed is bool(names)
    assert run.n_steps == 12


def test_a_loader_that_a_property_makes_anew_is_not_taken_for_another():
    class Fresh:
        valid_dl = None

        @property
        def train_dl(self):
            return batches(4, 8)

    assert not tiny_learner(data=Fresh()).fit(3).sources.changed


@pytest.mark.parametrize(("event", "epoch"), [("begin_fit", 0), ("after_epoch", 0)])
def test_between_two_epochs_the_next_one_reads_them(event, epoch):
    assigns = Assigns(event, OTHER, epoch)
    tiny_learner([assigns]).fit(3)
    first = NEW if event == "begin_fit" else OLD
    assert sizes(assigns.seen)[0] == first
    # in after_epoch the epoch is not over: the one that comes next is meant
    assert sizes(assigns.seen)[1:] == [NEW, NEW]


class Curriculum(Callback):
    """A stage of its own for every epoch."""

    state = ()

    def begin_epoch(self, run):
        run.data = STAGES[run.epoch]


class Once(Callback):
    """Other data from the second epoch on, assigned in ``event``."""

    state = ()

    def __init__(self, event="begin_epoch"):
        setattr(self, event, self._assign)

    def _assign(self, run):
        if run.epoch == 1 and run.training:
            run.data = STAGES[2]


def test_a_curriculum_is_the_plain_loop_over_its_stages():
    learn = tiny_learner([Curriculum()])
    learn.fit(3)
    plain = tiny_learner()
    opt = torch.optim.SGD(plain.model.parameters(), lr=0.1)
    for stage in STAGES:
        for xb, yb in stage.train_dl:
            torch.nn.functional.cross_entropy(plain.model(xb), yb).backward()
            opt.step()
            opt.zero_grad()
    assert first_difference(*(capture({"model": one.model}) for one in (learn, plain))) is None
    other = tiny_learner(data=STAGES[0])
    other.fit(3)
    assert first_difference(*(capture({"model": one.model}) for one in (learn, other)))


def test_what_is_no_bunch_or_has_other_validation_is_refused_where_it_is_assigned():
    def fit(other, **arguments):
        return tiny_learner([Assigns("begin_epoch", other)], **arguments).fit(2)

    with pytest.raises(TypeError, match=r"run\.data must be a DataBunch; got list\. Write DataB"):
        fit([1])
    with pytest.raises(TypeError, match="train_dl must be an iterable of batches; got int"):
        fit(DataBunch(3, batches(1)))
    with pytest.raises(
        ValueError,
        match=r"run\.data must have the validation loaders that the run began with: one without a "
        r"name; got none\. Columns of the history, metrics and monitors go by them\.",
    ):
        fit(DataBunch(batches(1)))
    with pytest.raises(ValueError, match="one without a name; got 'a', 'b'"):
        fit(DataBunch(batches(1), {"a": batches(1), "b": batches(1)}))
    with pytest.raises(ValueError, match="began with: none; got one without a name"):
        fit(OTHER, data=DataBunch(batches(1)))


def test_another_length_is_told_of_and_counted():
    longer = DataBunch(batches(6), batches(1))
    assigns = Assigns("begin_epoch", longer)
    words = (
        r"^run\.data has 6 training batches from epoch 1 on, and had 4: the epoch has all of them, "
        r"but schedules go by the 12 steps that were planned\. Give fit\(…, steps_per_epoch=…\), "
        r"the mean over all epochs, or fit\(steps=…\)\."
    )
    with pytest.warns(UserWarning, match=words) as warned:
        run = tiny_learner([assigns]).fit(3)
    assert len(warned) == 1
    assert (run.n_steps, run.n_epochs) == (16, 3)
    assert {n for e, training, _, n in assigns.seen if e and training} == {6}
    assert tiny_learner([Assigns("begin_epoch", longer)]).fit(steps=16).n_steps == 16
    assert tiny_learner([Assigns("begin_epoch", longer)]).fit(3, steps_per_epoch=5).n_steps == 16
    unknown = DataBunch(lambda: iter(batches(4)), batches(1))
    with pytest.warns(UserWarning, match="has an unknown number of training batches"):
        tiny_learner([Assigns("begin_epoch", unknown)]).fit(3)


class Stop(Callback):
    state, replays = (), False

    def __init__(self, n, event="after_batch"):
        self.n = n
        setattr(self, event, self._stop)

    def _stop(self, run):
        if run.n_iter == self.n:
            run.interrupt("test")


def outcome(learn):
    return capture({"model": learn.model, "opt": learn.opt})


@pytest.mark.parametrize("event", ["after_batch", "after_epoch"])
@pytest.mark.parametrize("n", [3, 4, 6, 8, 10])
def test_a_resumed_run_whose_callback_assigns_in_begin_epoch_ends_as_one_without_a_stop(
    tmp_path, n, event
):
    straight = tiny_learner([Curriculum()])
    straight.fit(3)
    tiny_learner([Curriculum(), Checkpoint(tmp_path), Stop(n, event)]).fit(3)
    learn = tiny_learner([Curriculum(), Checkpoint(tmp_path)])
    learn.fit(3, resume="auto", exact=True)
    assert first_difference(outcome(straight), outcome(learn)) is None


@pytest.mark.parametrize("event", ["begin_epoch", "after_batch"])
def test_a_resumed_run_says_that_data_assigned_once_are_not_there_any_more(tmp_path, event):
    def learner(*callbacks):
        return tiny_learner([Once(event), Checkpoint(tmp_path), *callbacks])

    learner(Stop(8, "after_epoch")).fit(3)
    words = (
        r"data assigned to run\.data → the Learner's\. What a callback assigned is not saved: let "
        r"it assign in begin_epoch, in every epoch, what belongs to that epoch"
    )
    with pytest.raises(
        ValueError, match=rf"would not be bit for bit exact: {words}\. Put that back"
    ):
        learner().fit(3, resume="auto", exact=True)
    with pytest.warns(UserWarning, match=words):
        learner().fit(3, resume="auto")


def test_within_an_epoch_that_read_other_data_it_is_said_at_once(tmp_path):
    tiny_learner([Once(), Checkpoint(tmp_path), Stop(6)]).fit(3)
    with pytest.warns(UserWarning, match=r"data assigned to run\.data → the Learner's"):
        tiny_learner([Checkpoint(tmp_path)]).fit(3, resume="auto")


def loader(seed):
    x, y = torch.cat([x for x, _ in batches(4)]), torch.cat([y for _, y in batches(4)])
    generator = torch.Generator().manual_seed(seed)
    return TorchLoader(TensorDataset(x, y), 8, shuffle=True, generator=generator)


def test_a_run_that_goes_back_reads_what_it_read_there():
    class Back(Callback):
        state = ()

        def begin_batch(self, run):
            if run.training:
                self.seen.append((run.epoch, len(run.xb)))

        def after_step(self, run):
            if run.n_steps == 6 and not run.rewinds:
                run.rewind(4)

    back = Back()
    back.seen = []
    small = DataBunch(batches(4, 5), batches(1))
    learn = tiny_learner(
        [Rewind(every="1 steps", keep=9), Assigns("begin_epoch", small), back],
        data=DataBunch(loader(1), batches(1)),  # which has an entry that the other has not
    )
    learn.fit(2)
    expected = [(0, 8)] * 4 + [(1, 5)] * 2 + [(0, 8)] * 2 + [(1, 5)] * 4
    assert back.seen == expected


def test_the_events_are_as_ever():
    one, two = EventLog(), EventLog()
    tiny_learner([one]).fit(2)
    tiny_learner([two, Curriculum()], data=STAGES[0]).fit(2)
    assert one.log == two.log
