"""The losses of many small trainings are what they were: nearly anywhere, exactly here."""

import json
import math
import struct
from pathlib import Path

import pytest

from .compare import far_apart, first_difference, readable
from .configurations import CONFIGURATIONS, MACHINES_OWN, SEED, draws

STORED = json.loads(Path(__file__).with_name("losses.json").read_text(encoding="utf-8"))
TRACES = STORED["traces"]
UNSHUFFLED = {"windows"}
every = pytest.mark.parametrize("name", CONFIGURATIONS)


def next_in_single_precision(value):
    """The next float32 above ``value``, which is one."""
    (bits,) = struct.unpack("i", struct.pack("f", value))
    return struct.unpack("f", struct.pack("i", bits + 1))[0]


def test_every_configuration_is_stored_and_has_run():
    assert list(TRACES) == list(CONFIGURATIONS)
    assert not [name for name, trace in TRACES.items() if "error" in trace]
    assert len(CONFIGURATIONS) >= 24


@every
def test_what_is_stored_is_found_again_on_any_machine(name):
    if name in MACHINES_OWN and draws() != STORED["draws"]:
        pytest.skip("this processor draws other dropout masks than the one of the stored losses")
    found, stored = CONFIGURATIONS[name](), TRACES[name]
    assert found.keys() == stored.keys()
    for field in found.keys() - {"weights"}:  # bits are compared on one machine only
        pairs = zip(found[field], stored[field], strict=True)
        for number, (now, then) in enumerate(pairs):
            assert not far_apart(now, then), (
                f"{field} {number} is {readable(now)}; stored was {readable(then)}"
            )


@every
def test_two_runs_in_one_process_are_equal_in_every_bit(name):
    one, other = CONFIGURATIONS[name](), CONFIGURATIONS[name]()
    assert first_difference(one, other) is None


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name not in UNSHUFFLED])
def test_one_changed_bit_of_the_seed_is_found(name):
    found = first_difference(CONFIGURATIONS[name](), CONFIGURATIONS[name](seed=SEED ^ 1))
    assert found.startswith("loss at step 0: ")


@every
def test_one_changed_bit_of_the_learning_rate_is_found(name):
    """The last bit of a double changes what is written down of lr, if no float32 weight."""
    (lr,) = CONFIGURATIONS[name].__defaults__[1:]
    changed = CONFIGURATIONS[name](lr=math.nextafter(lr, 1))
    assert " at step " in first_difference(CONFIGURATIONS[name](), changed)


@pytest.mark.parametrize("name", ["sgd", "windows", "batch_norm", "sums"])
def test_one_changed_bit_of_the_learning_rate_is_found_in_losses_and_weights(name):
    lr = struct.unpack("f", struct.pack("f", 0.25))[0]
    one = CONFIGURATIONS[name](lr=lr)
    other = CONFIGURATIONS[name](lr=next_in_single_precision(lr))
    assert one["loss"][0] == other["loss"][0]  # no step was made yet
    assert first_difference(one, other).startswith("loss at step ")
    assert one["weights"] != other["weights"]


def test_the_first_difference_names_the_field_the_step_and_both_values():
    one = {"loss": ["0x1.0p+0", "0x1.8p+0"], "lr": [["0x1.0p-1"]], "weights": "ab"}
    assert first_difference(one, dict(one)) is None
    for change, text in [
        ({"loss": ["0x1.0p+0", "nan"]}, "loss at step 1: 1.5 (0x1.8p+0) and nan (nan)"),
        ({"loss": ["0x1.0p+0", None]}, "loss at step 1: 1.5 (0x1.8p+0) and None"),
        ({"loss": ["0x1.0p+0"]}, "loss: 2 and 1 steps"),
        ({"lr": [["0x1.0p-2"]]}, "lr at step 0: [0.5 (0x1.0p-1)] and [0.25 (0x1.0p-2)]"),
        ({"weights": "cd"}, "weights: ab and cd"),
        ({"error": "TypeError: no"}, "error: None and TypeError: no"),
    ]:
        assert first_difference(one, {**one, **change}) == text


def test_a_stored_value_that_is_a_little_off_passes_and_one_further_off_does_not():
    row = {"epoch": 0, "valid_loss": (1.0).hex()}
    assert not far_apart(row, {**row, "valid_loss": (1.0 + 9e-6).hex()})
    assert far_apart(row, {**row, "valid_loss": (1.0 + 2e-5).hex()})
    assert far_apart(row, {**row, "epoch": 1})
    assert far_apart(row, {"epoch": 0})
    assert far_apart([row], [row, row])
    assert far_apart((1.0).hex(), "nan")
    assert not far_apart("nan", "nan")
    assert far_apart(None, (1.0).hex())
