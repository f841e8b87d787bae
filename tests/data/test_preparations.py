import pytest

from lehr.data import ImagePreparation, preparation_from


def test_images():
    made = ImagePreparation(("a", "b"), "L", (8, 8), mean=(0.5,))
    assert preparation_from(made.to_dict()) == made


def test_tables():
    from lehr.data.tables.columns import NumberColumn
    from lehr.data.tables.preparation import TablePreparation

    made = TablePreparation("species", ("a", "b"), (NumberColumn("size", 5.0, 2.0, 5.0),))
    assert preparation_from(made.to_dict()) == made


def test_arrays():
    import torch

    from lehr.data.array_sets.load import arrays

    made = arrays(torch.rand(20, 3), torch.arange(20) % 2).preparation
    assert preparation_from(made.to_dict()) == made


def test_other_things():
    with pytest.raises(ValueError, match="a preparation must be a dict; got list"):
        preparation_from([])
    with pytest.raises(ValueError, match=r"no preparation of kind 'imag'. Did you mean image\?"):
        preparation_from({"kind": "imag"})
    with pytest.raises(ValueError, match=r"no preparation of kind None. Use one of: image, table"):
        preparation_from({})
