"""The numbers that a callback drives during a fit: put back at its end, kept in its state."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from lehr.optim.slots import Slot


class Driven:
    """Places of numbers, what was there before, and what is there now.

    A run that is resumed finds in these places what its script put there anew. Its state says what
    the first run found, so that this is what is put back in the end, and what it had set since.
    Once that is done the places are forgotten.

    Args:
        slots: the places.
        kept: whether what is there now is part of another state, as an optimizer's groups are.

    Example:
        >>> group = {"lr": 0.1}
        >>> driven = Driven([Slot(group, "lr")], kept=False)
        >>> group["lr"] = 0.5
        >>> driven.state_dict()
        {'before': [0.1], 'now': [0.5]}
        >>> driven.put_back(); group
        {'lr': 0.1}
    """

    def __init__(self, slots: Sequence[Slot], *, kept: bool) -> None:
        self.slots: list[Slot] = list(slots)
        self.kept = kept
        self._before: list[Any] = self._values()
        self._back = [slot.restorer() for slot in self.slots]

    def follow(self, slots: Iterable[Slot]) -> None:
        """Take along those of ``slots`` that are new: what is there now is what was before."""
        for slot in slots:
            if not any(slot.is_also(known) for known in self.slots):
                self.slots.append(slot)
                self._before.append(_plain(slot.get()))
                self._back.append(slot.restorer())

    def keep_only(self, keys: Container[str]) -> None:
        """Forget the places that have none of these keys."""
        held = zip(self.slots, self._before, self._back, strict=True)
        chosen = [place for place in held if place[0].key in keys]
        self.slots = [slot for slot, _, _ in chosen]
        self._before = [value for _, value, _ in chosen]
        self._back = [back for _, _, back in chosen]

    def before(self, slot: Slot) -> Any:
        """What was at a place before."""
        own = zip(self.slots, self._before, strict=True)
        return next(value for known, value in own if known.is_also(slot))

    def put_back(self) -> None:
        """Put back what was there before."""
        while self._back:
            self._back.pop()()
        self.slots, self._before = [], []

    def state_dict(self) -> dict[str, Any]:
        """The numbers of before, and those of now where no other state has them."""
        now = {} if self.kept else {"now": self._values()}
        return {"before": list(self._before), **now}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what was there before, and set what was there when `state_dict` was taken.

        Raises:
            ValueError: it is of another number of places.
        """
        if not self.slots:
            return  # the fit is over
        before: list[Any] = state_dict["before"]
        if len(before) != len(self.slots):
            raise ValueError(
                f"the state has {len(before)} numbers for {len(self.slots)} places. Make the "
                "optimizer's groups and the schedules as they were."
            )
        now: list[Any] = state_dict.get("now", self._values())
        if before != self._before:
            for slot, value in zip(self.slots, before, strict=True):
                slot.setter()(value)
            self._before, self._back = before, [slot.restorer() for slot in self.slots]
        for slot, value in zip(self.slots, now, strict=True):
            slot.setter()(value)

    def _values(self) -> list[Any]:
        return [_plain(slot.get()) for slot in self.slots]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value  # tensors and NumPy's numbers
