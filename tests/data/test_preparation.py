from types import SimpleNamespace

from lehr.data import DataBunch


def test_a_bunch_knows_the_names_of_its_classes_from_its_preparation():
    assert DataBunch([1], [2], c=2).classes is None
    named = SimpleNamespace(classes=("cat", "dog"))
    bunch = DataBunch([1], [2], c=2, preparation=named)
    assert bunch.preparation is named
    assert bunch.classes == ("cat", "dog")
