"""States that go from batch to batch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lehr import Callback, DataBunch, Learner
from lehr.callbacks import SAM, Accumulate, Closure, MicroBatches, MixedPrecision, TruncatedBPTT

DRAW = torch.Generator().manual_seed(1)
TEXT = torch.randint(1, 7, (3, 49), generator=DRAW)


def pieces(length, text=TEXT):
    stops = range(0, text.size(1) - 1, length)
    return [(text[:, i : i + length], text[:, i + 1 : i + length + 1]) for i in stops]


class Reader(nn.Module):
    def __init__(self, kind=nn.LSTM, dropout=0.0):
        super().__init__()
        self.embed, self.cell = nn.Embedding(7, 6), kind(6, 8, batch_first=True)
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(8, 7)
        self.starts = []

    def forward(self, tokens, state=None):
        self.starts.append(state)
        out, state = self.cell(self.embed(tokens), state)
        return self.head(self.drop(out)).mT, state


def reader(**named):
    torch.manual_seed(0)
    return Reader(**named).double()


def learner(model, batches, *callbacks, valid=None, opt=None):
    opt = opt or torch.optim.SGD(model.parameters(), lr=0.5)
    bunch = DataBunch(batches, valid)
    return Learner(model, opt, F.cross_entropy, bunch, callbacks, progress=False, seed=0)


def detached(state):
    return None if state is None else tuple(part.detach() for part in state)


def by_hand(batches, k, *, carries=True, epochs=2):
    """One step a batch; the gradient goes k time steps back."""
    model = reader()
    opt = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(epochs):
        state = None
        for tokens, target in batches:
            outs = []
            for i in range(0, tokens.size(1), k):
                out, state = model(tokens[:, i : i + k], detached(state) if carries else None)
                outs.append(out)
            F.cross_entropy(torch.cat(outs, 2), target).backward()
            opt.step()
            opt.zero_grad()
    return model


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(("length", "k"), [(8, None), (16, 4), (16, 5), (8, 99)])
def test_it_is_the_loop_that_one_would_write(length, k):
    batches = pieces(length)
    model = reader()
    learner(model, batches, TruncatedBPTT(k, pred_time_dim=2)).fit(2)
    assert same(model, by_hand(batches, min(k or length, length)))
    assert not same(model, by_hand(batches, min(k or length, length), carries=False))
    assert not same(model, by_hand(batches, 3))


def test_the_gradient_goes_k_steps_back_and_no_further():
    """The embedding of the first word has a gradient only if the window of the loss reaches it."""
    words = torch.arange(7)[None]
    reached = []
    for k in (7, 3):

        class GradientReach(Callback):
            def after_backward(self, run):
                reached.append(run.model.embed.weight.grad.abs().sum(1) > 0)

        last = [(words, torch.tensor([[-100] * 6 + [1]]))]
        learner(reader(), last, TruncatedBPTT(k, pred_time_dim=2), GradientReach()).fit(1)
    assert reached[0].tolist() == [True] * 7
    assert reached[1].tolist() == [False] * 6 + [True]


def test_every_pass_begins_anew_and_training_goes_on_with_its_own_state():
    model = reader()
    learn = learner(model, pieces(8), TruncatedBPTT(), valid=pieces(16)[:2])
    learn.rehearsal = False
    learn.fit(1)
    assert [start is None for start in model.starts] == [True, *[False] * 5, True, False]
    often = reader()
    learn = learner(often, pieces(8), TruncatedBPTT(), valid=pieces(16)[:2])
    learn.fit(1, validate_every="2 steps")  # in the middle of the sequence
    assert same(often, model)
    other = reader()
    shuffled = [pieces(8)[i] for i in (0, 3, 1, 2, 4, 5)]
    learner(other, shuffled, TruncatedBPTT()).fit(1)
    assert not same(other, model)


def test_rows_begin_anew_where_a_sequence_does():
    """Row 1 gets zeros, as if it had just begun; the others go on."""
    model = reader()
    begins = lambda run: torch.tensor([False, run.batch_index == 2, False])  # noqa: E731
    learner(model, pieces(8), TruncatedBPTT(begins=begins)).fit(1)
    state = model.starts[2]
    for part in state:
        assert torch.equal(part[:, 1], torch.zeros(1, 8))
        assert part[:, 0].abs().min() > 0
        assert part[:, 2].abs().min() > 0
    assert model.starts[3][0][:, 1].abs().min() > 0
    model = reader()
    learner(model, pieces(8), TruncatedBPTT(begins=lambda run: run.batch_index == 2)).fit(1)
    assert [start is None for start in model.starts] == [True, False, True, False, False, False]


def test_what_is_not_finite_does_not_stay_in_a_row_that_begins_anew():
    model = reader()
    read = TruncatedBPTT(begins=lambda run: torch.tensor([False, True, False]))

    class Spoil(Callback):
        def after_batch(self, run):
            if run.batch_index == 1:
                read.carried[0][:, 1] = torch.nan

    learner(model, pieces(8), read, Spoil()).fit(1)
    assert model.starts[2][0].isfinite().all()


@pytest.mark.parametrize("window", [1, 2])
def test_a_second_look_begins_where_the_first_did(window):
    model = reader(dropout=0.5)
    learner(model, pieces(8), TruncatedBPTT(), SAM(0.1), Accumulate(window)).fit(1)
    for i in range(0, len(model.starts), 2 * window):
        first, second = model.starts[i : i + window], model.starts[i + window : i + 2 * window]
        for a, b in zip(first, second, strict=True):
            assert a is None is b or all(map(torch.equal, a, b))
    assert not torch.equal(model.starts[-1][0], model.starts[2 * window][0])


def test_a_closure_sees_each_batch_from_its_own_beginning():
    models = [reader() for _ in range(2)]
    opts = [torch.optim.LBFGS(m.parameters(), lr=0.1, max_iter=2) for m in models]
    learner(models[0], pieces(8), TruncatedBPTT(), Closure(), opt=opts[0]).fit(1)
    model, opt, state = models[1], opts[1], None
    for tokens, target in pieces(8):
        start = detached(state)
        _, state = model(tokens, start)

        def closure():
            opt.zero_grad()
            loss = F.cross_entropy(model(tokens, start)[0], target)  # noqa: B023
            loss.backward()
            return loss

        closure()
        opt.step(closure)
    assert same(*models)


def test_inputs_may_be_tuples_or_dicts():
    plain = reader()
    learner(plain, pieces(8), TruncatedBPTT()).fit(1)
    for make in (lambda x: (x,), lambda x: {"tokens": x}):
        model = reader()
        batches = [(make(x), y) for x, y in pieces(8)]
        learner(model, batches, TruncatedBPTT()).fit(1)
        assert same(model, plain)


def test_precision_may_be_half():
    with torch.autocast("cpu", torch.bfloat16):
        try:
            nn.LSTM(2, 2)(torch.zeros(1, 1, 2))
        except RuntimeError:  # of the library that torch has for it
            pytest.skip("there is no LSTM in bfloat16 for this processor")
    half = reader().float()
    learner(half, pieces(8), TruncatedBPTT(), MixedPrecision("bf16")).fit(1)
    assert len(half.starts) == 6


def test_predictions_go_on_from_batch_to_batch():
    model = reader()
    learn = learner(model, pieces(8), TruncatedBPTT())
    with torch.no_grad():
        whole = model.eval()(TEXT[:, :48])[0]
    made = learn.predict([x for x, _ in pieces(8)])
    torch.testing.assert_close(made, torch.cat(whole.split(8, 2)))
    assert not torch.allclose(learn.predict(pieces(8)[1][0]), whole[:, :, 8:16])


def test_it_goes_on_exactly_after_a_stop():
    learn = learner(reader(dropout=0.3), pieces(8), TruncatedBPTT(), valid=pieces(16)[:2])
    assert learn.check_resume(epochs=2, batches=4).ok

    class Forgets(TruncatedBPTT):
        state = ()

    learn = learner(reader(), pieces(8), Forgets(), valid=pieces(16)[:2])
    assert not learn.check_resume(epochs=2, batches=4).ok


def test_what_does_not_fit_is_refused():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 7)

        def forward(self, tokens, state):
            return self.embed(tokens).mT

    with pytest.raises(
        TypeError, match=r"must return a pair \(prediction, state\); got \(3, 7, 8\)"
    ):
        learner(Plain(), pieces(8), TruncatedBPTT()).fit(1)
    shrinking = [*pieces(8)[:1], tuple(part[:2] for part in pieces(8)[1])]
    with pytest.raises(ValueError, match=r"the batch has 2 rows, but the state .* \(1, 3, 8\)"):
        learner(reader(), shrinking, TruncatedBPTT()).fit(1)
    with pytest.raises(ValueError, match=r"begins must return .* of shape \(3,\), .* got \(2,\)"):
        wrong = TruncatedBPTT(begins=lambda run: torch.zeros(2))
        learner(reader(), pieces(8), wrong).fit(1)
    with pytest.raises(ValueError, match="cannot be used together with MicroBatches"):
        learner(reader(), pieces(8), TruncatedBPTT(), MicroBatches()).fit(1)


def test_a_state_without_rows_cannot_begin_anew_in_some_of_them():
    class Counts(Reader):
        def forward(self, tokens, state=None):
            out, state = self.cell(self.embed(tokens), state if state is None else state[0])
            return self.head(out).mT, (state, torch.zeros(()))

    def fit(begins):
        torch.manual_seed(0)
        read = TruncatedBPTT(begins=lambda run: begins)
        return learner(Counts().double(), pieces(8), read).fit(1)

    with pytest.raises(
        ValueError, match=r"the state has \(\) float32.*, in which no dimension 1 c"
    ):
        fit(torch.tensor([False, True, False]))
    assert fit(False).n_steps == fit(True).n_steps == 6


def test_arguments_that_cannot_be_used():
    with pytest.raises(ValueError, match="k must be at least 1; got 0"):
        TruncatedBPTT(0)
    with pytest.raises(TypeError, match="begins must be a function of the run; got 3"):
        TruncatedBPTT(begins=3)
    for name in ("rows_dim", "time_dim", "pred_time_dim"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0; got -1"):
            TruncatedBPTT(**{name: -1})
    assert repr(TruncatedBPTT()) == "TruncatedBPTT()"
    assert repr(TruncatedBPTT(32)) == "TruncatedBPTT(32)"
