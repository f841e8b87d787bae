"""Learner: what lasts from one training to the next."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal, final

from torch import Tensor, nn
from torch.optim import Optimizer

from lehr import optimizers, state, streams
from lehr.batches import item_count, split_pair
from lehr.callback import Callback
from lehr.data.feed import Feed
from lehr.dispatch import check
from lehr.errors import positive_int
from lehr.events import Layer, Phase
from lehr.intervals import EVERY_EPOCH, every
from lehr.metrics import meters
from lehr.plan import Plan
from lehr.probe import probe
from lehr.run import Run
from lehr.signals import on_interrupt
from lehr.types import LossFunc, OptFactory, SplitBatch, Stateful, is_mapping


@final
class Learner:
    """Holds the model, the optimizer, the loss function, the data and the callbacks. It does not
    loop.

    Args:
        model: any module.
        opt: an optimizer; or a factory ``parameters -> optimizer``; or several optimizers by name,
            all of which step unless a callback acts on `step`.
        loss_func: ``(pred, yb) -> scalar``, the mean over the batch's items.
        data: a DataBunch, or anything with ``train_dl`` and ``valid_dl``.
        callbacks: attached to every fit.
        metrics: ``(pred, yb) -> scalar`` functions or torchmetrics objects, for every validation.
        split_batch: ``batch -> (xb, yb)``; by default a batch is a pair, or a tensor without
            target.
        weight: ``run -> number`` of items that the loss is a mean over, where that is not the
            number of items in ``xb`` (unmasked tokens, say). A Python number: a tensor would wait
            for its device.
        reduction: ``"sum"`` says that ``loss_func`` returns the sum over those items instead.
        seed: of all streams; None takes `lehr.seed`'s, or draws one from torch's default generator.
        progress: show a table while fitting.

    Raises:
        TypeError, ValueError: an argument cannot be used; the message says which and what would do.

    Example:
        >>> import torch
        >>> from lehr import data, models
        >>> model = models.mlp(64, 10)
        >>> opt = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> learn = Learner(model, opt, nn.CrossEntropyLoss(), data.digits(), progress=False)
        >>> learn.fit(3).history["train_loss"][-1] < 0.5
        True
    """

    def __init__(
        self,
        model: nn.Module,
        opt: Optimizer | OptFactory | Mapping[str, Optimizer],
        loss_func: LossFunc,
        data: Any,
        callbacks: Iterable[Callback] = (),
        metrics: Iterable[Any] = (),
        *,
        split_batch: SplitBatch = split_pair,
        weight: Callable[[Run], float] | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        seed: int | None = None,
        progress: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"model must be a torch.nn.Module; got {model!r}. Call its class, if it is one."
            )
        if not callable(loss_func) or isinstance(loss_func, type):
            raise TypeError(
                f"loss_func must be a function (pred, yb) -> loss; got {loss_func!r}. "
                "Pass e.g. torch.nn.functional.cross_entropy, or call the class: nn.MSELoss()."
            )
        if not hasattr(data, "train_dl") or not hasattr(data, "valid_dl"):
            raise TypeError(
                f"data must be a DataBunch; got {type(data).__name__}. "
                "Write DataBunch(train_dl, valid_dl), where each is any iterable of batches."
            )
        if reduction not in ("mean", "sum"):
            raise ValueError(
                f"reduction must be 'mean' or 'sum'; got {reduction!r}. Say what loss_func returns."
            )
        self.model = model
        self.opt = _optimizer(opt, model)
        self.loss_func = loss_func
        self.data = data
        self.callbacks = list(callbacks)
        self.metrics = list(metrics)
        meters(self.metrics)
        self.split_batch = split_batch
        self.weight = weight or _count_items
        self.reduction = reduction
        self.progress = progress
        self.epochs_done = 0
        """Epochs begun in all fits so far; streams count from here."""
        self.steps_done = 0
        """Optimizer steps made in all fits so far."""
        self.run: Run | None = None
        """The last run, also when it ended in an error: its batch can be looked at."""
        self._seed = streams.check_seed(seed)
        self._attached()

    @property
    def seed(self) -> int:
        """The seed of all streams; drawn when it is first needed."""
        if self._seed is None:
            self._seed = streams.draw_seed()
        return self._seed

    def fit(
        self,
        epochs: int | None = None,
        callbacks: Iterable[Callback] = (),
        *,
        steps: int | None = None,
        validate_every: str | None = None,
        steps_per_epoch: int | None = None,
    ) -> Run:
        """Train.

        Gradients left from elsewhere are cleared first. When the fit ends, the global random state
        of torch, the modes of all sub-modules and every scheduled value are as they were before.

        Args:
            epochs: how many passes over the training loader; at least 0.
            callbacks: attached for this fit only.
            steps: the length in optimizer steps instead of epochs; at least 1.
            validate_every: ``"500 steps"`` or ``"2 epochs"``; after every epoch by default, and
                always at the end of the fit.
            steps_per_epoch: optimizer steps in an epoch, for schedules over a loader without
                length.

        Returns:
            The run: its history, its recorder, and where it stood when it ended.

        Raises:
            TypeError, ValueError: an argument cannot be used, or a loader or batch cannot be read.
            KeyboardInterrupt: Ctrl-C in a script, once the step is finished and `after_fit` was
                heard; the Learner can predict, validate and go on. In an interactive shell fit
                returns.
        """
        if (epochs is None) == (steps is None):
            raise ValueError(
                f"fit takes either epochs or steps; got epochs={epochs}, steps={steps}. "
                "Write fit(3) or fit(steps=1000)."
            )
        if epochs != 0:
            positive_int(
                "steps" if epochs is None else "epochs", steps if epochs is None else epochs
            )
        if steps_per_epoch is not None:
            positive_int("steps_per_epoch", steps_per_epoch)
        plan = self._plan(
            self.data,
            epochs=epochs,
            steps=steps,
            steps_per_epoch=steps_per_epoch,
            validate_every=EVERY_EPOCH
            if validate_every is None
            else every(validate_every, argument="validate_every"),
        )
        run = self.run = Run(self, plan, self._everybody(callbacks))
        with on_interrupt(run.stop) as interrupts:
            try:
                run.fit()
            finally:
                self.epochs_done += run.epoch + 1 if run.n_iter else 0
                self.steps_done += run.n_steps
        if interrupts and not _is_interactive():
            raise KeyboardInterrupt(run.stop_reason)
        return run

    def validate(self, data: Any = None) -> dict[str, float | None]:
        """Loss and metrics over the validation set.

        Only callbacks that prepare batches or set the precision take part, so nothing is logged,
        saved or stopped; random state and modes are as before afterwards.

        Args:
            data: any iterable of batches to use instead of the validation loader.

        Returns:
            ``valid_loss`` and each metric, by name; None for a loss without items.

        Raises:
            ValueError: there is nothing to validate on.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> sorted(tiny_learner().validate())
            ['valid_loss']
        """
        from lehr.callbacks import Metrics, Recorder

        plan = self._plan(self.data if data is None else _Only(data))
        if not plan.valid:
            raise ValueError(
                "there is no validation loader; data.valid_dl is None. Use validate(loader)."
            )
        run = Run(self, plan, [*self._bystanders(), Recorder(), Metrics(self.metrics)])
        run.validate()
        row = run.history.rows[-1]
        return {name: value for name, value in row.items() if name not in ("epoch", "step")}

    def predict(self, data: Any) -> Any:
        """What the model makes of a batch of inputs, or of every batch of a loader.

        Evaluation mode, no gradients, and the callbacks that prepare batches or set the precision.

        Args:
            data: a tensor of inputs ``(batch, ...)``, or a dict of them; or any iterable of batches
                as in training, whose targets are ignored.

        Returns:
            The predictions of all items in the order of the batches, on the CPU: ``(items, ...)``,
            in the model's own nesting.

        Example:
            >>> import torch
            >>> from lehr.testing import tiny_learner
            >>> tiny_learner().predict(torch.zeros(5, 3)).shape
            torch.Size([5, 2])
        """
        from lehr.callbacks.predictions import Predictions

        one_batch = isinstance(data, Tensor) or is_mapping(data)
        plan = self._plan(_Only([(data, None)] if one_batch else data))
        if one_batch:
            plan = replace(plan, split_batch=split_pair)
        gather = Predictions(instead_of_loss=True)
        Run(self, plan, [*self._bystanders(), gather]).validate()
        return gather.joined()

    def explain(self) -> str:
        """The loop as it will really run: who hears each event, who wraps each action, in order.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> print(tiny_learner().explain().splitlines()[0])
            fit
        """
        from lehr.inspect.explain import explain

        return explain(self._everybody())

    def state_entries(self) -> dict[str, Stateful]:
        """Everything of this Learner that can change, by name, each with its ``state_dict``."""
        entries: dict[str, Stateful] = {
            "model": state.ModelState(self.model),
            "modes": state.ModeState(self.model),
            "gradients": state.GradState(self.model),
            "random": state.RandomState(),
            "counters": self,
        }
        named = self.opt if isinstance(self.opt, Mapping) else {"": self.opt}
        candidates: dict[str, Any] = {f"opt.{name}".rstrip("."): opt for name, opt in named.items()}
        candidates["loss_func"] = self.loss_func
        for index, callback in enumerate(self.callbacks):
            candidates[f"callbacks.{index}.{callback.name}"] = callback
        for name, thing in candidates.items():
            if isinstance(thing, Stateful):
                entries[name] = thing
        for half in ("train_dl", "valid_dl"):
            entries.update(state.loader_entries(half, getattr(self.data, half)))
        return entries

    def state_dict(self) -> dict[str, Any]:
        """The Learner's own counters: lifetime epochs and steps, and the seed."""
        return {"epochs_done": self.epochs_done, "steps_done": self.steps_done, "seed": self._seed}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set the counters."""
        self.epochs_done = state_dict["epochs_done"]
        self.steps_done = state_dict["steps_done"]
        self._seed = state_dict["seed"]

    def probe(self) -> AbstractContextManager[None]:
        """A scope after which every state entry is bit for bit what it was.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> before = state.capture(learn.state_entries())
            >>> with learn.probe():
            ...     _ = learn.fit(1)
            >>> state.first_difference(before, state.capture(learn.state_entries())) is None
            True
        """
        return probe(self.state_entries())

    def _plan(self, data: Any, **length: Any) -> Plan:
        train = Feed(data.train_dl, "train_dl")
        valid = data.valid_dl
        named = valid if is_mapping(valid) else {} if valid is None else {"": valid}
        if length.get("steps_per_epoch") is None:
            length["steps_per_epoch"] = train.len_or_none
        return Plan(
            data=data,
            train=train,
            valid={n: Feed(dl, f"valid_dl {n}".rstrip()) for n, dl in named.items()},  # type: ignore[reportUnknownVariableType]
            first_epoch=self.epochs_done,
            split_batch=self.split_batch,
            weight=self.weight,
            loss_is_mean=self.reduction == "mean",
            **length,
        )

    def _attached(self, more: Iterable[Callback] = ()) -> list[Callback]:
        callbacks = [*self.callbacks, *more]
        for callback in callbacks:
            check(callback)
        return callbacks

    def _bystanders(self) -> list[Callback]:
        return [
            callback
            for callback in self._attached()
            if callback.phase == Phase.PREPARE or callback.layer == Layer.PRECISION
        ]

    def _everybody(self, more: Iterable[Callback] = ()) -> list[Callback]:
        from lehr.callbacks import Metrics, Progress, Recorder

        attached = self._attached(more)
        given = {type(callback) for callback in attached}
        defaults: list[Callback] = [] if Recorder in given else [Recorder()]
        if self.metrics:
            defaults.append(Metrics(self.metrics))
        if self.progress and Progress not in given:
            defaults.append(Progress())
        return [*defaults, *attached]


class _Only:
    """Data for one pass."""

    def __init__(self, loader: Any) -> None:
        self.train_dl = self.valid_dl = loader


def _count_items(run: Run) -> int:
    xb = run.xb
    return xb.size(0) if isinstance(xb, Tensor) and xb.ndim else item_count(xb)


def _optimizer(
    opt: Optimizer | OptFactory | Mapping[str, Optimizer], model: nn.Module
) -> optimizers.Optimizers:
    made = opt
    if callable(opt) and not is_mapping(opt):
        made = opt(model.parameters())
    named = dict(made) if is_mapping(made) else {"opt": made}
    for name, one in named.items():
        if not hasattr(one, "param_groups") or not hasattr(one, "step"):
            raise TypeError(
                f"{name} must be an optimizer, a function from parameters to one, or a dict of "
                f"them; got {one!r}. Write e.g. torch.optim.SGD(model.parameters(), lr=0.1)."
            )
    own = {id(p) for p in model.parameters()}
    held = optimizers.held_parameters(made)  # type: ignore[reportArgumentType]
    if not any(id(p) in own for p in held):
        raise ValueError(
            f"opt holds {len(held)} parameters, none of which is one of the model's {len(own)}: "
            "nothing would be trained. Make it from model.parameters(), after the model has its "
            "last shape."
        )
    return made  # type: ignore[reportReturnType]


def _is_interactive() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(sys, "ps1") or shell is not None
