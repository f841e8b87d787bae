"""One pass over the validation set that sees what a classifier gets wrong."""

import heapq
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lehr.base.nested import map_tensors, tensors_in
from lehr.callback import Callback
from lehr.data.loading.item_name import item_name
from lehr.events import Phase
from lehr.learner import Learner
from lehr.optim import optimizers
from lehr.record.confusion import count
from lehr.report.evaluation import Evaluation, Mistake
from lehr.report.pictures import as_picture, in_words
from lehr.state.optimizer import keep_places
from lehr.state.probe import probe
from lehr.state.structure import keep_structure
from lehr.state.wrappers import bare

if TYPE_CHECKING:
    from lehr.loop.run import Run

MOST_CLASSES = 2048
"""With more classes there is no evaluation: the matrix would not fit anywhere."""

MOST_LABELS = 1 << 20
"""With more items, the single predictions are not kept."""


def evaluate(learn: Learner, *, k: int = 24) -> Evaluation | None:
    """What the model of a Learner does on its (first) validation loader, if it is a classifier.

    One pass, in which only the callbacks that take part in `Learner.validate` do. Every
    state entry of the Learner is afterwards what it was, bit for bit; only parameters, gradients
    and the optimizers' state, which a pass in evaluation mode does not write to, are not copied for
    that. Memory holds the buffers once more, the matrix, a label and a prediction for each item,
    and ``k`` inputs, however large the set. Items whose label is none of the classes (an
    ``ignore_index``) are left out.

    Args:
        learn: its data must say how many classes there are, in ``c``.
        k: how many of the worst mistakes to keep.

    Returns:
        None if there is nothing to validate on, ``c`` is missing or beyond 2048, the targets are
        no integer labels ``(n,)``, or the predictions are not ``(n, c)``.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner()
        >>> evaluation = evaluate(learn)
        >>> evaluation.items, evaluation.classes
        (16, ('0', '1'))
    """
    data: Any = learn.data
    loader, c = first_loader(data.valid_dl), getattr(data, "c", None)
    if loader is None or not isinstance(c, int) or not 1 <= c <= MOST_CLASSES:
        return None
    tally = _Tally(c, k)
    with everything_kept(learn):
        try:
            loss = learn.validate(loader, callbacks=[tally])["valid_loss"]
        except _NoClassifierError:
            return None
    preparation = getattr(data, "preparation", None)
    names = tuple(map(str, getattr(data, "classes", None) or ()))
    return Evaluation(
        loss=loss if loss is not None and math.isfinite(loss) else None,
        confusion=tally.confusion,
        classes=names if len(names) == c else tuple(map(str, range(c))),
        mistakes=tuple(_item(facts, x, preparation, loader) for facts, x in tally.worst()),
        right=tuple(_item(facts, x, preparation, loader) for facts, x in tally.right()),
        truth=torch.cat(tally.truth) if tally.truth else None,
        predicted=torch.cat(tally.predicted) if tally.predicted else None,
    )


@contextmanager
def everything_kept(learn: Learner) -> Generator[None]:
    """A scope for a pass in evaluation mode, after which every state entry is what it was.

    Parameters, gradients and the optimizers' state are not copied for that.
    """
    model = bare(learn.model)
    held = {f"opt.{name}": keep_places(opt) for name, opt in optimizers.by_name(learn.opt).items()}
    if isinstance(model, nn.Module):
        held = {"model": keep_structure(model, copied=model.buffers()), **held}
    entries = {name: e for name, e in learn.state_entries().items() if not _still(name)}
    with probe(entries, held):
        yield


def first_loader(valid_dl: Any) -> Any:
    """The only validation loader, or the first of several by name; None if there is none.

    Example:
        >>> first_loader({"clean": [1], "noisy": [2]})
        [1]
    """
    if isinstance(valid_dl, Mapping):
        return next(iter(cast("Mapping[str, Any]", valid_dl).values()), None)
    return valid_dl


def probabilities(pred: Tensor) -> Tensor:
    """Scores ``(n, c)`` as probabilities, float64; rows that are probabilities stay as they are.

    Example:
        >>> probabilities(torch.tensor([[0.0, 0.0]])), probabilities(torch.tensor([[0.25, 0.75]]))
        (tensor([[0.5000, 0.5000]], dtype=torch.float64),
         tensor([[0.2500, 0.7500]], dtype=torch.float64))
    """
    pred = pred.detach().cpu().double()
    already = bool(((pred >= 0).all(1) & ((pred.sum(1) - 1).abs() < 1e-3)).all())
    return pred if already else pred.softmax(1)


class _NoClassifierError(Exception):
    """Ends the pass: what was met is not the output or the target of a classifier."""


class _Tally(Callback):
    """Counts the predictions of every validation batch, and keeps the worst mistakes."""

    phase = Phase.MEASURE

    def __init__(self, c: int, k: int) -> None:
        self.c, self.k = c, k
        self.confusion = torch.zeros(c, c, dtype=torch.int64)
        self.truth: list[Tensor] = []
        self.predicted: list[Tensor] = []
        self._seen = 0
        self._counted = 0
        self._right: dict[int, tuple[dict[str, Any], Any]] = {}
        self._worst: list[tuple[float, int, dict[str, Any], Any]] = []  # a heap, mildest first

    def after_batch(self, run: "Run") -> None:
        """Count the batch and keep the worst of its mistakes."""
        pred, yb = run.pred, run.yb
        if run.loss is None:
            return  # cancelled
        labels = isinstance(yb, Tensor) and yb.ndim == 1 and yb.dtype in _LABELS
        scores = isinstance(pred, Tensor) and pred.ndim == 2 and pred.is_floating_point()
        if not (labels and scores and pred.shape == (len(yb), self.c)):
            raise _NoClassifierError
        chances, truth = probabilities(pred), yb.detach().cpu().long()
        predicted = pred.detach().cpu().argmax(1)
        known = (truth >= 0) & (truth < self.c)
        self._count(truth[known], predicted[known])
        self._keep_right(truth, predicted, known, chances, run.xb)
        wrong = (known & (predicted != truth)).nonzero().flatten()
        for i in cast("list[int]", wrong.tolist()):
            self._keep(i, truth[i].item(), predicted[i].item(), chances[i], run.xb)
        self._seen += len(truth)

    def _count(self, truth: Tensor, predicted: Tensor) -> None:
        self.confusion += count(truth, predicted, self.c)
        self._counted += len(truth)
        if self._counted > MOST_LABELS:
            self.truth, self.predicted = [], []
        else:
            self.truth.append(truth.int())
            self.predicted.append(predicted.int())

    def _keep(self, i: int, truth: Any, predicted: Any, chances: Tensor, xb: Any) -> None:
        p_truth = chances[truth].item()
        badness = -p_truth if p_truth == p_truth else 1.0  # nan is worst
        index = self._seen + i
        if len(self._worst) == self.k and (badness, -index) <= self._worst[0][:2]:
            return
        facts, x = _facts(index, truth, predicted, chances), input_of(xb, i)
        push = heapq.heappush if len(self._worst) < self.k else heapq.heappushpop
        push(self._worst, (badness, -index, facts, x))

    def _keep_right(
        self, truth: Tensor, predicted: Tensor, known: Tensor, chances: Tensor, xb: Any
    ) -> None:
        for label in cast("list[int]", truth[known & (predicted == truth)].unique().tolist()):
            if label not in self._right and len(self._right) < self.k:
                i = int(((truth == label) & (predicted == label)).nonzero()[0])
                facts = _facts(self._seen + i, label, label, chances[i])
                self._right[label] = facts, input_of(xb, i)

    def right(self) -> list[tuple[dict[str, Any], Any]]:
        """For each class the first item that was put into it rightly, with its input."""
        return [self._right[label] for label in sorted(self._right)]

    def worst(self) -> list[tuple[dict[str, Any], Any]]:
        """The mistakes kept, worst first, each with its input."""
        return [(facts, x) for _, _, facts, x in sorted(self._worst, key=lambda w: (-w[0], -w[1]))]


def _facts(index: int, truth: int, predicted: int, chances: Tensor) -> dict[str, Any]:
    p_truth, p_predicted = chances[truth].item(), chances[predicted].item()
    return {
        "index": index,
        "truth": truth,
        "predicted": predicted,
        "p_truth": p_truth if p_truth == p_truth else None,
        "p_predicted": p_predicted if p_predicted == p_predicted else None,
    }


def input_of(xb: Any, i: int) -> Any:
    """A copy of input ``i`` of a batch; where there are several inputs, of each of them.

    Returns:
        None if it cannot be told which part of the batch that is.

    Example:
        >>> input_of({"ids": torch.tensor([[1, 2], [3, 4]]), "scale": torch.ones(())}, 1)
        {'ids': tensor([3, 4]), 'scale': tensor(1.)}
        >>> input_of([torch.zeros(2), torch.zeros(3)], 1) is None
        True
    """
    lengths = {len(tensor) for tensor in tensors_in(xb) if tensor.ndim}
    if len(lengths) != 1 or isinstance(xb, PackedSequence):
        return None
    return map_tensors(partial(_copied, i=i), xb)


def _copied(tensor: Tensor, i: int) -> Tensor:
    return (tensor[i] if tensor.ndim else tensor).detach().cpu().clone()


_LABELS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _item(facts: dict[str, Any], x: Any, preparation: Any, loader: Any) -> Mistake:
    picture = None if x is None else as_picture(x, preparation)
    text = "" if x is None or picture is not None else in_words(x, preparation)
    name = item_name(loader, facts["index"])
    known = "" if name == f"item {facts['index']}" else name
    return Mistake(**facts, picture=picture, text=text, name=known)


def _still(entry: str) -> bool:
    # What a pass in evaluation mode leaves alone, and what would cost memory to copy.
    return entry in ("model", "gradients") or entry.partition(".")[0] == "opt"
