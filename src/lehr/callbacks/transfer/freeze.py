"""Keeps parts of the model as they are, for a fit or for its first part."""

from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import nn

from lehr.base.running import with_statistics
from lehr.callback import Callback
from lehr.errors import did_you_mean, positive_int, share
from lehr.events import Phase
from lehr.optim import optimizers
from lehr.optim.parts import parts_apart
from lehr.types import is_mapping

if TYPE_CHECKING:
    from lehr.loop.run import Run

Part = str | EllipsisType
Until = int | float | None

_POLICIES = ("fixed", "running", "trained")


class Freeze(Callback):
    """Freezes parts of the model for the fit, or until their time comes (gradual unfreezing).

    No gradient of a frozen parameter is computed, so no optimizer moves it: weight decay and
    momentum leave it alone, and its state in the optimizer waits. Parameters that do not require a
    gradient before the fit are left as they are. When the fit ends, everything is trainable that
    was before.

    Let the optimizer hold all parameters, also those that are frozen at first. A parameter that is
    tied, so that several parts have it, is frozen as soon as one of them is. Dropout is as in
    training.

    Args:
        parts: what is frozen, as one name or a list of names. Each is the name of a parameter group
            (see `lehr.optim.layer_groups`) or the path of a part of the model, in which ``*``
            stands for any one name; ``...`` stands for all the rest. A name that is both, and does
            not mean the same parameters, is refused; ``"1.*"`` is always a path. Or a dict of such
            names, with the time until when each is frozen: ``{"head": 0, "layer4": 1, ...: 2}``.
        until: an int: the number of the epoch of this fit from which on the parts are trained; a
            float from 0 to 1: the share of the fit's steps after which they are. With None they are
            frozen for the whole fit.
        batch_norm: what frozen layers with running statistics do. ``"fixed"``: they normalise with
            these statistics and keep them. ``"running"``: they normalise with the batch, as in
            training, and their statistics go on. ``"trained"``: so they do, and their parameters
            are trained, too.

    Raises:
        TypeError, ValueError: an argument cannot be used; or, at the start of a fit, a part is not
            there, overlaps with another or is both a group and another path, nothing is left to
            train, or an `torch.optim.LBFGS` remembers gradients of frozen weights.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner()
        >>> before = learn.model[0].weight.clone()
        >>> _ = learn.fit(1, callbacks=[Freeze("0")])
        >>> learn.model[0].weight.equal(before), learn.model[0].weight.requires_grad
        (True, True)
        >>> _ = learn.fit(2, callbacks=[Freeze({"0": 1})])  # trained from epoch 1 on
        >>> learn.model[0].weight.equal(before)
        False

    Reference:
        Gradual unfreezing: Howard and Ruder 2018, arXiv:1801.06146, section 3.3.
    """

    phase = Phase.PREPARE
    evaluates = True  # a rehearsal trains as the fit would
    state = ()  # what is frozen is a function of the position
    plans = True

    def __init__(
        self,
        parts: Part | Iterable[Part] | Mapping[Part, Until],
        until: Until = None,
        *,
        batch_norm: str = "fixed",
    ) -> None:
        if is_mapping(parts):
            if until is not None:
                raise ValueError(
                    f"the dict says how long; got until={until} as well. Leave it out."
                )
            self.freezes: Mapping[Any, Until] = dict(parts)
        else:
            several = isinstance(parts, Iterable) and not isinstance(parts, str)
            self.freezes = dict.fromkeys(
                cast("Iterable[Any]", parts) if several else [parts], until
            )
        for part, time in self.freezes.items():
            _check(part, time)
        self.by_length = any(isinstance(time, float) for time in self.freezes.values())
        if batch_norm not in _POLICIES:
            raise ValueError(
                f"batch_norm cannot be {batch_norm!r}. {did_you_mean(str(batch_norm), _POLICIES)}"
            )
        self.batch_norm = batch_norm
        self._forget()

    def _forget(self) -> None:
        self._parts: list[_Part] = []
        self._modes: list[tuple[nn.Module, bool]] = []
        self._may_change = False

    def begin_fit(self, run: "Run") -> None:
        """Find what is meant."""
        if not run.plan.trains:
            return
        self._forget()
        found = parts_apart(run.model, run.opt, self.freezes)
        norms = with_statistics(run.model)
        spared = {id(p) for norm in norms for p in norm.parameters()}
        for part, parameters in found.items():
            keeps = self.batch_norm == "trained"
            own = [p for p in parameters if p.requires_grad and not (keeps and id(p) in spared)]
            inside = _within(run.model, norms, parameters) if self.batch_norm == "fixed" else []
            self._parts.append(_Part(self.freezes[part], own, inside))
            # A model in evaluation mode is put into training mode as a whole.
            self._modes += [(m, m.training or not run.model.training) for m in inside]
        self._refuse(run)
        run.defer(self._put_back)

    def _refuse(self, run: "Run") -> None:
        """Refuse parts of another `Freeze`, and an optimizer that would move what is frozen."""
        own = self._ids()
        for other in run.callbacks:
            if isinstance(other, Freeze) and other is not self and own & other._ids():
                raise ValueError(
                    f"{self} and {other} freeze the same parameter. Write one Freeze, with a dict "
                    "of parts that do not overlap."
                )
        for opt in optimizers.each(run.opt):
            held = {id(p) for p in optimizers.held_parameters(opt)}
            if isinstance(opt, torch.optim.LBFGS) and opt.state and held & own:
                raise ValueError(
                    "LBFGS remembers gradients of an earlier fit, with which it would move frozen "
                    "weights. Make a new one for this fit, e.g. learn.opt = LBFGS(…)."
                )

    def _ids(self) -> set[int]:
        return {id(p) for part in self._parts for p in part.parameters}

    def begin_train(self, run: "Run") -> None:
        """Freeze what is frozen here; a state may still be loaded before the first batch."""
        self._freeze(run)
        if not any(p.requires_grad for p in run.trained_parameters()):
            raise ValueError(
                f"nothing is left to train in epoch {run.epoch}: {self} freezes all that the "
                'optimizer holds. Leave the head out, e.g. Freeze({"head": 0, ...: 1}).'
            )
        self._may_change = True

    def begin_batch(self, run: "Run") -> None:
        """Let the parts train whose time has come, at the first batch of an update window."""
        if self._may_change and run.training and not run.window.batches:
            self._freeze(run)

    def _freeze(self, run: "Run") -> None:
        for norm, training in self._modes:
            norm.training = training
        self._may_change = False
        for part in self._parts:
            frozen = _is_frozen(run, part.until)
            self._may_change |= frozen and isinstance(part.until, float)
            for p in part.parameters:
                if p.requires_grad is frozen:
                    p.requires_grad, p.grad = not frozen, None
            for norm in part.norms:
                norm.training = norm.training and not frozen

    def _put_back(self) -> None:
        for part in self._parts:
            for p in part.parameters:
                p.requires_grad = True
        for norm, training in self._modes:
            norm.training = training
        self._forget()

    def __repr__(self) -> str:
        policy = "" if self.batch_norm == "fixed" else f", batch_norm={self.batch_norm!r}"
        return f"Freeze({_said(self.freezes)}{policy})"


class _Part(NamedTuple):
    until: Until
    parameters: list[nn.Parameter]  # that are trained otherwise
    norms: list[nn.Module]  # that keep their statistics as long


def _within(
    model: nn.Module, norms: Iterable[nn.Module], parameters: Iterable[nn.Parameter]
) -> list[nn.Module]:
    """The norms that belong to a part; one without parameters goes with what it stands in."""
    own = {id(p) for p in parameters}
    around: dict[int, set[int]] = {}
    for module in model.modules():  # the outer ones first
        held = {id(p) for p in module.parameters()}
        for part in module.modules() if held else ():
            around[id(part)] = held
    return [norm for norm in norms if around.get(id(norm), {0}) <= own]


def _is_frozen(run: "Run", until: Until) -> bool:
    if until is None:
        return True
    return run.pos < until if isinstance(until, float) else run.epoch < until


def _check(part: Any, until: Any) -> None:
    if not isinstance(part, (str, EllipsisType)):
        raise TypeError(
            f"parts must be names of groups or paths, or ... for the rest; got {part!r}. "
            'Write e.g. Freeze("layer1").'
        )
    if isinstance(until, float):
        share("until", until)
    elif until is not None:
        positive_int("until", until, least=0, example=1)


def _said(freezes: Mapping[Any, Until]) -> str:
    pairs = [("..." if part is ... else repr(part), until) for part, until in freezes.items()]
    if any(until is not None for _, until in pairs):
        return f"{{{', '.join(f'{part}: {until}' for part, until in pairs)}}}"
    names = ", ".join(part for part, _ in pairs)
    return names if len(pairs) == 1 else f"[{names}]"
