import pytest

from lehr import DataBunch
from lehr.inspect.validation import class_names, validation
from lehr.testing import tiny_learner


def test_the_first_of_several_loaders_is_looked_at():
    learn = tiny_learner()
    one = learn.data.valid_dl
    learn.data = DataBunch(learn.data.train_dl, {"clean": one, "noisy": [1]})
    assert validation(learn) is one
    assert validation(learn, {"other": [2]}) == [2]


def test_without_a_loader_there_is_nothing_to_look_at():
    learn = tiny_learner()
    learn.data = DataBunch(learn.data.train_dl)
    match = r"^there is no validation loader; data\.valid_dl is None\. Give a loader of batches\.$"
    with pytest.raises(ValueError, match=match):
        validation(learn)


def test_names_are_those_of_the_data_if_there_is_one_for_each_class():
    learn = tiny_learner()

    class Named:
        classes = ("cat", "dog")

    learn.data.preparation = Named()
    assert class_names(learn, 2) == ("cat", "dog")
    assert class_names(learn, 3) == ("0", "1", "2")
