"""What is done where only the data are named."""

import pytest
import torch

from lehr import models
from lehr.cli.recipes import ARRAY, IMAGES, OPTIMIZERS, RECIPES, TABLE, kind_of, recipe_for
from lehr.data.published.catalog import SOURCES


def test_recipes_name_what_exists():
    assert RECIPES.keys() == SOURCES.keys()
    for recipe in (*RECIPES.values(), IMAGES, TABLE, ARRAY):
        assert recipe.model is None or recipe.model in models.MODELS
    assert "adamw" in OPTIMIZERS
    assert recipe_for("somewhere/Archive.ZIP") is IMAGES
    assert recipe_for("t.TSV") is TABLE
    assert recipe_for("x.npz") is ARRAY


@pytest.mark.parametrize("name", SOURCES)
def test_published_sets_are_images_and_have_a_recipe_of_their_own(name):
    assert kind_of(name) == "image"
    assert recipe_for(name) is RECIPES[name] is not IMAGES


@pytest.mark.parametrize(
    ("source", "kind"),
    [("a/t.csv", "table"), ("t.TSV", "table"), ("x.npz", "array"), ("photos", "image")],
)
def test_the_kind_of_data_follows_from_the_ending(source, kind):
    assert kind_of(source) == kind


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_made_and_steps(name):
    choice, weight = OPTIMIZERS[name], torch.nn.Parameter(torch.ones(2))
    decay = 0.1 if choice.weight_decay is None else choice.weight_decay
    opt = choice.make([weight], lr=0.1, weight_decay=decay, **choice.options)
    weight.sum().backward()
    opt.step()
    assert (weight < 1).all()


def test_only_decoupled_decay_is_taken_from_the_recipe():
    assert [name for name, choice in OPTIMIZERS.items() if choice.weight_decay is None] == ["adamw"]
