"""What the outputs of every layer look like."""

import pytest
import torch
from torch import nn

from lehr import Callback, DataBunch
from lehr.callbacks import SAM, ActivationStats, Checkpoint
from lehr.callbacks.measure.activation_stats import DEAD, HISTOGRAM, MEAN, NEAR_ZERO, STD
from lehr.data import DataLoader, Dataset
from lehr.record.layer_log import LayerLog
from lehr.testing import tiny_learner


class Outputs(Callback):
    """Keeps the outputs themselves."""

    state = ()

    def begin_fit(self, run):
        self.train, self.valid = [], []
        run.defer(run.model[1].register_forward_hook(self.keep).remove)
        self.run = run

    def keep(self, module, args, output):
        if not self.run.replaying:
            (self.train if self.run.training else self.valid).append(output.detach())


def test_the_numbers_are_those_of_the_outputs_training_and_validation_apart():
    stats, outputs = ActivationStats(bins=5, low=0.0, high=1.0, near_zero=0.1), Outputs()
    tiny_learner([stats, outputs]).fit(2)
    for log, kept in ((stats.train, outputs.train), (stats.valid, outputs.valid)):
        assert len(log.values()) == len(kept) > 1
        for table, output in zip(log.values(), kept, strict=True):
            row = table[1]
            assert row[MEAN].item() == pytest.approx(output.mean().item(), abs=1e-6)
            assert row[STD].item() == pytest.approx(output.std(correction=0).item(), abs=1e-6)
            assert row[NEAR_ZERO] == (output.abs() <= 0.1).float().mean()
            assert row[DEAD] == (output.abs() <= 0.1).all(dim=0).float().mean()
            assert torch.equal(row[HISTOGRAM:], torch.histc(output, 5, 0, 1))
    assert stats.train.batches == list(range(8))
    assert not torch.equal(stats.train.values()[0], stats.train.values()[1])


def test_only_some_batches_and_some_layers():
    stats = ActivationStats(["2"], every=3)
    tiny_learner([stats]).fit(2)
    assert (stats.train.layers, stats.train.batches) == (["2"], [0, 3, 4, 7])


def test_hooks_are_gone_after_the_fit_and_after_an_error():
    class Break(Callback):
        state = ()

        def after_loss(self, run):
            raise ZeroDivisionError

    for callbacks in ([], [Break()]):
        learn = tiny_learner([ActivationStats(), *callbacks])
        try:
            learn.fit(1)
        except ZeroDivisionError:
            assert callbacks
        assert not any(module._forward_hooks for module in learn.model.modules())


def test_a_second_look_at_a_batch_is_not_counted():
    stats, twice = ActivationStats(), ActivationStats()
    tiny_learner([stats]).fit(1)
    tiny_learner([twice, SAM()]).fit(1)
    assert twice.train.batches == stats.train.batches
    assert torch.equal(twice.train.values()[0], stats.train.values()[0])


def test_what_is_no_tensor_of_real_numbers_is_nan():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair, self.head = Pair(), nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.pair(x)[0])

    stats = ActivationStats()
    tiny_learner([stats], model=Net()).fit(1)
    values = stats.train.values()
    assert values[:, 0].isnan().all()
    assert values[:, 1].isfinite().all()


def test_training_is_as_without():
    with_it, without = tiny_learner([ActivationStats()]), tiny_learner()
    assert with_it.fit(2).history["loss"] == without.fit(2).history["loss"]


def test_plots_show_every_layer():
    stats = ActivationStats()
    tiny_learner([stats]).fit(1)
    figure = stats.plot()
    assert [len(ax.lines) for ax in figure.axes] == [3, 3, 3, 3]
    assert figure.axes[0].lines[0].get_ydata()[0] == pytest.approx(
        stats.train.values()[0, 0, MEAN].item()
    )
    pictures = [ax.images[0] for ax in stats.plot_histograms().axes]
    counts = stats.train.values()[:, 2, HISTOGRAM:].T.log1p()
    assert len(pictures) == 3
    assert torch.equal(torch.from_numpy(pictures[2].get_array().data), counts)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"every": 0}, ValueError, "every must be at least 1; got 0"),
        ({"bins": 0}, ValueError, "bins must be at least 1; got 0"),
        ({"low": 2, "high": 1}, ValueError, "low must be below high; got low=2, high=1"),
        ({"near_zero": -1}, ValueError, "near_zero must be at least 0; got -1"),
        ({"layers": "0"}, TypeError, "layers must be a list of names; got '0'"),
        ({"high": "1"}, TypeError, "high must be a real number; got '1'"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, error, text):
    with pytest.raises(error, match=text):
        ActivationStats(**arguments)


def test_a_layer_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="layers names '7', which is no module of Sequential"):
        tiny_learner([ActivationStats(["7"])]).fit(1)


def test_its_repr_says_how_it_was_made():
    assert repr(ActivationStats(["0"], every=5)) == "ActivationStats(['0'], every=5)"


def test_a_unit_that_is_zero_for_every_item_is_dead():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[0], model[0].bias[0] = 0.0, -1.0
    stats = ActivationStats(["1"])
    learn = tiny_learner([stats], model=model)
    learn.fit(1)
    assert (stats.train.values()[:, 0, DEAD] >= 0.25).all()
    assert (stats.train.values()[:, 0, NEAR_ZERO] > stats.train.values()[:, 0, DEAD]).all()


def test_the_tables_of_a_report_are_the_records_validations_averaged():
    stats = ActivationStats()
    tiny_learner([stats], batch_size=4).fit(2)
    training, validation = stats.layer_tables()
    assert training.layers == ["0 Linear", "1 ReLU", "2 Linear"]
    assert torch.equal(training.numbers["mean"], stats.train.values()[:, :, MEAN])
    assert torch.equal(training.counts, stats.train.values()[:, :, HISTOGRAM:])
    assert validation.counts is None
    assert validation.batches == [8, 16]
    assert len(stats.valid.batches) == 4
    first = stats.valid.values()[:2, :, STD].mean(0)
    assert torch.allclose(validation.numbers["standard deviation"][0], first)


def two_loaders(callbacks):
    train, valid = tiny_learner().data.train_dl, tiny_learner(batch_size=4).data.valid_dl
    x, y = (torch.cat(column) for column in zip(*valid, strict=True))
    other = DataLoader(Dataset(x + 1, y), 8)
    return tiny_learner(callbacks, data=DataBunch(train, {"clean": valid, "moved": other}))


def test_each_of_several_validation_loaders_is_apart(tmp_path):
    stats = ActivationStats()
    two_loaders([stats, Checkpoint(tmp_path)]).fit(2)
    assert list(stats.valid) == ["clean", "moved"]
    clean, moved = stats.valid.values()
    assert (clean.batches, moved.batches) == ([4, 4, 8, 8], [4, 4, 8, 8])
    assert not torch.equal(clean.values(), moved.values())
    _, first, second = stats.layer_tables()
    assert first.title == "Outputs of each layer in validation (clean)"
    assert torch.equal(first.numbers["mean"], clean.means().values()[:, :, MEAN])
    assert torch.equal(second.numbers["mean"], moved.means().values()[:, :, MEAN])
    resumed = ActivationStats()
    two_loaders([resumed, Checkpoint(tmp_path)]).fit(3, resume="auto")
    straight = ActivationStats()
    two_loaders([straight]).fit(3)
    for name, log in straight.valid.items():
        assert torch.equal(resumed.valid[name].values(), log.values())


def test_a_long_fit_takes_bounded_memory_also_in_checkpoints(monkeypatch):
    monkeypatch.setattr(LayerLog.__init__, "__kwdefaults__", {"capacity": 8})
    stats = ActivationStats()
    tiny_learner([stats]).fit(10)
    assert stats.train.batches == [0, 8, 16, 24, 32]
    assert len(stats.state_dict()["train"]["values"]) == 5
    assert stats.valid.batches == [4 * epoch for epoch in (1, 3, 5, 7, 9)]


def test_one_that_never_began_has_no_tables():
    stats = ActivationStats()
    assert stats.layer_tables() == []
    tiny_learner([stats]).fit(1)
    assert len(stats.layer_tables()) == 2
