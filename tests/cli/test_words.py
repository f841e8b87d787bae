"""A command says options where a function says arguments."""

import pytest

from lehr.cli.words import as_options, flag


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missing='drop' leaves the rows out.", "--missing drop leaves the rows out."),
        ("Leave it out by exclude=['when', 'my id'].", "Leave it out by --exclude 'when,my id'."),
        ("regression=True or regression=False", "--regression or --classification"),
        ("Or give skip_broken=True, which", "Or give --skip-broken, which"),
        ("split='test' needs a folder test/", "--split test needs a folder test/"),
        (
            "give e.g. num_workers=0, or valid_share=0.2.",
            "give e.g. --workers 0, or --valid-share 0.2.",
        ),
        ("or leave split= out to train", "or leave --split out to train"),
        ("label_smoothing must be at most 1", "--label-smoothing must be at most 1"),
        # what is no option of a command stays as it is
        ("DataLoader(dataset, batch_size=64)", "DataLoader(dataset, batch_size=64)"),
        ("fit(steps=…)", "fit(steps=…)"),
        ("size must have a value in every row", "size must have a value in every row"),
        ("the row size=5.1 colour=red", "the row size=5.1 colour=red"),
        ("skip_broken=False", "skip_broken=False"),
    ],
)
def test_arguments_become_options(text, said):
    assert as_options(text) == said


def test_an_option_has_the_name_of_its_argument():
    assert [flag(name) for name in ("num_workers", "lr")] == ["--workers", "--lr"]
