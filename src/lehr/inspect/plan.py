"""What a fit is going to do: the loop goes through all of its steps without a batch."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.data.loading.feed import Feed
from lehr.events import Layer, Phase
from lehr.inspect.fit_plan import FitPlan
from lehr.learner import Learner
from lehr.loop import arguments
from lehr.loop.loop import Loop
from lehr.loop.plan import Plan
from lehr.loop.rests import Rest
from lehr.loop.run import Run
from lehr.loop.undisturbed import same_attributes
from lehr.optim import optimizers
from lehr.optim.slots import Slots

if TYPE_CHECKING:
    from torch import nn

_FEW = 3  # frozen parameters that are named one by one


def plan(
    learn: Learner,
    epochs: int | None = None,
    callbacks: Iterable[Callback] = (),
    *,
    steps: int | None = None,
    validate_every: str | None = None,
    steps_per_epoch: int | None = None,
) -> FitPlan:
    """Say what a fit is going to do at every step. See `lehr.Learner.plan`."""
    length: dict[str, Any] = arguments.check_length(epochs, steps, steps_per_epoch)
    length["validate_every"] = arguments.check_interval(validate_every, learn.data.valid_dl)
    everybody = learn.everybody(callbacks)
    walk = _Walk(everybody)
    with learn.probe(), same_attributes(learn, everybody):
        planned = _without_batches(learn.planned(learn.data, everybody, **length), everybody)
        Loop(Run(learn, planned, [*(cb for cb in everybody if cb.plans), walk])).fit()
    return walk.fit_plan()


def _without_batches(plan: Plan, callbacks: Iterable[Callback]) -> Plan:
    """The same plan, but a batch is a number.

    Raises:
        ValueError: it is not known how many batches an epoch has, or how many of them make a step.
    """
    for callback in callbacks:
        if callback.batches_per_step is None:
            raise ValueError(
                f"{callback!r} does not know beforehand how many batches make a step, so what "
                "happens at which step cannot be planned. Plan without it."
            )
    if plan.train.len_or_none is None and plan.steps_per_epoch is None:
        raise ValueError(
            f"{plan.train.name} has no len(), so where an epoch ends cannot be planned. Give "
            "steps_per_epoch=, or a loader with a length."
        )
    each = next((cb.batches_per_step for cb in callbacks if cb.batches_per_step != 1), None) or 1

    def batches() -> int:
        known = plan.train.len_or_none
        return (plan.steps_per_epoch or 0) * each if known is None else known

    return replace(
        plan,
        train=Feed(_Numbers(batches), plan.train.name),
        valid={name: Feed([0], feed.name) for name, feed in plan.valid.items()},
        split_batch=_alone,
        weight=_one,
        graphs=None,
    )


def _frozen(parameters: list[tuple[str, "nn.Parameter"]]) -> str:
    names = [name for name, parameter in parameters if not parameter.requires_grad]
    if len(names) <= _FEW:
        return f"frozen: {', '.join(names) or 'nothing'}"
    return f"frozen: {len(names)} of {len(parameters)} parameters, {names[0]} to {names[-1]}"


def _alone(batch: Any) -> tuple[Any, Any]:
    return batch, None


def _one(run: Run) -> float:
    return 1


class _Numbers:
    """As many numbers as an epoch has batches; how many there are may change between epochs."""

    def __init__(self, count: Callable[[], int]) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[int]:
        """The numbers from ``start`` on."""
        return iter(range(start, len(self)))


class _Walk(Callback):
    """Does nothing in place of every action, and notes what is about to happen."""

    phase = Phase.REPORT
    layer = Layer.CAPTURE  # outside of all others
    after = ("Callback",)
    state = ()

    def __init__(self, everybody: list[Callback]) -> None:
        self.everybody = everybody
        self.epochs: list[int] = []
        self.batches: list[int] = []
        self.values: dict[str, list[float | None]] = {}
        self.trained: list[int] = []
        self.frozen_from: dict[int, str] = {}
        self.validations: list[int] = []
        self.saves: list[int] = []
        self.waiting: tuple[int, dict[str, float], int] = 0, {}, 0
        self.flags: list[bool] | None = None
        self.window = 0

    @contextmanager
    def around_fit(self, run: Run) -> Generator[None]:
        """Let paths lead to callbacks, too, which are not called here."""
        run.callbacks = (*self.everybody, self)
        yield

    def begin_fit(self, run: Run) -> None:
        """Be there wherever the run rests."""
        run.at_rest(self._rest)

    def _rest(self, run: Run, rest: Rest) -> None:
        if any(callback.saves_at(run, rest) for callback in self.everybody):
            self.saves.append(run.n_steps)

    def begin_train(self, run: Run) -> None:
        """Know what is driven, and the model's parameters."""
        driven = [what for cb in self.everybody if cb.plans for what in cb.drives]
        slots = {what.param if isinstance(what, Slots) else what for what in driven}
        if all("lr" in group for opt in optimizers.each(run.opt) for group in opt.param_groups):
            slots = {"lr", *slots}
        self.slots = [
            Slots(param) for param in sorted(slots, key=lambda param: (param != "lr", param))
        ]
        self.parameters: list[tuple[str, nn.Parameter]] = list(run.model.named_parameters())

    def begin_batch(self, run: Run) -> None:
        """Note what the step is going to use."""
        self.window += run.training
        if run.training and not run.window.batches:
            self.window = 1
            self.waiting = run.epoch, self._now(run), self._trained(run)

    def _now(self, run: Run) -> dict[str, float]:
        values: dict[str, float] = {}
        for slots in self.slots:
            places = list(slots.find(run))
            for number, place in enumerate(places):
                name = slots.param if len(places) == 1 else f"{slots.param}[{number}]"
                values[name] = float(place.get())
        return values

    def _trained(self, run: Run) -> int:
        flags = [parameter.requires_grad for _, parameter in self.parameters]
        if flags != self.flags:
            if self.flags is not None or not all(flags):
                self.frozen_from[run.n_steps] = _frozen(self.parameters)
            self.flags = flags
            pairs = zip(self.parameters, flags, strict=True)
            self.sum = sum(parameter.numel() for (_, parameter), on in pairs if on)
        return self.sum

    def after_step(self, run: Run) -> None:
        """The step is made: what was noted before it holds."""
        epoch, values, trained = self.waiting
        for name in values:
            self.values.setdefault(name, [None] * len(self.epochs))
        for name, column in self.values.items():
            column.append(values.get(name))
        self.epochs.append(epoch)
        self.batches.append(self.window)
        self.trained.append(trained)

    def begin_validate(self, run: Run) -> None:
        """Note the validation, once for all loaders."""
        if run.valid_name == run.valid_names[0]:
            self.validations.append(run.n_steps)

    def predict(self, run: Run, proceed: Callable[[], None]) -> None:
        """Nothing."""

    def compute_loss(self, run: Run, proceed: Callable[[], None]) -> None:
        """Nothing."""

    def backward(self, run: Run, proceed: Callable[[], None]) -> None:
        """Nothing."""

    def finish_grad(self, run: Run, proceed: Callable[[], None]) -> None:
        """Nothing."""

    def step(self, run: Run, proceed: Callable[[], None]) -> None:
        """Count a step."""
        run.stepped = True

    def zero_grad(self, run: Run, proceed: Callable[[], None]) -> None:
        """Nothing."""

    def fit_plan(self) -> FitPlan:
        """What was noted."""
        unforeseen = [cb for cb in self.everybody if cb.drives and not cb.plans]
        return FitPlan(
            epochs=self.epochs,
            batches=self.batches,
            values=self.values,
            trained=self.trained,
            freezes=self.frozen_from,
            validations=self.validations,
            saves=list(dict.fromkeys(self.saves)),
            unforeseen=[repr(callback) for callback in unforeseen],
        )
