from functools import partial

import torch
from torch import nn

from lehr import accuracy
from lehr.callbacks import EarlyStopping
from lehr.testing import tiny_learner


def test_a_learner_says_what_it_holds_and_how_far_it_is():
    learn = tiny_learner([EarlyStopping()], metrics=[accuracy])
    learn.fit(1)
    assert repr(learn).splitlines() == [
        "Learner",
        "  model      Sequential, 26 parameters",
        "  opt        SGD, lr 0.1",
        "  loss       cross_entropy",
        "  data       DataBunch(train: 4 batches, valid: 1 batches, c=2)",
        "  metrics    accuracy",
        f"  callbacks  {EarlyStopping()!r}",
        "  trained    1 epochs, 4 steps",
    ]


def test_a_notebook_shows_a_table_and_the_last_run():
    learn = tiny_learner(loss_func=partial(nn.functional.cross_entropy, label_smoothing=0.1))
    assert learn._repr_html_().count("<table>") == 1
    learn.fit(2)
    page = learn._repr_html_()
    assert page.count("<table>") == 2
    assert "functools.partial(&lt;function cross_entropy" in page


def test_lazy_and_compiled_models_and_two_rates_are_shown():
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.5}]
    learn = tiny_learner(model=model, opt=torch.optim.SGD(groups, lr=0.1))
    assert "Sequential, 10 parameters" in repr(learn)
    assert "SGD, lr 0.1 and 0.5" in repr(learn)
