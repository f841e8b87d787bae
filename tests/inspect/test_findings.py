from lehr.inspect.findings import Finding, merged


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
