"""What a scheduler of others does to an optimizer is known, kept in plain numbers, and undone."""

from collections import Counter

import pytest
import torch
from torch.optim import lr_scheduler

from lehr.optim.schedulers import Scheduler, Schedulers
from lehr.state.snapshot import capture


def optimizer(**kwargs):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9, **kwargs)


def test_the_containers_of_a_loaded_state_have_the_types_that_they_had():
    def make(opt):
        return lr_scheduler.MultiStepLR(opt, [2, 2, 5], 0.5)

    state = capture({"it": Scheduler(make, optimizer(), "step")})["it"]
    assert type(state["scheduler"]["milestones"]) is dict  # what a file gives back
    again = Scheduler(make, optimizer(), "step")
    again.load_state_dict(state)
    assert type(again.made.milestones) is Counter
    assert again.made.milestones == Counter([2, 2, 5])


class Anneal(lr_scheduler.ExponentialLR):
    """Has a function among its attributes, as SWALR of torch 2.6 has."""

    def __init__(self, opt):
        self.anneal = lambda x: x
        super().__init__(opt, 0.5)


def test_a_function_in_a_state_is_no_state_and_survives_loading():
    scheduler = Scheduler(Anneal, optimizer(), "step")
    state = capture({"it": scheduler})["it"]
    assert "anneal" not in state["scheduler"]
    state["scheduler"]["last_epoch"] = 3
    scheduler.load_state_dict(state)
    assert scheduler.made.last_epoch == 3
    assert scheduler.made.anneal(5) == 5


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda opt: lr_scheduler.StepLR(opt, 3), ["lr"]),
        (lambda opt: lr_scheduler.CyclicLR(opt, 0.1, 0.2, 4), ["lr", "momentum"]),
        (lambda opt: lr_scheduler.CyclicLR(opt, 0.1, 0.2, 4, cycle_momentum=False), ["lr"]),
        (
            lambda opt: lr_scheduler.SequentialLR(
                opt, [lr_scheduler.OneCycleLR(opt, 0.3, total_steps=9)], []
            ),
            ["lr", "momentum"],
        ),
    ],
)
def test_it_knows_what_it_drives(make, names):
    assert Scheduler(make, optimizer(), "step").names == names


def test_after_the_fit_it_lets_go_of_the_optimizer_and_keeps_its_state():
    opt = optimizer()
    before, attributes = dict(opt.param_groups[0]), set(vars(opt))
    all_of_them = Schedulers()
    scheduler = Scheduler(lambda opt: lr_scheduler.OneCycleLR(opt, 1.0, total_steps=9), opt, "step")
    all_of_them.by_name[""] = scheduler
    assert opt.param_groups[0]["lr"] == pytest.approx(0.04)
    state = all_of_them.state_dict()
    all_of_them.close()
    assert opt.param_groups[0] == before
    assert set(vars(opt)) == attributes
    assert all_of_them.state_dict() == state
    assert scheduler.made is None
    all_of_them.load_state_dict({"": {"scheduler": 1}})
    assert all_of_them.state_dict() == {"": {"scheduler": 1}}


def test_two_at_a_time_are_undone_in_any_case():
    opt = optimizer()
    outer = Scheduler(lambda opt: lr_scheduler.StepLR(opt, 3), opt, "step")
    step = vars(opt)["step"]
    inner = Scheduler(lambda opt: lr_scheduler.StepLR(opt, 3), opt, "step")
    inner.close()
    assert vars(opt)["step"] is step
    outer.close()
    assert "step" not in vars(opt)


class Own:
    """A scheduler that nobody here knows."""

    def __init__(self, inner):
        self.parts = [inner]

    def step(self):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


def test_a_scheduler_of_another_optimizer_is_found_wherever_it_holds_it():
    opt, other = optimizer(), optimizer()
    inside = lr_scheduler.ExponentialLR(other, 0.5)
    for make in (lambda o: Own(other), lambda o: Own(inside), lambda o: Own(Own(inside))):
        with pytest.raises(ValueError, match=r"^make returned a Own of another optimizer\."):
            Scheduler(make, opt, "step")
    for inner in (lambda o: 3, lambda o: o, lambda o: lr_scheduler.ExponentialLR(o, 0.5)):
        Scheduler(lambda o: Own(inner(o)), opt, "step").close()  # noqa: B023


def test_one_for_what_wraps_the_optimizer_is_one_of_it():
    class Wraps:
        def __init__(self, opt):
            self.optimizer, self.param_groups = opt, opt.param_groups

    opt = optimizer()
    Scheduler(lambda o: lr_scheduler.ExponentialLR(o.optimizer, 0.5), Wraps(opt), "step").close()


def test_a_scheduler_that_was_there_before_is_refused():
    opt = optimizer()
    older = lr_scheduler.ExponentialLR(opt, 0.5)

    match = r"^make returned 'older', a ExponentialLR that was made before: .*Make a new"
    with pytest.raises(ValueError, match=match):
        Scheduler(lambda o: older, opt, "step")

    def keeps(o):
        nonlocal newest
        newest = lr_scheduler.ExponentialLR(o, 0.5)
        return newest

    newest = None
    for _ in range(2):  # one that is kept, and made anew in each fit
        Scheduler(keeps, opt, "step").close()
