import json

import numpy as np
import pytest

from lehr.data import ArrayPreparation, ImagePreparation, TablePreparation
from lehr.data.stored_fields import (
    ArrayFields,
    ImageFields,
    TableFields,
    settle,
    stored_fields,
)
from lehr.data.tables.columns import NumberColumn

MADE = {
    ArrayFields: ArrayPreparation(("a", "b"), (2,), 1.0, (0.0, 0.0), (1.0, 1.0)),
    TableFields: TablePreparation("y", (), (NumberColumn("x", 0.0, 1.0, 0.0),)),
    ImageFields: ImagePreparation(("a", "b"), "L", (8, 8)),
}


@pytest.mark.parametrize("form", MADE)
def test_a_form_has_the_fields_of_the_preparation(form):
    made = MADE[form]
    assert form.__struct_fields__ == ("kind", *vars(made))
    found = stored_fields(form, json.loads(json.dumps(made.to_dict())), "it")
    assert "kind" not in found
    assert type(made)(**found | ({"columns": made.columns} if form is TableFields else {})) == made


def test_fields_come_into_their_own_types():
    made = MADE[ArrayFields]
    settle(made, ArrayFields, mean=[1, np.float64(2)])
    assert made.mean == (1.0, 2.0)
    assert all(type(number) is float for number in made.mean)
    settle(made, ArrayFields, mean=(0.0, 0.0))


@pytest.mark.parametrize("form", MADE)
@pytest.mark.parametrize("wrong", [None, 3, "x", [1], []])
def test_what_is_no_dict(form, wrong):
    with pytest.raises(ValueError, match=r"it must be a dict; got .* Is this the file that lehr"):
        stored_fields(form, wrong, "it")
