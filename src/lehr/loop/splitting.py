"""How a batch is split where the user has not said it: by what the model's forward takes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, final

from torch import nn

from lehr.base.nested import split_pair
from lehr.base.signatures import Signature, signature_of
from lehr.loop.losses import wanted_by
from lehr.state.wrappers import bare
from lehr.types import TARGETS, SplitBatch, is_mapping, is_sequence


class _Keys(NamedTuple):
    """What becomes of the keys of a batch."""

    inputs: tuple[str, ...]
    target: str | None


def splitter(model: nn.Module, loss_func: Callable[..., Any]) -> SplitBatch:
    """The default ``split_batch`` of a Learner: ``batch -> (xb, yb)``.

    - A pair is ``(xb, yb)``, and one tensor is ``xb`` alone.
    - A dict, or anything like one, goes to the model by name: each key to the parameter of forward
      that is called so. A key named label, labels, target, targets, y or yb is the target; the
      model gets it, too, if forward has that parameter.
    - More items than a pair go to the model by position if forward needs just as many, or one
      less: then the last is the target.

    Args:
        model: its forward is asked for its parameters; of a wrapped model, that of the model.
        loss_func: whether it takes a target decides where the names do not.

    Returns:
        The function. It raises TypeError for a batch that cannot be split so.

    Example:
        >>> split = splitter(nn.Linear(2, 1), nn.MSELoss())
        >>> split({"input": 1, "y": 2})
        ({'input': 1}, 2)
    """
    return _Splitter(signature_of(bare(model)), wants_target=wanted_by(loss_func).target)


@final
class _Splitter:
    """Splits batches as a forward takes them. It is no inner function, so that it can be pickled.

    Args:
        takes: what the forward takes.
        wants_target: whether the loss function takes a target.
    """

    __slots__ = ("_known", "_pair_is_input", "_takes", "_wants_target")

    def __init__(self, takes: Signature, *, wants_target: bool) -> None:
        self._takes, self._wants_target = takes, wants_target
        self._pair_is_input = not wants_target and len(takes.required) == 2
        self._known: dict[tuple[str, ...], _Keys] = {}

    def __call__(self, batch: Any) -> tuple[Any, Any]:
        """``(xb, yb)`` of a batch."""
        if batch.__class__ is tuple and len(batch) == 2 and not self._pair_is_input:
            return batch
        if is_mapping(batch):
            inputs, target = self._keys_of(batch)
            return {key: batch[key] for key in inputs}, None if target is None else batch[target]
        if is_sequence(batch) and (self._pair_is_input or len(batch) > 2):
            return _by_place(batch, self._takes, wants_target=self._wants_target)
        return split_pair(batch)

    def _keys_of(self, batch: Mapping[Any, Any]) -> _Keys:
        keys = tuple(batch.keys())
        if keys not in self._known:
            self._known[keys] = _sorted_keys(keys, self._takes, wants_target=self._wants_target)
        return self._known[keys]


def _by_place(batch: Any, takes: Signature, *, wants_target: bool) -> tuple[Any, Any]:
    """Items in a row, where their number says what they are."""
    if len(takes.required) == len(batch) and not wants_target:
        return tuple(batch), None
    if len(takes.required) == len(batch) - 1:
        return tuple(batch[:-1]), batch[-1]
    return split_pair(batch)


def _sorted_keys(keys: tuple[Any, ...], takes: Signature, *, wants_target: bool) -> _Keys:
    named = [key for key in keys if key in TARGETS]
    apart = [key for key in named if key not in takes.named]
    rest = [key for key in keys if key not in takes.named and key not in apart]
    if rest and not takes.any_names:
        example = _example(keys, takes, (*apart, *named, *rest) if wants_target else apart)
        none = f"but forward has no parameter {' or '.join(map(repr, rest))}"
        raise _refusal(keys, takes, none, example)
    candidates = apart or named
    if len(candidates) > 1 and wants_target:
        found = " and ".join(map(repr, candidates))
        example = _example(keys, takes, candidates)
        raise _refusal(keys, takes, f"and any of {found} could be the target", example)
    target = candidates[0] if len(candidates) == 1 else None
    # Where only **kwargs would take the target, it goes along if the loss is in the output.
    left_out = apart if wants_target or not takes.any_names else []
    return _Keys(tuple(key for key in keys if key not in left_out), target)


def _example(keys: tuple[Any, ...], takes: Signature, targets: Sequence[Any]) -> str:
    """A ``split_batch`` for such batches, as one would write it; a key may have another meaning."""
    target = targets[0] if targets else None
    others = [key for key in keys if not targets or key != target]
    named = [key for key in others if key in takes.named]
    pairs = ", ".join(f"{key!r}: b[{key!r}]" for key in named)
    xb = f"{{{pairs}}}" if named else f"b[{(others or keys)[0]!r}]"
    return f"lambda b: ({xb}, {f'b[{target!r}]' if targets else None})"


def _refusal(keys: tuple[Any, ...], takes: Signature, why: str, example: str) -> TypeError:
    return TypeError(
        f"a batch is a dict with the keys {', '.join(map(repr, keys))}, {why}: it takes "
        f"{takes.text}. Give the Learner split_batch=, a function from a batch to (xb, yb), e.g. "
        f"{example}."
    )
