"""A profile says what its numbers mean."""

import pytest

from lehr.inspect.trace import Profile, Share


def profile(data=0.0, actions=0.0, callbacks=0.0, steps=10, **known):
    shares = (
        Share("data", "waiting for data", data, 0.0),
        Share("action", "predict", actions, 0.5),
        Share("callback", "Slow", callbacks, 0.0),
    )
    return Profile(shares, steps=steps, **known)


def test_the_shares_sum_to_the_whole():
    made = profile(0.2, 0.7, 0.1)
    assert made.seconds == pytest.approx(1.0)
    kinds = ("data", "action", "callback", "loop")
    assert sum(made.share_of(kind) for kind in kinds) == pytest.approx(1.0)
    assert made.share_of("callback", "Slow") == pytest.approx(0.1)
    assert made.share_of("callback", "Other") == 0.0
    last = str(made).splitlines()[4]
    assert last.split() == ["in", "all", "100000.0", "100.0"]


@pytest.mark.parametrize(
    ("made", "verdict", "advice"),
    [
        (profile(0.6, 0.4), "the steps wait for data, 60 % of the time", "num_workers"),
        (profile(0.0, 0.6, 0.4), "callbacks 40 %", "Slow takes 40 % of a step"),
        (profile(0.0, 1.0), "actions take 100 %", "nothing stands out"),
        (profile(0.0, 1.0, steps=10_000), "actions take 100 %", "compile=True"),
        (profile(0.0, 1.0, steps=10_000, compiled=True), "actions", "nothing stands out"),
        (profile(0, 1.0, by_threads=((2, 3e-4), (1, 2e-4))), "actions", "set_num_threads(1)"),
        (profile(0, 1.0, by_threads=((2, 2e-4), (1, 3e-4))), "actions", "nothing stands out"),
        (profile(0, 1.0, device="cuda", lag=0.5), "the device is busy", "MixedPrecision"),
        (profile(0, 1.0, device="cuda"), "the device waits for the host", "nothing stands out"),
    ],
)
def test_the_verdict_and_the_advice_are_of_the_largest_part(made, verdict, advice):
    assert verdict in made.verdict
    assert advice in made.advice
    assert made.verdict in str(made)
    assert made.advice in str(made)


def test_a_device_has_a_column_of_its_own():
    assert "µs on cuda" in str(profile(0, 1.0, device="cuda"))
    assert "µs on" not in str(profile(0, 1.0))


def test_it_is_a_table_in_a_notebook():
    html = str(profile(0.6, 0.4, left_out=("Progress",))._repr_html_())
    assert "<td>waiting for data</td>" in html
    assert "took no part: Progress" in html


def test_nothing_measured_is_no_division_by_zero():
    assert "0 steps" in str(Profile((), steps=0))
