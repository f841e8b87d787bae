"""Carries the state of a recurrent model from batch to batch."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from lehr.base.call import arguments_of
from lehr.base.nested import describe, item_count, map_tensors, tensors_in
from lehr.callback import Callback
from lehr.callbacks.loops.distillation import Distillation
from lehr.callbacks.loops.ema_teacher import EMATeacher
from lehr.callbacks.loops.micro_batches import MicroBatches
from lehr.callbacks.mixing.cut_mix import CutMix
from lehr.callbacks.mixing.mix_up import MixUp
from lehr.errors import positive_int
from lehr.events import Layer, Phase
from lehr.loop.beside import refuse_beside
from lehr.types import is_sequence

if TYPE_CHECKING:
    from lehr.loop.run import Run

_REFUSED = (
    (
        MicroBatches,
        "it does not know how to cut the state. Make the batches smaller, with fewer rows or time "
        "steps.",
    ),
    (
        (Distillation, EMATeacher),
        "a teacher would need a state of its own, and would be asked for the last piece alone. "
        "Leave one of the two out.",
    ),
    (
        (MixUp, CutMix),
        "each row goes on with its own state, and a mixed row is made of two. Leave one of the two "
        "out.",
    ),
)
"""What cannot be used together with it, and why."""


class TruncatedBPTT(Callback):
    """Reads long sequences batch by batch: each batch begins with the state that the last one left.

    The gradient goes back to the beginning of its batch, or k time steps, and no further. The model
    gets the state as its last argument, or as ``state`` where ``xb`` is a dict, and returns a pair:
    the prediction and the new state. The first state is None, in every training and validation
    pass. So row i of each batch must go on where row i of the batch before has ended: the loader
    must not shuffle, and all batches have as many rows.

    Args:
        k: a batch that is longer is read in pieces of k time steps, one after the other, and the
            gradient goes no further than the beginning of a piece; at least 1. None: whole batches.
        begins: ``run -> bool``, or a tensor of them of shape ``(rows,)``: where a new sequence
            begins with this batch. All true gives the model None, else these rows get zeros. None:
            only at the beginning of a pass.
        rows_dim: the dimension of the state's tensors that counts rows: 1 in torch's recurrent
            layers, whose states are ``(layers, rows, hidden)``.
        time_dim: the dimension of the input's tensors that counts time steps.
        pred_time_dim: that of the prediction's; None takes ``time_dim``.

    Attributes:
        carried: the state that the next batch begins with.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if `MicroBatches`,
            a teacher, `MixUp` or `CutMix` is there; in a batch, if the model returns no pair, or
            state and batch do not fit.

    Example:
        >>> from torch import nn
        >>> from lehr import DataBunch, Learner
        >>> model = nn.GRU(1, 1, batch_first=True)
        >>> waves = torch.sin(torch.arange(33) / 4).reshape(1, 33, 1)
        >>> pairs = [(waves[:, i : i + 8], waves[:, i + 1 : i + 9]) for i in range(0, 32, 8)]
        >>> opt = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> bunch, read = DataBunch(pairs), TruncatedBPTT()
        >>> run = Learner(model, opt, nn.MSELoss(), bunch, [read], progress=False).fit(2)
        >>> read.carried.shape, read.carried.requires_grad
        (torch.Size([1, 1, 1]), False)

    Reference:
        Williams and Peng 1990, Neural Computation 2(4), 490-501, with as many new time steps in
        each update as the gradient goes back.
    """

    phase = Phase.PREPARE
    layer = Layer.TRANSFORM
    state = ("carried",)
    by_length = False

    def __init__(
        self,
        k: int | None = None,
        *,
        begins: Callable[["Run"], Any] | None = None,
        rows_dim: int = 1,
        time_dim: int = 1,
        pred_time_dim: int | None = None,
    ) -> None:
        self.k = None if k is None else positive_int("k", k, example=32)
        if begins is not None and not callable(begins):
            raise TypeError(
                f"begins must be a function of the run; got {begins!r}. Write e.g. "
                "lambda run: run.xb[:, 0] == 0."
            )
        self.begins = begins
        self.rows_dim = positive_int("rows_dim", rows_dim, least=0, example=1)
        self.time_dim = positive_int("time_dim", time_dim, least=0, example=1)
        chosen = time_dim if pred_time_dim is None else pred_time_dim
        self.pred_time_dim = positive_int("pred_time_dim", chosen, least=0, example=2)

    def begin_fit(self, run: "Run") -> None:
        """Begin without a state."""
        for kinds, why in _REFUSED:
            refuse_beside(run, self, kinds, why)
        self.carried: Any = None
        self._starts: dict[int, Any] = {}

    def begin_train(self, run: "Run") -> None:
        """Begin the sequences."""
        self.carried = None

    def begin_validate(self, run: "Run") -> None:
        """Begin other sequences; afterwards the training goes on with its own."""
        run.defer(partial(setattr, self, "carried", self.carried))
        self.carried = None

    def begin_batch(self, run: "Run") -> None:
        """Forget where the batches of the last window began."""
        if run.training and not run.window.batches:
            self._starts.clear()

    def predict(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Predict with the state of the batch before."""
        if run.replaying:
            self._read(run, proceed, self._starts[run.batch_index])
            return
        start = self._begun(run, self.carried)
        if run.training and run.window.keeps:
            self._starts[run.batch_index] = start
        self.carried = map_tensors(Tensor.detach, self._read(run, proceed, start))

    def _read(self, run: "Run", proceed: Callable[[], None], state: Any) -> Any:
        """Predict, piece after piece; returns the last state."""
        own, preds = run.xb, list[Any]()
        try:
            for piece in self._pieces(own):
                run.xb = _with_state(piece, map_tensors(Tensor.detach, state))
                proceed()
                pred, state = _pair(run.pred)
                preds.append(pred)
        finally:
            run.xb = own
        run.pred = preds[0] if len(preds) == 1 else torch.cat(preds, self.pred_time_dim)
        return state

    def _pieces(self, xb: Any) -> list[Any]:
        long = [t for t in tensors_in(xb) if t.ndim > self.time_dim]
        steps = long[0].size(self.time_dim) if long else 0
        if self.k is None or steps <= self.k:
            return [xb]

        def cut(start: int, tensor: Tensor) -> Tensor:
            if tensor.ndim <= self.time_dim or tensor.size(self.time_dim) != steps:
                return tensor
            length = min(cast("int", self.k), steps - start)
            return tensor.narrow(self.time_dim, start, length)

        return [map_tensors(partial(cut, start), xb) for start in range(0, steps, self.k)]

    def _begun(self, run: "Run", state: Any) -> Any:
        """The state, with zeros in the rows where a sequence begins."""
        rows = item_count(run.xb)
        new = torch.as_tensor(False if self.begins is None else self.begins(run))
        if new.shape not in ((), (rows,)):
            raise ValueError(
                f"begins must return True, False or a tensor of shape ({rows},), one for each row; "
                f"got {describe(new)}."
            )
        if state is None or new.all():
            return None
        for tensor in tensors_in(state):
            if tensor.ndim > self.rows_dim and tensor.size(self.rows_dim) != rows:
                raise ValueError(
                    f"the batch has {rows} rows, but the state that the last one left is "
                    f"{describe(tensor)}: each row must go on where that of the batch before has "
                    "ended. Let the loader leave out a smaller last batch; rows_dim says which "
                    "dimension of the state counts rows."
                )

        def cleared(tensor: Tensor) -> Tensor:
            if tensor.ndim <= self.rows_dim:
                raise ValueError(
                    "begins says that a sequence begins in some rows, but the state has "
                    f"{describe(tensor)}, in which no dimension {self.rows_dim} counts rows. Give "
                    "rows_dim= the dimension that does, or let begins return one bool for all rows."
                )
            shape = [1] * tensor.ndim
            shape[self.rows_dim] = rows
            return tensor.masked_fill(new.to(tensor.device, torch.bool).reshape(shape), 0)

        return map_tensors(cleared, state) if new.any() else state

    def __repr__(self) -> str:
        return f"TruncatedBPTT({'' if self.k is None else self.k})"


def _with_state(xb: Any, state: Any) -> Any:
    args, named = arguments_of(xb)
    return {**named, "state": state} if named else (*args, state)


def _pair(out: Any) -> tuple[Any, Any]:
    if not is_sequence(out) or len(out) != 2:
        raise TypeError(
            "with TruncatedBPTT, the model must return a pair (prediction, state); got "
            f"{describe(out)}. Let forward take the state as its last argument and return the new "
            "one."
        )
    return out[0], out[1]
