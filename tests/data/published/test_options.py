import inspect
import pickle
import re
import typing

import pytest

from lehr import data
from lehr.data.published.catalog import SOURCES
from lehr.data.published.cifar10 import Cifar10Options
from lehr.data.published.options import PublishedOptions, SetOptions, refuse_unknown, takes

ARGUMENTS = {
    "digits": {"valid_share": 0.2, "split_seed": 0, "normalize": True},
    "mnist": {"root": None, "valid_items": 10_000},
    "fashion_mnist": {"root": None, "valid_items": 10_000},
    "cifar10": {"root": None, "valid_items": 5_000, "normalize": True, "num_workers": 0},
}
COMMON = {
    "batch_size": 64,
    "split": "valid",
    "normalize": False,
    "flat": False,
    "augment": None,
    "size": None,
    "preparation": None,
    "drop_last": False,
    "seed": None,
}


def test_every_set_takes_the_same_options_and_its_own():
    assert ARGUMENTS.keys() == SOURCES.keys()
    for name, own in ARGUMENTS.items():
        parameters = inspect.signature(SOURCES[name]).parameters
        assert {key: p.default for key, p in parameters.items()} == {**COMMON, **own}
        kinds = [p.kind for p in parameters.values()]
        assert kinds == [inspect.Parameter.POSITIONAL_OR_KEYWORD] + [
            inspect.Parameter.KEYWORD_ONLY
        ] * (len(kinds) - 1)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_help_says_what_each_option_means(name):
    function = SOURCES[name]
    assert function is getattr(data, name)
    assert (function.__name__, function.__qualname__) == (name, name)
    text = inspect.getdoc(function)
    assert text.index("Args:") < text.index("Returns:") < text.index("Example:")
    section = text.partition("Args:\n")[2].partition("\n\n")[0]
    explained = re.findall(r"^    (\w+): \S", section, re.M)
    assert explained == list(inspect.signature(function).parameters)
    assert text.count("Args:") == 1


def test_the_class_nearest_to_a_set_says_what_an_option_means():
    assert "170 MB" in data.cifar10.__doc__
    assert "170 MB" not in data.mnist.__doc__
    assert "test images" in data.mnist.__doc__
    assert "test images" not in data.digits.__doc__


def test_types_are_those_of_the_fields():
    hints = typing.get_type_hints(data.mnist)
    assert hints["return"] is data.DataBunch
    assert hints["seed"] == int | None
    assert pickle.loads(pickle.dumps(data.mnist)) is data.mnist


def test_options_arrive():
    seen = []

    @takes(Cifar10Options)
    def nothing(options):
        """Nothing."""
        seen.append(options)

    nothing()
    nothing(32, flat=True, num_workers=2)
    assert seen == [Cifar10Options(), Cifar10Options(32, flat=True, num_workers=2)]
    assert nothing.__doc__ == "Nothing."
    assert seen[0].normalize
    assert not PublishedOptions().normalize


def test_what_no_set_takes():
    with pytest.raises(
        TypeError, match=r"digits takes no option 'augmant'\. Did you mean augment\? It takes bat"
    ):
        data.digits(augmant="flip")
    with pytest.raises(TypeError, match=r"takes no option 'root'\. It takes batch_size, split, no"):
        data.digits(root=".")
    with pytest.raises(TypeError, match=r"digits cannot be called so: too many .* Only batch_size"):
        data.digits(64, "valid")
    with pytest.raises(TypeError, match=r"called so: multiple values for argument 'batch_size'"):
        data.digits(64, batch_size=32)
    refuse_unknown("x", [], [])


def test_a_bunch_of_two_parts():
    import torch

    part = torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.arange(6) % 2
    bunch = SetOptions(2, flat=True, drop_last=True, seed=3).bunch(part, part, ("a", "b"), white=16)
    assert bunch.train_ds.x.shape == (6, 16)
    assert bunch.train_dl.batch_size == 2
    assert bunch.classes == ("a", "b")
