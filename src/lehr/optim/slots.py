"""The places of a number by its name: found, checked, set, and put back."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, cast

from torch import Tensor

from lehr.errors import did_you_mean, nearest
from lehr.optim import optimizers
from lehr.types import is_mapping

_ROOTS = ("model", "opt", "loss_func", "callbacks", "data")


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One place of a number: a key of a mapping or an attribute of an object.

    Example:
        >>> group = {"lr": 0.1}
        >>> slot = Slot(group, "lr")
        >>> back = slot.restorer()
        >>> slot.setter()(0.5); slot.get()
        0.5
        >>> back(); slot.get()
        0.1
    """

    holder: Any
    """what holds it; where ``key`` is ``"betas"``, the number is the first of them"""
    key: str
    """of the mapping, or the attribute's name"""

    def get(self) -> Any:
        """The value that is there now."""
        holder, key = self.holder, self.key
        value = holder[key] if is_mapping(holder) else getattr(holder, key)
        return value[0] if key == "betas" else value

    @property
    def is_number(self) -> bool:
        """Whether a number, or a tensor of one, is there."""
        value = self.get()
        number = isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)
        return number and not isinstance(value, bool)

    def is_also(self, other: "Slot") -> bool:
        """Whether both are the very same place."""
        return self.holder is other.holder and self.key == other.key

    def setter(self) -> Callable[[float], Any]:
        """A function that sets it; a tensor is written in place, for other code may hold it."""
        holder, key, old = self.holder, self.key, self.get()
        if isinstance(old, Tensor):
            return old.fill_
        if key == "betas":
            return lambda value: holder.update(betas=(value, *holder["betas"][1:]))
        if is_mapping(holder):
            return partial(cast("dict[str, Any]", holder).__setitem__, key)
        if isinstance(old, Integral):  # a size or a count, or a share that was written 0 or 1
            return lambda value: setattr(holder, key, int(value) if value % 1 == 0 else value)
        return partial(setattr, holder, key)

    def restorer(self) -> Callable[[], Any]:
        """A function that puts back the very value that is there now."""
        holder, key, old = self.holder, self.key, self.get()
        if isinstance(old, Tensor):
            return partial(old.copy_, old.detach().clone())
        if is_mapping(holder):
            return partial(cast("dict[str, Any]", holder).__setitem__, key, holder[key])
        inherited = isinstance(getattr(type(holder), key, None), Real)  # type: ignore[reportUnknownArgumentType]
        if inherited and key not in getattr(holder, "__dict__", {key: old}):
            return lambda: delattr(holder, key)  # what is there now is the class's
        return partial(setattr, holder, key, old)


@dataclass(frozen=True, slots=True)
class Slots:
    """The name of a number of a run, which may stand in several places.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(0)
        >>> [slot.get() for slot in Slots("lr").find(run)]
        [0.1]
    """

    param: str
    """a hyper-parameter of the optimizer's groups, or a path such as ``"model.2.p"``"""
    group: int | None = None
    """number of the one parameter group; None takes all"""

    @property
    def label(self) -> str:
        """What a history calls it.

        Example:
            >>> Slots("lr").label, Slots("lr", 1).label
            ('lr', 'lr[1]')
        """
        return self.param if self.group is None else f"{self.param}[{self.group}]"

    @property
    def in_groups(self) -> bool:
        """Whether it is a hyper-parameter of an optimizer's groups.

        Example:
            >>> Slots("lr").in_groups, Slots("opt.gan.lr").in_groups, Slots("model.2.p").in_groups
            (True, True, False)
        """
        return "." not in self.param or self.param.startswith("opt.")

    @property
    def in_data(self) -> bool:
        """Whether it is a number of the data, which are read anew in every epoch.

        Example:
            >>> Slots("data.train_dl.batch_size").in_data, Slots("lr").in_data
            (True, False)
        """
        return self.param.startswith("data.")

    def check(self, argument: str) -> None:
        """See that name and group can be meant; ``argument`` is what the message calls the name.

        Raises:
            TypeError: the name is no string, or the group no whole number.
            ValueError: a path that has no groups was given one.
        """
        param, group = self.param, self.group
        if not isinstance(param, str):
            raise TypeError(
                f'{argument} must be a string; got {param!r}. Write e.g. "lr" or "model.2.p".'
            )
        if group is not None and (not isinstance(group, int) or isinstance(group, bool)):
            raise TypeError(f"group must be the number of a parameter group; got {group!r}.")
        if group is not None and not self.in_groups:
            raise ValueError(
                f"group={group} has no meaning for the path {param!r}. Leave it out: only the "
                "hyper-parameters of an optimizer have groups."
            )

    def find(self, run: Any) -> Iterator[Slot]:
        """Every place of the number in ``run``.

        Raises:
            ValueError: nothing of that name is there.
        """
        root, _, path = self.param.partition(".")
        if not path:
            yield from self._in_groups(optimizers.each(run.opt), self.param)
        elif root == "opt":
            name, _, param = path.rpartition(".")
            opts: Any = run.opt
            named: Mapping[str, Any] = opts if is_mapping(opts) else {}
            if name not in named:
                raise ValueError(
                    f"the path {self.param!r} leads nowhere: there is no optimizer named {name!r}. "
                    f"{did_you_mean(name, named) if named else 'Write the parameter alone.'}"
                )
            yield from self._in_groups([named[name]], param)
        else:
            yield _walk(self._root(run, root), path, self.param)

    def numbers(self, run: Any, purpose: str) -> list[Slot]:
        """What `find` finds, all of it numbers.

        Raises:
            ValueError: there is no such name, or something else than a number is there.
        """
        slots = list(self.find(run))
        for slot in slots:
            if not slot.is_number:
                raise ValueError(
                    f"{self.param} is {slot.get()!r}; only a number can {purpose}. Choose another."
                )
        return slots

    def _in_groups(self, opts: list[Any], param: str) -> Iterator[Slot]:
        for opt in opts:
            groups: list[dict[str, Any]] = opt.param_groups
            if self.group is not None and not -len(groups) <= self.group < len(groups):
                raise ValueError(
                    f"group must be the number of a parameter group; got {self.group}, but "
                    f"{type(opt).__name__} has {len(groups)}. Count from 0."
                )
            numbered = list(enumerate(groups))
            for number, group in numbered if self.group is None else [numbered[self.group]]:
                if param in group:
                    yield Slot(group, param)
                elif param == "momentum" and "betas" in group:
                    yield Slot(group, "betas")
                else:
                    names = [key for key in group if key not in ("params", "param_names")]
                    names += ["momentum"] if "betas" in group else []
                    guess = nearest(param, names)
                    raise ValueError(
                        f"{type(opt).__name__} has no hyper-parameter {param!r} in parameter group "
                        f"{number}, which has {', '.join(names) or 'none'}. "
                        f"{f'Did you mean {guess}?' if guess else 'Name one of these.'}"
                    )

    def _root(self, run: Any, root: str) -> Any:
        if root == "callbacks":
            return self._by_name(run)
        if root not in _ROOTS:
            raise ValueError(
                f"the path {self.param!r} starts with {root!r}. {did_you_mean(root, _ROOTS)}"
            )
        return getattr(run, root)

    def _by_name(self, run: Any) -> dict[str, Any]:
        name = self.param.split(".")[1]
        alike = [callback for callback in run.callbacks if callback.name == name]
        if len(alike) > 1:
            raise ValueError(
                f"the path {self.param!r} is ambiguous: {len(alike)} callbacks are named {name!r}. "
                "Set the attribute name of one."
            )
        return {callback.name: callback for callback in run.callbacks}


def refuse_rivals(run: Any, driver: Any) -> None:
    """See that no other callback drives a place that ``driver`` does, by whatever name.

    Raises:
        ValueError: another one does.

    Example:
        >>> from types import SimpleNamespace
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(0)
        >>> refuse_rivals(run, SimpleNamespace(drives=["lr"]))
    """
    if others := rivals(run, driver):
        *most, last = [type(callback).__name__ for callback in (driver, *others)]
        raise ValueError(
            f"{', '.join(most)} and {last} {'both' if len(others) == 1 else 'all'} drive "
            f"{shared_name(driver, others)}; each would undo the other. Leave one, or give each a "
            "group of its own."
        )


def rivals(run: Any, driver: Any) -> list[Any]:
    """The other callbacks that drive a place that ``driver`` does, by whatever name.

    A callback says in its attribute ``drives`` what it drives.

    Example:
        >>> from types import SimpleNamespace
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(0)
        >>> first, last = (SimpleNamespace(drives=[Slots("lr", group)]) for group in (0, -1))
        >>> rivals(SimpleNamespace(opt=run.opt, callbacks=[first, last]), first) == [last]
        True
    """
    ours = _driven_by(driver, run)
    others = [callback for callback in run.callbacks if callback is not driver and callback.drives]
    return [cb for cb in others if any(a.is_also(b) for b in _driven_by(cb, run) for a in ours)]


def shared_name(driver: Any, others: list[Any]) -> str:
    """What messages call the place that ``driver`` and its rivals drive.

    Example:
        >>> from types import SimpleNamespace
        >>> momentum, betas = (
        ...     SimpleNamespace(drives=[Slots(name)]) for name in ("momentum", "betas")
        ... )
        >>> print(shared_name(momentum, [betas]))
        'momentum', which is 'betas' too
    """
    own, *_ = [slots.param for slots in _said(driver)]
    every = [slots.param for other in others for slots in _said(other)]
    names = dict.fromkeys(param for param in every if param != own)
    return f"{own!r}, which is {' and '.join(map(repr, names))} too" if names else repr(own)


def _driven_by(callback: Any, run: Any) -> list[Slot]:
    return [slot for slots in _said(callback) for slot in slots.find(run)]


def _said(callback: Any) -> list[Slots]:
    """What a callback says that it drives; a name alone stands for all parameter groups."""
    return [Slots(said) if isinstance(said, str) else said for said in callback.drives]


def _walk(owner: Any, path: str, whole: str) -> Slot:
    *parents, last = path.split(".")
    for name in parents:
        owner = _child(owner, name, whole)
    _child(owner, last, whole)
    return Slot(owner, last)


def _child(owner: Any, name: str, whole: str) -> Any:
    if is_mapping(owner):
        names, is_there = list(owner), name in owner
    else:
        public = {n: getattr(owner, n, None) for n in dir(owner) if n[0] != "_"}
        numbers = [n for n, v in public.items() if isinstance(v, Real) and not isinstance(v, bool)]
        names = [*getattr(owner, "_modules", ()), *numbers]
        is_there = hasattr(owner, name)
    if not is_there:
        hint = did_you_mean(name, names) if names else "It has no numbers."
        raise ValueError(
            f"the path {whole!r} leads nowhere: {type(owner).__name__} has no {name!r}. {hint}"
        )
    return owner[name] if is_mapping(owner) else getattr(owner, name)
