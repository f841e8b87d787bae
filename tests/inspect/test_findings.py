"""What is said of a model: once for many layers, and with what it means for training."""

import re
from importlib.resources import files

from lehr.inspect.findings import MEANINGS, Finding, merged


def finding(layer, kind="dead", severity="problem"):
    return Finding(kind, severity, (layer,), f"{layer} is {kind}.", {})


def test_the_same_in_many_layers_is_said_once():
    (one,) = merged([finding(str(i)) for i in range(8)])
    assert one.layers == tuple("01234567")
    assert one.text == "0 is dead. The same in 1, 2, 3, 4 and 3 more."
    assert str(one).startswith("problem: 0 is")


def test_other_kinds_and_severities_stay_apart():
    found = merged([finding("a"), finding("b", kind="copies"), finding("c", severity="note")])
    assert [f.layers for f in found] == [("a",), ("b",), ("c",)]


def test_every_kind_of_problem_says_what_it_means_for_training():
    source = "".join(
        (files("lehr.inspect") / name).read_text() for name in ("verdicts.py", "scale_verdicts.py")
    )
    kinds = {*re.findall(r'"(\w+)",\s+"problem"', source), "zero_weights"}
    of_words = {"{word}_weights": ("large", "small"), "gradient_{word}": ("vanishes", "explodes")}
    for form, words in of_words.items():
        assert f'f"{form}"' in source
        kinds |= {form.replace("{word}", word) for word in words}
    assert 'Finding(word, "problem"' in source
    kinds |= {"shrinks", "grows"}
    assert len(kinds) > 12
    assert kinds == MEANINGS.keys()
    assert all(finding("0", kind=kind).meaning for kind in kinds)


def test_a_note_is_no_problem():
    assert finding("0", severity="note").meaning is None
