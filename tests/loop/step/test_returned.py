"""What a callback's function returns is looked at before a graph is made of it."""

import pytest
import torch

from lehr import Callback, Changes, GraphPart
from lehr.loop.step.returned import check_changes
from lehr.testing import tiny_learner

VALUES, OWN = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, {"seen": torch.ones(())}


def checked(returned, *, skips=True):
    part = GraphPart(lambda values, tensors, numbers: returned(values), OWN, {"share": 0.5})
    check_changes("Mine", part, VALUES, skips=skips)


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (dict, TypeError, r"Mine must return lehr\.Changes; got"),
        (lambda values: None, TypeError, r"Mine must return lehr\.Changes; got None"),
        (lambda values: Changes({"bais": values["bias"]}), ValueError, "given 'weight', 'bias'"),
        (lambda values: Changes(tensors={"sen": torch.ones(())}), ValueError, "'sen' in tensors"),
        (lambda values: Changes({"bias": torch.ones(3)}), ValueError, r"\(3,\); it must be \(2,\)"),
        (lambda values: Changes(skips=torch.ones(())), TypeError, "a tensor of bool without dim"),
        (lambda values: Changes(skips=torch.ones(2) > 0), TypeError, "a tensor of bool without"),
        (lambda values: Changes(skips=True), TypeError, "a tensor of bool without dimensions"),
    ],
)
def test_what_a_graph_could_not_write_is_refused(returned, error, words):
    with pytest.raises(error, match=words):
        checked(returned)


def test_after_the_step_none_can_be_skipped():
    skipping = lambda values: Changes(skips=values["bias"].sum() > 0)  # noqa: E731
    checked(skipping)
    with pytest.raises(ValueError, match="returns skips once the step is made"):
        checked(skipping, skips=False)


def test_what_needs_values_is_left_to_the_compiler_and_no_random_number_is_drawn():
    checked(lambda values: Changes({"none": torch.ones(int(values["bias"].sum()))}))
    before = torch.get_rng_state()
    checked(lambda values: Changes({"bias": torch.rand(2)}))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fit_with_a_misspelt_name_is_an_error_that_says_whose_it_is():
    class Shrinks(Callback):
        in_graph = ("finish_grad",)

        def finish_grad(self, run, proceed):
            proceed()

        def graph_part(self, method, run):
            return GraphPart(misspelt)

    with pytest.raises(ValueError, match="the function of Shrinks for finish_grad returns 'wieght"):
        tiny_learner([Shrinks()], compile="eager").fit(1)


def misspelt(grads, tensors, numbers):
    return Changes({"wieght": torch.ones(1)})
