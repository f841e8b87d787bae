"""Learner: what lasts from one training to the next."""

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, final

from torch import Tensor, nn
from torch.optim import Optimizer

from lehr import arguments, entries, state, streams
from lehr.batches import count_items, split_pair
from lehr.callback import Callback
from lehr.data.bunch import DataBunch
from lehr.dispatch import check
from lehr.doors import Doors
from lehr.events import Layer, Phase
from lehr.metrics import meters
from lehr.plan import OnePass, Plan, feeds
from lehr.probe import probe
from lehr.run import Run
from lehr.signals import interruptible
from lehr.types import LossFunc, OptFactory, Scores, SplitBatch, Stateful, is_mapping


@final
class Learner(Doors):
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
        arguments.check_learner(model, loss_func, data, split_batch, weight, reduction)
        self.model = model
        self.opt = arguments.as_optimizers(opt, model)
        self.loss_func = loss_func
        self.data = data
        self.callbacks = arguments.listed(callbacks)
        meters(metrics)
        self.metrics = list(metrics)
        self.split_batch = split_batch
        self.weight = weight or count_items
        self.reduction = reduction
        self.progress = progress
        self.epochs_done = 0
        """Epochs begun in all fits so far; streams count from here."""
        self.steps_done = 0
        """Optimizer steps made in all fits so far."""
        self.run: Run | None = None
        """The last run, also when it ended in an error: its batch can be looked at."""
        self._seed = streams.check_seed(seed)
        self._checked(self.callbacks)

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
        resume: str | os.PathLike[str] | None = None,
        exact: bool = False,
    ) -> Run:
        """Train.

        Gradients left from elsewhere are cleared first. When the fit ends, torch's default
        generators, the modes of all sub-modules and every scheduled value are as they were before;
        only the first fit of a Learner that has no seed yet draws one number, its seed.

        Args:
            epochs: how many passes over the training loader; at least 0.
            callbacks: attached for this fit only.
            steps: the length in optimizer steps instead of epochs; at least 1.
            validate_every: ``"500 steps"`` or ``"2 epochs"``; after every epoch by default, and
                always at the end of the fit.
            steps_per_epoch: optimizer steps in an epoch, for schedules over a loader without
                length.
            resume: go on from the newest checkpoint in this folder, or from this checkpoint;
                ``"auto"`` takes the folder of the attached `Checkpoint`, and starts anew if it is
                empty. Learner, data and callbacks are to be made as they were for the fit that
                was stopped.
            exact: refuse to resume where the result might differ in a bit, instead of a warning.

        Returns:
            The run: its history, its recorder, and where it stood when it ended.

        Raises:
            TypeError, ValueError: an argument cannot be used, or a loader or batch cannot be read.
            KeyboardInterrupt: Ctrl-C in a script, once the step is finished and `after_fit` was
                heard; the Learner can predict, validate and go on. In an interactive shell fit
                returns.
        """
        length = arguments.check_length(epochs, steps, steps_per_epoch)
        interval = arguments.check_interval(validate_every, self.data.valid_dl)
        everybody = self._everybody(callbacks)
        entry = None
        if resume is not None:
            from lehr import resume as resuming

            found = resuming.find(resume, everybody, self.steps_done)
            if found is not None:
                resuming.check_length(found, epochs=length["epochs"], steps=length["steps"])
                self._seed = found.manifest["seed"]
                entry = resuming.entry(found, exact=exact)
        plan = self._plan(self.data, seed=self.seed, validate_every=interval, **length)
        run = self.run = Run(self, plan, everybody)
        if entry is not None:
            run.enter(entry)
        with interruptible(run.interrupt):
            try:
                run.fit()
            finally:
                self.epochs_done += run.epoch + 1 if run.n_iter else 0
                self.steps_done += run.n_steps
        return run

    def validate(self, data: Any = None, callbacks: Iterable[Callback] = ()) -> Scores:
        """Loss and metrics over the validation set.

        Only callbacks that prepare batches or set the precision take part, so nothing is logged,
        saved or stopped; random state and modes are as before afterwards.

        Args:
            data: any iterable of batches to use instead of the validation loader.
            callbacks: attached for this pass only, whatever their phase.

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

        plan = self._plan(self.data if data is None else OnePass(data))
        if not plan.valid:
            raise ValueError(
                "there is no validation loader; data.valid_dl is None. Use validate(loader)."
            )
        defaults = [Recorder(), Metrics(self.metrics)]
        run = Run(self, plan, [*self._bystanders(), *defaults, *self._checked(callbacks)])
        run.validate()
        row = run.history.rows[-1]
        return {k: v for k, v in row.items() if k not in ("epoch", "step", "seconds")}

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

        arguments.refuse_one_batch(data)
        one_batch = isinstance(data, Tensor) or is_mapping(data)
        plan = self._plan(OnePass([(data, None)] if one_batch else data))
        if one_batch:
            plan = replace(plan, split_batch=split_pair)
        gather = Predictions(instead_of_loss=True)
        Run(self, plan, [*self._bystanders(), gather]).validate()
        return gather.joined()

    def state_entries(self) -> dict[str, Stateful]:
        """Everything of this Learner that can change, by name, each with its ``state_dict``."""
        callbacks = enumerate(self.callbacks)
        return {
            **entries.of_training(self.model, self.opt, self.loss_func, *feeds(self.data)),
            "gradients": state.GradState(self.model),
            "counters": state.AttributeState(self, ("epochs_done", "steps_done", "_seed")),
            **{f"callbacks.{i}.{cb.name}": cb for i, cb in callbacks},
        }

    @contextmanager
    def probe(self) -> Generator[None]:
        """A scope after which every state entry is bit for bit what it was; `run` is the old one.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> before = state.capture(learn.state_entries())
            >>> with learn.probe():
            ...     _ = learn.fit(1)
            >>> state.first_difference(before, state.capture(learn.state_entries())) is None
            True
        """
        run = self.run
        try:
            with probe(self.state_entries()):
                yield
        finally:
            self.run = run

    def rehearse(
        self, steps: int, callbacks: Iterable[Callback] = (), *, without: Iterable[Callback] = ()
    ) -> Run:
        """Train for some steps without validation, then put everything back, as `probe` does.

        Only callbacks that prepare batches or set the precision take part, and those given.

        Args:
            steps: optimizer steps; at least 1.
            callbacks: attached for this rehearsal only.
            without: callbacks of the Learner's to leave out.

        Returns:
            The run: its history tells what would have happened.

        Raises:
            KeyboardInterrupt: Ctrl-C in a script, once everything is as it was.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> len(learn.rehearse(20).history["loss"]), learn.steps_done
            (20, 0)
        """
        from lehr.callbacks import Recorder

        length = arguments.check_length(None, steps, None)
        apart = list(without)
        everybody = [cb for cb in self._bystanders() if not any(cb is other for other in apart)]
        run: Run | None = None
        with interruptible(lambda reason: run.stop(reason) if run else None), self.probe():
            plan = self._plan(DataBunch(self.data.train_dl), seed=self.seed, **length)
            run = Run(self, plan, [*everybody, Recorder(), *self._checked(callbacks)])
            run.fit()
        return run

    def _plan(self, data: Any, **length: Any) -> Plan:
        train, valid = feeds(data)
        if length.get("steps_per_epoch") is None:
            length["steps_per_epoch"] = train.len_or_none
        return Plan(
            data=data,
            train=train,
            valid=valid,
            seed=length.pop("seed", streams.peek_seed() if self._seed is None else self._seed),
            first_epoch=self.epochs_done,
            split_batch=self.split_batch,
            weight=self.weight,
            loss_is_mean=self.reduction == "mean",
            **length,
        )

    @staticmethod
    def _checked(callbacks: Iterable[Callback]) -> list[Callback]:
        callbacks = arguments.listed(callbacks)
        for callback in callbacks:
            check(callback)
        return callbacks

    def _bystanders(self) -> list[Callback]:
        attached = self._checked(self.callbacks)
        return [cb for cb in attached if cb.phase == Phase.PREPARE or cb.layer == Layer.PRECISION]

    def _everybody(self, more: Iterable[Callback] = ()) -> list[Callback]:
        from lehr.callbacks import Metrics, Progress, Recorder

        attached = self._checked([*self.callbacks, *arguments.listed(more)])
        defaults: list[Callback] = [Metrics(self.metrics)] if self.metrics else []
        for kind, wanted in ((Recorder, True), (Progress, self.progress)):
            if wanted and not any(isinstance(callback, kind) for callback in attached):
                defaults.append(kind())
        return [*defaults, *attached]
