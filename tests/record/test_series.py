"""A series is bounded and spans the run; a tap leaves nothing out; both can be kept."""

import gc
import pickle
import signal
import weakref

import pytest
import torch

from lehr.base.signals import patient
from lehr.record import series as series_module
from lehr.record.series import Series, Tap
from lehr.state.differences import first_difference
from lehr.state.snapshot import capture


def filled(n, capacity, kind=float):
    series = Series(capacity)
    for batch in range(n):
        series.append(batch, kind(batch))
    return series


@pytest.mark.parametrize("kind", [float, int, torch.tensor])
@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 700])
def test_a_short_series_holds_every_point(n, kind):
    series = filled(n, 1 << 16, kind)
    assert series.batches == list(range(n))
    assert series.values == list(map(float, range(n)))


@pytest.mark.parametrize("capacity", [2, 3, 4, 5, 8, 100, 256, 300])
@pytest.mark.parametrize("n", [1, 2, 5, 9, 64, 1000, 1023])
def test_a_long_series_spans_the_run_evenly(n, capacity):
    series = filled(n, capacity)
    assert len(series.batches) <= capacity
    assert series.batches == list(range(0, n, series.stride))
    assert series.values == [float(batch) for batch in series.batches]
    # no more is thinned out than has to be: at twice the points it would not fit
    assert series.stride == 1 or len(range(0, n, series.stride // 2)) >= capacity


@pytest.mark.parametrize("capacity", [2, 3, 5, 8, 100, 256])
@pytest.mark.parametrize("parts", [(1,), (4,), (8,), (7, 1), (3, 1, 1), (256,), (100, 28)])
def test_to_add_many_at_once_is_to_add_them_one_by_one(capacity, parts):
    one_by_one, at_once, numbers = Series(capacity), Series(capacity), Series(capacity)
    for turn in range(40):
        part = parts[turn % len(parts)]
        batches = range(at_once._count, at_once._count + part)
        at_once.extend(batches, torch.tensor(batches, dtype=torch.float64))
        numbers.extend(batches, list(map(float, batches)))
        for batch in batches:
            one_by_one.append(batch, float(batch))
        assert len(at_once.batches) <= capacity
    assert first_difference(at_once.state_dict(), one_by_one.state_dict()) is None
    assert first_difference(numbers.state_dict(), one_by_one.state_dict()) is None


def test_a_series_that_is_filled_to_the_brim_at_once_stays_bounded():
    series = Series(512)
    for first in range(0, 100 * 256, 256):
        series.extend(range(first, first + 256), torch.zeros(256))
        series.append(first, 0.0)
        assert len(series.batches) < 512


@pytest.mark.parametrize("is_cpu", [True, False])
def test_a_tensor_that_is_overwritten_after_it_was_added_stays_what_it_was(monkeypatch, is_cpu):
    monkeypatch.setattr(torch.Tensor, "is_cpu", is_cpu)  # False: as on a device
    series, tap, reused = Series(), Tap(), torch.zeros(1000)
    for batch in range(300):
        reused.fill_(batch)
        series.append(batch, reused[5])
        tap.append("loss", batch, reused[5:6])
    assert series.values == [float(batch) for batch in range(300)]
    assert [step["loss"] for step in tap.take()] == series.values


def test_a_value_of_many_bits_loses_none_beside_one_of_few(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    series, odd = Series(), 2**24 + 1
    for batch, value in enumerate([torch.tensor(0.5), torch.tensor(odd)]):
        series.append(batch, value)
    assert series.values == [0.5, odd]


def test_numbers_and_tensors_can_be_mixed_in_one_series():
    series = Series()
    for batch in range(600):
        series.append(batch, torch.tensor(float(batch)) if batch % 3 else float(batch))
    assert series.values == [float(batch) for batch in range(600)]


@pytest.mark.parametrize("capacity", [8, 1 << 16])
def test_reading_a_series_in_between_changes_nothing_of_it(capacity):
    untouched, read = Series(capacity), Series(capacity)
    for batch in range(700):
        for series in (untouched, read):
            series.append(batch, torch.tensor(float(batch)))
        assert len(read.values) == len(read.batches)
    assert (untouched.batches, untouched.values) == (read.batches, read.values)


def test_what_is_read_is_a_copy():
    series = filled(3, 8)
    series.values.append(9.0)
    series.batches.append(9)
    assert (series.batches, series.values) == ([0, 1, 2], [0.0, 1.0, 2.0])


def test_batches_may_leave_gaps():
    series = Series(capacity=4)
    for batch in (3, 10, 11, 40, 41):
        series.append(batch, float(batch))
    assert series.batches == [3, 11, 41]
    assert series.values == [3.0, 11.0, 41.0]


def test_logged_tensors_do_not_stay_alive_one_by_one():
    series, alive = Series(), []
    for batch in range(2000):
        value = torch.tensor(float(batch))
        alive.append(weakref.ref(value))
        series.append(batch, value)
    del value
    gc.collect()
    assert sum(reference() is not None for reference in alive) < 256
    assert len(series.batches) == 2000


@pytest.mark.parametrize("n", [2_000, 20_000])
def test_size_does_not_grow_with_the_length(n):
    assert len(pickle.dumps(filled(n, 128))) < 16 * 128 + 500
    assert len(pickle.dumps(filled(n, 1 << 16))) > 16 * n  # room for all


def test_a_series_needs_room_for_two():
    with pytest.raises(ValueError, match="capacity must be at least 2; got 1"):
        Series(capacity=1)


@pytest.mark.parametrize("n", [0, 5, 256, 700])
@pytest.mark.parametrize("since", [0, 3, 255, 699, 1000])
def test_a_series_gives_its_points_from_a_batch_on(n, since):
    series = filled(n, 128)
    points = list(zip(series.batches, series.values, strict=True))
    assert series.since(since) == [(batch, value) for batch, value in points if batch >= since]


# State ------------------------------------------------------------------------------------------


def kept(thing):
    return capture({"it": thing})["it"]


@pytest.mark.parametrize("capacity", [2, 8, 100, 1 << 16])
@pytest.mark.parametrize("n", [0, 1, 7, 255, 256, 300, 1000])
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_a_series_goes_on_as_if_it_had_never_been_kept(capacity, n, kind):
    whole, first, second = filled(n + 500, capacity, kind), filled(n, capacity, kind), Series(3)
    state = kept(first)
    second.load_state_dict(state)
    assert first_difference(state, kept(second)) is None
    for series in (first, second):
        for batch in range(n, n + 500):
            series.append(batch, kind(float(batch)))
        assert first_difference(kept(whole), kept(series)) is None
        assert (series.batches, series.values) == (whole.batches, whole.values)
    second.append(9999, 0.5)
    second.extend([9998, 9997], [0.5, 0.5])
    assert first_difference(kept(whole), kept(second)) is not None  # the control


def test_values_of_any_kind_are_kept_as_they_are_read():
    series = Series()
    numbers = [0.1, torch.tensor(0.1), 3, torch.tensor(0.1, dtype=torch.bfloat16), float("nan")]
    for batch, value in enumerate(numbers * 2):
        series.append(batch, value)
    state = kept(series)
    assert (state["batches"].dtype, state["values"].dtype) == (torch.int64, torch.float64)
    again = Series()
    again.load_state_dict(state)
    assert str(again.values) == str(series.values)  # nan is not equal to itself
    assert again.values[1] == torch.tensor(0.1).item() != again.values[0]


def test_to_keep_a_series_leaves_it_as_it_is():
    series = filled(300, 1 << 16, torch.tensor)
    series.append(300, torch.tensor(1.0))
    before = (len(series._values), len(series._pending))
    kept(series)
    assert (len(series._values), len(series._pending)) == before
    series.append(301, 2.0)  # no tensor of the state holds on to the memory


# Tap --------------------------------------------------------------------------------------------


@pytest.fixture
def press_in_pieces(monkeypatch):
    """Ctrl-C is pressed whenever values that wait are put into pieces."""
    real, before = series_module._pieces, signal.signal(signal.SIGINT, signal.default_int_handler)

    def pressed(values):
        signal.raise_signal(signal.SIGINT)
        return real(values)

    with patient():
        monkeypatch.setattr(series_module, "_pieces", pressed)
        yield
        monkeypatch.undo()
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("press_in_pieces")
def test_a_ctrl_c_parts_no_value_from_its_batch(monkeypatch):
    series = filled(5, 100)
    with pytest.raises(KeyboardInterrupt):
        series.extend([5, 6], [5.0, 6.0])
    monkeypatch.undo()
    assert (series.batches, series.values) == ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6])


@pytest.mark.usefixtures("press_in_pieces")
def test_a_ctrl_c_while_values_are_read_loses_none(monkeypatch):
    series = filled(5, 100)
    with pytest.raises(KeyboardInterrupt):
        _ = series.values
    monkeypatch.undo()
    assert series.values == [0, 1, 2, 3, 4]


def test_a_value_whose_batch_did_not_come_is_not_shown():
    series = filled(5, 100)
    series._pending.append(5.0)
    assert series.since(3) == [(3, 3.0), (4, 4.0)]


def test_a_tap_gives_every_point_once_in_the_order_of_batches():
    tap = Tap()
    tap.append("norm", 2, torch.tensor(4.0))
    tap.extend("loss", [0, 1, 2, 3], torch.tensor([0.5, 0.25, 0.125, 1.0]))
    assert tap.take(before=2) == [{"batch": 0, "loss": 0.5}, {"batch": 1, "loss": 0.25}]
    tap.append("loss", 4, 2.0)
    assert tap.take() == [
        {"batch": 2, "norm": 4.0, "loss": 0.125},
        {"batch": 3, "loss": 1.0},
        {"batch": 4, "loss": 2.0},
    ]
    assert tap.take() == []


def test_a_tap_leaves_out_nothing_that_a_series_thins():
    tap, series = Tap(), Series(8)
    for batch in range(1000):
        tap.append("loss", batch, batch / 8)
        series.append(batch, batch / 8)
    assert len(series.batches) < 9
    assert tap.take() == [{"batch": batch, "loss": batch / 8} for batch in range(1000)]


def test_a_tap_holds_what_its_state_says_and_nothing_else():
    tap, again = Tap(), Tap()
    tap.append("loss", 0, torch.tensor(0.5))
    again.append("other", 7, 1.0)
    state = kept(tap)
    again.load_state_dict(state)
    assert first_difference(state, kept(again)) is None
    for one in (tap, again):
        one.append("loss", 1, 0.25)
    assert again.take() == tap.take() == [{"batch": 0, "loss": 0.5}, {"batch": 1, "loss": 0.25}]
    assert first_difference(state, kept(again)) is not None


def test_what_was_taken_is_put_back_before_what_came_since():
    tap = Tap()
    tap.extend("loss", [0, 1], [0.5, 0.25])
    taken = tap.take()
    tap.append("loss", 2, 0.125)
    tap.put_back(taken)
    assert tap.take() == [{"batch": b, "loss": 0.5 / 2**b} for b in range(3)]
    tap.put_back([])
    assert tap.take() == []
