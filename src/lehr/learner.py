"""Learner: what lasts from one training to the next."""

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Never, final

from torch import nn
from torch.optim import Optimizer

from lehr.base import elsewhere
from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.nested import count_items
from lehr.base.signals import interruptible, patient
from lehr.base.values import check_values
from lehr.callback import Callback
from lehr.engine import Engine
from lehr.loop import arguments, inventory, underway
from lehr.loop.loop import Loop
from lehr.loop.losses import as_loss_func
from lehr.loop.order import check_names
from lehr.loop.plan import Plan, feeds, steps_in
from lehr.loop.run import Run
from lehr.loop.splitting import splitter
from lehr.loop.untrained import require_trained, warn_of_untrained
from lehr.optim import optimizers
from lehr.record.metrics import meters
from lehr.record.monitor import refuse_unvalidated
from lehr.state import entries, streams
from lehr.state.ownership import owned
from lehr.state.probe import probe
from lehr.state.versions import versions_kept
from lehr.types import LossFunc, OptFactory, Scores, SplitBatch, Stateful, is_mapping

if TYPE_CHECKING:
    from lehr.inspect.audit import Audit
    from lehr.inspect.check_resume import ResumeCheck
    from lehr.inspect.confusion import Confusion
    from lehr.inspect.find_lr import LRCurve
    from lehr.inspect.fit_plan import FitPlan
    from lehr.inspect.summary import Summary
    from lehr.inspect.top_losses import TopLosses
    from lehr.inspect.trace import Profile
    from lehr.state.disk.weights import Differences


@final
class Learner:
    """Holds model, optimizer, loss function, data and callbacks; `fit` trains with them.

    When no fit is under way, it can be pickled, and copied by ``copy.deepcopy``, with its data, its
    callbacks and its last run; what you gave it must be something that pickle knows, and no lambda.
    To keep a training on the disk, use `save` or `lehr.callbacks.Checkpoint`.

    Args:
        model: any module.
        opt: an optimizer; or a function ``parameters -> optimizer``; or a dict of optimizers by
            name, all of which step unless a callback wraps `step`.
        loss_func: ``(pred, yb) -> scalar``, the mean over the batch's items; or a function of
            ``pred`` alone, if it has one parameter; or ``"loss"``, if the loss is in what the model
            returns, as ``out.loss`` or ``out["loss"]``. If it returns a dict or a named tuple of
            scalars, their sum is trained, and each is recorded under its name.
        data: a DataBunch, or anything with ``train_dl`` and ``valid_dl``.
        callbacks: attached to every fit.
        metrics: ``(pred, yb) -> value`` functions or torchmetrics objects, computed in every
            validation: in a list, or in a dict by the names of their columns. See `lehr.whole` and
            `lehr.on`.
        split_batch: ``batch -> (xb, yb)``; by default a batch is a pair, a tensor without target,
            or a dict whose keys are parameters of the model's forward, and perhaps a target: see
            `lehr.loop.splitting.splitter`.
        weight: ``run -> number`` of items that the loss is a mean over, for losses where that is
            not the number of items in ``xb`` (a mean over unmasked tokens, for example). It must
            return a Python number: a tensor would make the CPU wait for the device.
        reduction: ``"sum"`` if ``loss_func`` returns the sum over those items, not the mean.
        valid_grad: compute validations and predictions with gradients on, for a loss or a model
            that differentiates (forces, gradient penalties, equations). The gradients of the
            parameters are as before afterwards.
        seed: of all random draws; None takes that of `lehr.seed`, or draws one from torch's default
            generator.
        progress: show a table while fitting.
        rehearsal: try one validation batch, with its metrics, before a fit trains, unless the last
            fit has validated with the same model (with the same modules in it), loss function,
            data and metrics. See
            `lehr.callbacks.Rehearsal`.
        engine: the processes that train together, a `lehr.distributed.Distributed`; None for one
            process.
        compile: make each training step one graph, by ``torch.compile``: forward, loss, gradient
            and update, with torch's own optimizers. It is faster where steps are short; the first
            fit spends some seconds on it. Events are called as always, so what watches or wraps
            anything inside the step (after_pred to zero_grad) keeps it from being fused: a warning
            says what, and `explain`. In after_step the gradients are gone. Weights and states are
            those of the other steps, but for rounding and for what dropout draws. At the first
            batch, some steps of both kinds are timed, and undone; the faster kind is taken, for
            this fit and the next ones, and for runs that go on from its checkpoints. With
            ``"always"``, or the name of a backend of ``torch.compile``, nothing is timed. On a CUDA
            device the graph becomes a CUDA graph.

    Raises:
        TypeError, ValueError: an argument cannot be used; the message names it and what is allowed.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lehr import Learner, data, models
        >>> model = models.mlp(64, 10)
        >>> opt = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> learn = Learner(model, opt, nn.CrossEntropyLoss(), data.digits(), progress=False)
        >>> learn.fit(3).history["train_loss"][-1] < 0.5
        True
    """

    @elsewhere.refusing_others(elsewhere.OF_MAKING_A_LEARNER)
    def __init__(
        self,
        model: nn.Module,
        opt: Optimizer | OptFactory | Mapping[str, Optimizer],
        loss_func: LossFunc | str,
        data: Any,
        callbacks: Iterable[Callback] = (),
        metrics: Iterable[Any] | Mapping[str, Any] = (),
        *,
        split_batch: SplitBatch | None = None,
        weight: Callable[[Run], float] | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        valid_grad: bool = False,
        seed: int | None = None,
        progress: bool = True,
        rehearsal: bool = True,
        engine: Engine | None = None,
        compile: bool | str = False,
    ) -> None:
        arguments.check_learner(model, data, split_batch, weight, reduction, valid_grad)
        self.engine = arguments.as_engine(engine)
        self.engine.prepare(model)
        self.model = model
        self.opt = arguments.as_optimizers(opt, model)
        self.loss_func = as_loss_func(loss_func, reduction)
        self.data = data
        self.callbacks = arguments.listed(callbacks)
        meters(metrics)
        self.metrics = dict(metrics) if is_mapping(metrics) else list(metrics)
        self._split_batch = split_batch
        self._splitter: tuple[nn.Module, LossFunc, SplitBatch] | None = None
        self.weight = weight or count_items
        self.reduction = reduction
        self.valid_grad = valid_grad
        self.progress = progress
        self.rehearsal = rehearsal
        self.graphs = arguments.as_graphs(compile)
        self.epochs_done = 0
        """Epochs begun in all fits so far; the random streams count from here."""
        self.steps_done = 0
        """Optimizer steps made in all fits so far."""
        self.run: Run | None = None
        """The last run, also if it ended in an error: you can look at its batch."""
        self._seed = streams.check_seed(seed)
        arguments.checked(self.callbacks)

    @property
    def split_batch(self) -> SplitBatch:
        """How a batch becomes ``(xb, yb)``; by default as the model's forward takes it."""
        if self._split_batch is not None:
            return self._split_batch
        made = self._splitter
        if made is None or made[0] is not self.model or made[1] is not self.loss_func:
            made = self.model, self.loss_func, splitter(self.model, self.loss_func)
            self._splitter = made
        return made[2]

    @split_batch.setter
    def split_batch(self, split_batch: SplitBatch | None) -> None:
        self._split_batch = split_batch

    @property
    def seed(self) -> int:
        """The seed of all streams; drawn when it is first needed."""
        if self._seed is None:
            self._seed = self.engine.same(streams.draw_seed())
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
        **others: Never,
    ) -> Run:
        """Train.

        Gradients that are there already are cleared first. When the fit ends, torch's default
        generators, the modes of all sub-modules and every scheduled value are as they were before.
        There is one exception: a Learner without a seed draws one number, its seed, at its first
        fit.

        Args:
            epochs: how many passes over the training loader; at least 0.
            callbacks: attached for this fit only.
            steps: the length in optimizer steps, instead of epochs; at least 1.
            validate_every: ``"500 steps"`` or ``"2 epochs"``; after every epoch by default, and
                always at the end of the fit.
            steps_per_epoch: optimizer steps in an epoch, for schedules over a loader without
                length. The epoch ends where the loader does: for one without an end, give
                ``steps``.
            resume: go on from the newest checkpoint in this folder, or from this checkpoint;
                ``"auto"`` takes the folder of the attached `Checkpoint`, and starts anew if it is
                empty. Make Learner, data and callbacks as you did for the fit that was stopped.
            exact: raise an error where the resumed result might differ in a bit, instead of a
                warning.
            others: none; for an argument of another library's fit, the error says what to write.

        Returns:
            The run: its history, its recorder, and where it stood when it ended.

        Raises:
            TypeError, ValueError: an argument cannot be used, or a loader or batch cannot be read.
            RuntimeError: this Learner is fitting already, or another thread is: torch's random
                generators belong to the whole process.
            KeyboardInterrupt: Ctrl-C in a script; raised when the step is finished and `after_fit`
                was called. The Learner can predict, validate and go on. In an interactive shell
                fit returns instead.
        """
        elsewhere.refuse_others(self.fit, others, elsewhere.OF_A_FIT)
        length = arguments.check_length(epochs, steps, steps_per_epoch)
        interval = arguments.check_interval(validate_every, self.data.valid_dl)
        everybody = self.everybody(callbacks)
        refuse_unvalidated(everybody, feeds(self.data)[1], meters(self.metrics))
        with patient(), owned():
            underway.refuse_fit(self)
            underway.refuse_busy(everybody)
            before, entry = self._seed, None
            if resume is not None:
                from lehr.resume import start_of

                with self.engine.telling():
                    start = start_of(resume, self, everybody, length, exact=exact)
                if start is not None:
                    self._seed, entry = start
            length |= {"seed": self.seed, "validate_every": interval}
            run = Run(self, self.planned(self.data, everybody, **length), everybody)
            require_trained(self.model, self.opt)
            warn_of_untrained(self.model, self.opt, self.loss_func, everybody)
            self.run = run
            if entry is not None:
                run.enter(entry)
            with interruptible(run.interrupt):
                try:
                    Loop(run).fit()
                finally:
                    if run.resuming:  # its state was not loaded, so nothing is as it was there
                        self._seed = before
                    run.made_of = inventory.made_of(self.model, self.loss_func)
                    self.epochs_done += run.epoch + 1 if run.n_iter else 0
                    self.steps_done += run.n_steps
        return run

    def validate(self, data: Any = None, callbacks: Iterable[Callback] = ()) -> Scores:
        """Compute the loss and the metrics over the validation set.

        Of the callbacks attached to the Learner, only those take part that change the model's
        inputs or outputs (see ``evaluates`` of `lehr.Callback`). So nothing is logged, saved or
        stopped. Afterwards the random state, the modes, the buffers of model and loss function, and
        the state of these callbacks are as before. So a model whose buffers move in evaluation,
        too, such as the observers of quantisation, gives the same numbers again. In the validation
        of a fit they do move, as in a loop of your own.

        Args:
            data: any iterable of batches to use instead of the validation loader.
            callbacks: attached for this pass only; all of them take part.

        Returns:
            ``valid_loss`` and each metric, by name; None for a loss without items.

        Raises:
            ValueError: there is nothing to validate on.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> sorted(tiny_learner().validate())
            ['valid_loss']
        """
        from lehr import passes

        return passes.validate(self, data, callbacks)

    def predict(
        self,
        data: Any,
        *,
        select: Callable[[Any], Any] | None = None,
        targets: bool = False,
    ) -> Any:
        """Compute the model's predictions for one batch of inputs, or for all batches of a loader.

        The model is in evaluation mode, without gradients. The same callbacks take part as in
        `validate`, and the same things are as before afterwards.

        What the model returns is copied to the CPU after every batch, so it may be anything that
        can be copied. At the end the batches are joined, in the model's own nesting of tuples,
        lists, dicts and dataclasses:

        - Tensors are put end to end: ``(items, ...)``. If their other dimensions differ between
          batches, as with padding, there is a list of the items instead. A tensor without
          dimensions becomes one of ``(batches,)``. Nested tensors and packed sequences become one
          with all items.
        - A list, or a tuple, with an entry for each item becomes one with an entry for each item of
          all batches. If the tensors in it have the items along their first dimension, or there are
          more or fewer entries than items, it is taken for several outputs, each of which is joined
          by itself. As many dicts as items are one for each item, whatever is in them; of as many
          tensors with the items along their first dimension a warning says how they are taken.
        - Of anything else, such as a number, a cache or a distribution, there is a list, with one
          for each batch. None stays None.

        Args:
            data: a tensor of inputs ``(batch, ...)``, or a dict of them; or any iterable of batches
                as in training.
            select: ``output -> part of it``; only what it returns is kept. Without it everything is
                kept, twice while it is joined.
            targets: return the targets, too.

        Returns:
            The predictions of all items in the order of the batches, on the CPU; with
            ``targets=True`` the pair (predictions, targets), the targets joined likewise. Of a
            loader that shuffles, a warning says that the targets are needed.

        Raises:
            TypeError: ``select`` cannot be called, or the model returns what cannot be copied, or
                sparse tensors that cannot be joined.
            ValueError: there are no batches, or a callback left some out; or they cannot be joined
                because their predictions have different structures; or targets are wanted and a
                batch has none.

        Example:
            >>> import torch
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> learn.predict(torch.zeros(5, 3)).shape
            torch.Size([5, 2])
            >>> classes, yb = learn.predict(
            ...     learn.data.valid_dl, select=lambda out: out.argmax(1), targets=True
            ... )
            >>> classes.shape, yb.shape
            (torch.Size([16]), torch.Size([16]))
        """
        from lehr import passes

        return passes.predict(self, data, select, targets=targets)

    def state_entries(self) -> dict[str, Stateful]:
        """Everything of this Learner that can change, by name, each with its ``state_dict``."""
        return self._entries(position=True)

    def _entries(self, *, position: bool) -> dict[str, Stateful]:
        parts = (self.model, self.opt, self.loss_func, *feeds(self.data))
        return {
            **inventory.of_training(*parts, callbacks=self.callbacks, position=position),
            "gradients": entries.GradState(self.model, optimizers.held_parameters(self.opt)),
            "counters": entries.AttributeState(self, ("epochs_done", "steps_done", "_seed")),
            **inventory.of_callbacks(self.callbacks),
        }

    @interrupts_wait_at_both_ends
    @contextmanager
    def probe(self) -> Generator[None]:
        """A ``with`` block after which every state entry is bit for bit as before, and `run` too.

        Model and optimizers are put back in place, with all tensors, lists, dicts and plain values
        in their attributes, and so are the modules, optimizers and tensors that callbacks hold,
        whether they declare them or not, and those of a loss function that is no module: an
        attribute that was bound to another one inside is bound to the one of before. What is lazy
        is lazy again. An object of a class of your own in an attribute stays the same object; what
        changes within it is not put back. Of a loader that is not lehr's, the generators that it
        draws from are put back. Its place is not: what is loaded into such a loader is where its
        next epoch begins.

        Within a run of this Learner, those of the run are as well: its position, its history, its
        streams and what its callbacks declare. A graph that was made before can still be taken
        backward.

        Raises:
            RuntimeError: another thread is training or evaluating.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> from lehr.state.differences import first_difference
            >>> from lehr.state.snapshot import capture
            >>> before = capture(learn.state_entries())
            >>> with learn.probe():
            ...     _ = learn.fit(1)
            >>> first_difference(before, capture(learn.state_entries())) is None
            True
        """
        run, runs = self.run, underway.runs_of(self)
        alone = inventory.held_alone(self.model, self.opt, self.loss_func, self.callbacks)
        with patient(), owned(), versions_kept(self.model, self.loss_func, alone):
            entries = {**self._entries(position=False), **underway.course(self)}
            everybody = [*self.callbacks, *(callback for one in runs for callback in one.callbacks)]
            try:
                with probe(entries, *inventory.parts(self.opt, self.loss_func, everybody)):
                    yield
            finally:
                self.run = run

    def rehearse(
        self, steps: int, callbacks: Iterable[Callback] = (), *, without: Iterable[Callback] = ()
    ) -> Run:
        """Train for some steps without validation, then put everything back, as `probe` does.

        The callbacks that take part are those of `validate`, those that wrap any other action, such
        as clipping or a step with a closure, and the ones given here.

        Args:
            steps: optimizer steps; at least 1.
            callbacks: attached for this rehearsal only.
            without: callbacks of the Learner to leave out.

        Returns:
            The run: its history says what would have happened.

        Raises:
            KeyboardInterrupt: Ctrl-C in a script; raised after everything was put back.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> len(learn.rehearse(20).history["loss"]), learn.steps_done
            (20, 0)
        """
        from lehr import passes

        return passes.rehearse(self, steps, callbacks, without)

    # Doors: what looks at a Learner, saves it, or tries something with it ------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model's parameters and buffers, and nothing else, to a safetensors file.

        The names are those of the model without its wrappers, such as DDP or ``torch.compile``.
        Weights that are tied are written under each of their names. What the model keeps out of its
        own ``state_dict`` is not written. To be able to go on training, use a `Checkpoint` instead.
        Of several processes, the first writes; if they keep shards, all of them must call this.

        Args:
            path: of the file; it must end in ``.safetensors``. An existing file is replaced in one
                step: if the process is killed meanwhile, the old file or the new one is there, and
                it is complete. If it is a link, it stays one, and the file that it leads to is
                replaced in this way.

        Raises:
            TypeError: the model's state holds something other than dense tensors with values.
            ValueError: the path has another ending.
            OSError: the folder does not exist, or cannot be written to.

        Example:
            >>> import tempfile
            >>> from lehr.testing import tiny_learner
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     tiny_learner().save(f"{folder}/tiny.safetensors")
            ...     os.listdir(folder)
            ['tiny.safetensors']
        """
        from lehr.state.disk.weights import save_weights

        save_weights(self.model, path, self.engine, follow=True)

    def load(self, path: str | os.PathLike[str], *, strict: bool = True) -> "Differences":
        """Copy weights from a file into the model: all of them, or none.

        The optimizer, its state and all counters stay as they are.

        The content decides what a file is, not the ending of its name. A prefix ``module.`` or
        ``_orig_mod.`` that all names have is left out. No file is trusted: one that would run code
        is refused.

        Values are converted to the dtype of the model, but real numbers are not copied into
        integers, nor complex numbers into real ones. Weights that the model ties may be in the file
        under only one of their names.

        Args:
            path: of a safetensors file; of a ``state_dict`` that ``torch.save`` wrote, alone or
                under the key ``state_dict``, ``model`` or ``model_state_dict``; of a checkpoint; or
                of a run folder.
            strict: refuse names and shapes that differ. With False, what fits is loaded, and what
                does not fit is returned.

        Returns:
            The differences; none if ``strict``.

        Raises:
            ValueError: the weights do not fit and ``strict`` is True; the file is damaged, holds no
                weights, or would run code; or the model is on the meta device, or a parameter has
                no shape yet. The model is as it was.
            OSError: the file does not exist, or cannot be read.

        Example:
            >>> import tempfile
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     learn.save(f"{folder}/tiny.safetensors")
            ...     learn.load(f"{folder}/tiny.safetensors")
            no differences
        """
        from lehr.state.disk.weights import load_weights

        return load_weights(self.model, path, self.engine, strict=strict)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the model as a program that runs without its code and without lehr, and check it.

        The program is that of evaluation mode, on the CPU, for batches of any number of items. What
        callbacks do to inputs and outputs is not in it. It is made by passing the first training
        batch through a copy of the model; everything is afterwards as before. It is written only if
        it gives what the model gives.

        Args:
            path: of the file. It ends in ``.pt2``, to be opened with ``torch.export.load(path)``,
                or in ``.onnx``. An existing file is replaced in one step; a link is followed.

        Raises:
            ValueError: the path has another ending; or the model cannot be turned into a program,
                takes batches of one size only, or draws random numbers.
            ImportError: the packages that write ONNX are not installed.
            OSError: the file cannot be written.

        Example:
            >>> import tempfile, torch
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     learn.export(f"{folder}/tiny.pt2")
            ...     program = torch.export.load(f"{folder}/tiny.pt2").module()
            >>> bool((program(torch.ones(5, 3)) == learn.predict(torch.ones(5, 3))).all())
            True
        """
        from lehr.export import export

        export(self, path)

    def explain(self, callbacks: Iterable[Callback] = ()) -> str:
        """Show the loop as it will run: who watches each event, and who wraps each action.

        After each event come the callbacks that watch it, in their order. After each action come
        the callbacks that wrap it, the outermost first, and then ``loop``: what the loop does there
        by itself; or ``one graph``, if the Learner has ``compile`` and the step can be fused, else
        the first line says why it cannot. An event without a name costs nothing. Beside
        ``around_fit`` are those that have a context manager open for the whole fit. At each
        ``rest`` all of the run's state is in its entries: there a checkpoint can be saved, and a
        fit can be resumed.

        Args:
            callbacks: those that you would give to `fit`.

        Returns:
            The text, to be printed.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> for line in tiny_learner().explain().splitlines()[2:4]:
            ...     print(line)
              begin_fit               Recorder, Rehearsal
              for epoch in range(epochs):
        """
        from lehr.inspect.explain import explain

        return explain(self.everybody(callbacks), self.engine, self)

    def plan(
        self,
        epochs: int | None = None,
        callbacks: Iterable[Callback] = (),
        *,
        steps: int | None = None,
        validate_every: str | None = None,
        steps_per_epoch: int | None = None,
    ) -> "FitPlan":
        """Say what a fit is going to do at every step, before it runs.

        The loop goes through all steps, but reads no batch and computes nothing. The callbacks that
        take part are those that declare ``plans``, such as `lehr.callbacks.ParamScheduler` and
        `lehr.callbacks.Accumulate`: what they do depends on the position alone. Afterwards
        everything is as before. What goes by the clock or by what is measured is not in a plan: an
        early stop, a checkpoint every ten minutes.

        Args:
            epochs: as in `fit`.
            callbacks: those that you would give to `fit`.
            steps: as in `fit`.
            validate_every: as in `fit`.
            steps_per_epoch: as in `fit`.

        Returns:
            The plan. It prints as a table; its ``plot()`` draws every scheduled number, freezes,
            validations and saves.

        Raises:
            TypeError, ValueError: an argument cannot be used, as in `fit`; or it is not known
                beforehand how many batches an epoch has, or how many of them make a step.
            KeyboardInterrupt: Ctrl-C; raised after everything was put back.

        Example:
            >>> from lehr.callbacks import ParamScheduler
            >>> from lehr.schedules import linear
            >>> from lehr.testing import tiny_learner
            >>> plan = tiny_learner().plan(2, [ParamScheduler("lr", linear(0.8, 0.0))])
            >>> print(plan)
            step  epoch   lr  before
               0      0  0.8
               4      1  0.4  validate
               7      1  0.1
               8           –  validate
            8 steps in 2 epochs, 1 batch a step; 2 validations, 0 checkpoints
            >>> plan.at(3)
            {'lr': 0.5}
        """
        from lehr.inspect.plan import plan

        return plan(
            self,
            epochs,
            callbacks,
            steps=steps,
            validate_every=validate_every,
            steps_per_epoch=steps_per_epoch,
        )

    def profile(self, steps: int = 100, callbacks: Iterable[Callback] = ()) -> "Profile":
        """Train for some steps and say where their time goes, and which change would save most.

        Every moment is counted for one part, so the parts sum to 100 %: waiting for data, each
        action, each callback, the loop itself. What a callback does around an action is counted for
        the callback, the action within for the action. Three steps before are not counted. With a
        model on a GPU, a second column says how far its queue moved meanwhile. On the CPU the steps
        are tried with one thread, too, if torch has several.

        Callbacks that write (logs, checkpoints) and those that wait for a validation take no part.
        Afterwards everything is as before, as after `probe`; only of data that can be read only
        once the batches are gone, and a warning says so.

        Args:
            steps: optimizer steps; at least 1.
            callbacks: those that you would give to `fit`.

        Returns:
            The profile. It prints as a table, with a verdict and an advice.

        Raises:
            TypeError, ValueError: ``steps`` cannot be used, or the run ended before one was
                measured.
            KeyboardInterrupt: Ctrl-C in a script; raised after everything was put back.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> profile = tiny_learner().profile(20)
            >>> profile.steps, {share.kind for share in profile.shares} >= {"data", "action"}
            (20, True)
        """
        from lehr.inspect.profile import profile

        return profile(self, steps, callbacks)

    def summary(self) -> "Summary":
        """List layers, output shapes, parameters, their groups and rates, and what is frozen.

        One batch of the training data passes through the model as in `predict`. Of several
        processes, each does this with its part of the batch, and lists the outputs of that.
        Afterwards everything is as before.

        Returns:
            The summary. It prints as text, and is a table in a notebook.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> [(layer.name, layer.output) for layer in tiny_learner().summary().layers]
            [('0', '(8, 4)'), ('1', '(8, 4)'), ('2', '(8, 2)')]
        """
        from lehr.inspect.summary import summary

        return summary(self)

    def show_results(self, items: int = 9, data: Any = None, *, ax: Any = None) -> Any:
        """Draw the first items of the validation set with what the model makes of them.

        Pictures are in a grid, anything else in lines. A prediction that differs from the target is
        followed by it: "cat, is dog". Afterwards everything is as before.

        Args:
            items: how many at most, of the first batch.
            data: any iterable of batches, in the place of the (first) validation loader.
            ax: matplotlib axes to draw into; by default those of a new figure.

        Returns:
            The matplotlib figure.

        Raises:
            TypeError, ValueError: ``items`` cannot be used, or there is nothing to show.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> figure = tiny_learner().show_results(3)
            >>> [text.get_text() for text in figure.axes[0].texts][:2]
            ['target', 'input']
        """
        from lehr.inspect.show_results import show_results

        return show_results(self, items, data, ax)

    def confusion(self, data: Any = None) -> "Confusion":
        """Count which class was taken for which, over the validation set.

        Args:
            data: any iterable of batches, in the place of the (first) validation loader.

        Returns:
            The matrix. It prints as a table; its ``plot()`` draws it.

        Raises:
            ValueError: there is nothing to validate on, the targets are no labels ``(items,)``, or
                the model does not return a score for each class.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> learn.confusion().counts.sum()
            tensor(16)
        """
        from lehr.inspect.confusion import confusion

        return confusion(self, data)

    def top_losses(self, k: int = 9, data: Any = None) -> "TopLosses":
        """Find the items of the validation set that have the highest losses.

        The loss of each item is computed by itself, so a loss that couples the items of a batch is
        not meant for this.

        Args:
            k: how many; at least 1.
            data: any iterable of batches, in the place of the (first) validation loader.

        Returns:
            The items, the highest loss first, each with its file or row where that is known. They
            print as a table; ``plot()`` draws them.

        Raises:
            TypeError, ValueError: ``k`` cannot be used, there is nothing to validate on, or there
                is no loss of a single item.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> worst = tiny_learner().top_losses(2)
            >>> len(worst), worst[0].loss >= worst[1].loss
            (2, True)
        """
        from lehr.inspect.top_losses import top_losses

        return top_losses(self, k, data)

    def audit(self, *, repair: str | None = None) -> "Audit":
        """Check the initialisation: `lehr.audit` of the first training batch and the loss.

        Callbacks that change the batch, the prediction or the loss take part, as in `rehearse`: the
        loss is the one that a fit would begin with, dropout apart. Where there is none of the whole
        batch at once, as with two networks or a sequence in pieces, the gradient begins as random
        numbers, and a note says so.

        Args:
            repair: how to initialise the model anew, in place; the names are those of `lehr.audit`.
                None changes nothing.

        Returns:
            The audit; after a repair that of the repaired model.

        Raises:
            ValueError: the batch has fewer than two items, the model shows no layers or is sharded,
                or there is no such repair.
            TypeError: the model cannot be copied, or has no forward, as that of a GAN; or the batch
                has a form that is not known.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> [site.kind for site in tiny_learner().audit().sites][:3]
            ['linear', 'relu', 'linear']
        """
        from lehr.inspect.audit import audit_learner

        return audit_learner(self, repair)

    def find_lr(
        self,
        start: float = 1e-6,
        end: float = 10.0,
        *,
        steps: int = 100,
        callbacks: Iterable[Callback] = (),
    ) -> "LRCurve":
        """Find a learning rate: train while it rises from ``start`` to ``end``, record the loss.

        The rate is multiplied by the same factor at every step. If the parameter groups have
        different rates, their ratios stay. The sweep ends early if the loss diverges. Afterwards
        everything is bit for bit as before, whatever happened: weights, optimizer, random state.
        Callbacks take part as in `rehearse`: clipping, and a step with a closure, are as in the
        fit.

        Args:
            start: the first rate, above 0.
            end: the rate that the sweep rises towards.
            steps: how many; at least 10. If the training data have fewer batches, they are read
                again.
            callbacks: attached for this sweep only, such as ``Progress(title="sweep")``.

        Returns:
            The curve. Its ``suggestion`` is a rate for the group with the highest rate; its
            ``plot()`` draws loss against rate.

        Raises:
            TypeError, ValueError: an argument cannot be used, or a parameter group has no lr that
                is a number.
            KeyboardInterrupt: Ctrl-C in a script; raised after everything was put back.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> curve = tiny_learner().find_lr()
            >>> 0.01 < curve.suggestion < 10
            True

        Reference:
            Smith 2017, arXiv:1506.01186, section 3.3, with a geometric instead of a linear rise.
        """
        from lehr.inspect.find_lr import find_lr

        return find_lr(self, start, end, steps, callbacks)

    def check_resume(
        self, callbacks: Iterable[Callback] = (), *, epochs: int = 2, batches: int = 6
    ) -> "ResumeCheck":
        """Check whether a fit that was stopped and resumed ends bit for bit as one that was not.

        Copies of model, optimizer and callbacks are trained for a few batches: once without a stop,
        and once for each kind of place where a fit can be stopped (after the first batch, within
        and at the end of an epoch, in an update window, in a validation; of three epochs or more,
        within the last, too), resumed from files. At the end every state entry is compared, and
        every public attribute of a callback that its ``state`` does not declare; and of an object
        that is the loss function, or whose method is, every attribute, unless it is a module or has
        ``state_dict`` and ``load_state_dict``, with which it is an entry. Callbacks that
        declare ``replays = False`` are left out. Afterwards everything is as before.

        Args:
            callbacks: those that you would give to `fit`.
            epochs: of each of the runs; at least 1.
            batches: of each pass; at least 1.

        Returns:
            The first difference for each place; ``ok`` is True if there is none.

        Raises:
            TypeError, ValueError: a number cannot be used, or something cannot be copied, such as a
                function, as loss, that uses the model.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> check = tiny_learner().check_resume()
            >>> check.ok, len(check.points)
            (True, 6)
        """
        from lehr.inspect.check_resume import check_resume

        return check_resume(self, callbacks, epochs=epochs, batches=batches)

    def __repr__(self) -> str:
        from lehr.inspect import overview

        return overview.text(self)

    def _repr_html_(self) -> str:
        from lehr.inspect import overview

        return overview.html(self)

    if not TYPE_CHECKING:  # to type checkers, what is not there is an error already

        def __getattr__(self, name: str) -> Any:
            """What is not there is an error that says what is written in its place."""
            known = [known for known in (*vars(self), *dir(type(self))) if known[0] != "_"]
            raise elsewhere.missing("a Learner", name, elsewhere.OF_A_LEARNER, known)

    # What a pass needs ---------------------------------------------------------------------------

    def everybody(
        self, callbacks: Iterable[Callback] = (), *, rehearsal: bool = True
    ) -> list[Callback]:
        """All that a fit would have: the defaults, those attached, and ``callbacks``; checked.

        Args:
            callbacks: of the fit.
            rehearsal: whether the validation is to be tried first, if that is due.

        Raises:
            TypeError, AttributeError: the loop cannot call one of them.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> tiny_learner().everybody()
            [Recorder(), Rehearsal()]
        """
        from lehr.callbacks import Metrics, OptimizerModes, Progress, Recorder, Rehearsal

        attached = arguments.checked([*self.callbacks, *arguments.listed(callbacks)])
        metrics = underway.own_metrics(self.metrics)
        defaults: list[Callback] = [Metrics(metrics)] if metrics else []
        switched = bool(optimizers.with_modes(self.opt))
        usual = ((Recorder, True), (Progress, self.progress), (OptimizerModes, switched))
        for kind, wanted in usual:
            if wanted and not any(isinstance(callback, kind) for callback in attached):
                defaults.append(kind())
        if rehearsal and self.rehearsal and Rehearsal.is_due(self, [*defaults, *attached]):
            defaults.append(Rehearsal())
        check_names([*defaults, *attached])
        return [cb for cb in [*defaults, *attached] if self.engine.rank == 0 or cb.everywhere]

    def _peeked_seed(self) -> int:
        return self.engine.same(streams.peek_seed()) if self._seed is None else self._seed

    def planned(self, data: Any, callbacks: Iterable[Callback] = (), **length: Any) -> Plan:
        """What a run over ``data`` is asked to do; ``length`` is as in `lehr.loop.plan.Plan`.

        A run that has a length tells its loaders the number of each epoch, unless ``tells=False``.

        Raises:
            TypeError, ValueError: an attribute that was assigned since cannot be used; or the model
                has no values, or nothing here has: the device is ``meta``.
        """
        own = self._split_batch, self.weight, self.reduction, self.valid_grad
        arguments.check_learner(self.model, data, *own)
        check_values(self.model)
        tells, ends = length.pop("tells", bool(length)), length.get("epochs") is not None
        train, valid = feeds(data, tells=tells, ends=ends, engine=self.engine)
        if length.get("steps_per_epoch") is None:
            length["steps_per_epoch"] = steps_in(train.len_or_none, callbacks)
        return Plan(
            data=data,
            train=train,
            valid=valid,
            seed=length.pop("seed") if "seed" in length else self._peeked_seed(),
            first_epoch=self.epochs_done,
            split_batch=self.split_batch,
            weight=self.weight or count_items,
            loss_is_mean=self.reduction == "mean",
            valid_grad=self.valid_grad,
            graphs=self.graphs,
            **length,
        )
