"""Modules, optimizers, and whatever holds tensors: kept as they are, to be put back in place."""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lehr.errors import one_line
from lehr.state.differences import first_difference
from lehr.state.entries import modules
from lehr.state.generators import entry_of
from lehr.state.optimizer import is_optimizer
from lehr.types import Stateful, is_array, is_mapping

_REGISTRIES = [name for name, held in vars(nn.Module()).items() if isinstance(held, (dict, set))]
_REFILLED = (dict, OrderedDict, defaultdict, Counter, list, deque, set)  # others may object
_PLAIN = (bool, int, float, str)
_SPARSE = (
    *(torch.sparse_coo, torch.sparse_csr, torch.sparse_csc),
    *(torch.sparse_bsr, torch.sparse_bsc),
)


def keep_structure(
    root: Any,
    copied: Iterable[Tensor] | None = None,
    *,
    containers: bool = True,
    seen: dict[int, Any] | None = None,
) -> Callable[[], None]:
    """A function that makes a module, an optimizer or a container what it is now.

    Every part of a module is the same object again, of the same class and with the same attributes,
    parameters, buffers, sub-modules and hooks. What has been added is gone. A tensor that got other
    memory (a cast, another device, a lazy parameter that was made) has its old one again. So has
    all that is in the attributes of modules and optimizers: tensors, random generators, arrays of
    NumPy's, and lists, dicts, sets and tuples of them. An object of another kind in there stays
    the same object; what changes within it is not put back.

    Args:
        root: the module, optimizer or container.
        copied: the tensors of it whose values are to be put back as well; all by default. A copy
            of each is held.
        containers: whether a list, dict or set gets back the items that it has; if not, only what
            is in it is put back. Those within modules and optimizers always do.
        seen: what others keep, by id, and is not kept again; this adds what it keeps.

    Raises:
        RuntimeError: when called, of what could not be put back; the rest is.

    Example:
        >>> model = nn.Sequential(nn.LazyLinear(2))
        >>> put_back = keep_structure(model)
        >>> _ = model(torch.ones(1, 3)), model.append(nn.ReLU())
        >>> model[0].weight.shape, len(model)
        (torch.Size([2, 3]), 2)
        >>> put_back(); model
        Sequential(
          (0): LazyLinear(in_features=0, out_features=2, bias=True)
        )
    """
    chosen = None if copied is None else {id(t) for t in copied}
    keeper = _Keeper(chosen, {} if seen is None else seen)
    keeper.add("", root, containers)
    return partial(_put_back, keeper.undos)


def keep_bound(thing: Any) -> Callable[[], None]:
    """A function that binds the attributes of an object to the modules that they are bound to now.

    So with optimizers, tensors, whatever has a ``state_dict``, and containers with such; what is in
    them is not put back. An attribute that is bound to one later, and is not now, is as it is now.
    Plain values, and containers of these, stay what they have become.

    Example:
        >>> from types import SimpleNamespace
        >>> it = SimpleNamespace(layer=nn.Linear(1, 1), count=1)
        >>> layer, put_back = it.layer, keep_bound(it)
        >>> it.layer, it.more, it.count = None, nn.ReLU(), 2
        >>> put_back(); it.layer is layer, hasattr(it, "more"), it.count
        (True, False, 2)
    """
    own = cast("dict[str, Any]", vars(thing))
    before = dict(own)

    def put_back() -> None:
        for name in [name for name, value in own.items() if value is not before.get(name)]:
            if holds_values(own[name]) or holds_values(before.get(name)):
                del own[name]
        own.update({name: value for name, value in before.items() if name not in own})

    return put_back


def holds_values(value: Any, levels: int = 8) -> bool:
    """Whether it is a module, an optimizer, a tensor, has a ``state_dict``, or contains such.

    A container of bare tensors, in which values may have been gathered, is none.

    Example:
        >>> holds_values([nn.ReLU()]), holds_values([torch.zeros(1)]), holds_values(3)
        (True, False, False)
    """
    if isinstance(value, type):
        return False
    if isinstance(value, (Tensor, nn.Module, Stateful)) or is_optimizer(value):
        return True
    if levels == 0 or not _is_container(value):
        return False
    inside = [v for v in (value.values() if is_mapping(value) else value) if type(v) not in _PLAIN]
    return any(holds_values(v, levels - 1) for v in inside if not isinstance(v, Tensor))


def _put_back(undos: list[tuple[str, Callable[[], Any]]]) -> None:
    failures: list[tuple[str, Exception]] = []
    for name, undo in undos:
        try:
            undo()
        except Exception as error:
            failures.append((name, error))
    if failures:
        lost = ", ".join(f"{name or 'the model'} ({one_line(error)})" for name, error in failures)
        raise RuntimeError(lost) from failures[0][1]


class _Keeper:
    """Goes through everything once, and notes how each thing is put back."""

    def __init__(self, chosen: set[int] | None, seen: dict[int, Any]) -> None:
        self.undos: list[tuple[str, Callable[[], Any]]] = []
        self._chosen, self._seen = chosen, seen
        self._waiting: list[tuple[str, Any, bool]] = []

    def add(self, name: str, value: Any, containers: bool) -> None:
        self._waiting.append((name, value, containers))
        while self._waiting:  # not by recursion: they may be nested deep
            name, value, containers = self._waiting.pop()
            if id(value) not in self._seen:
                self._keep(name, value, containers)

    def _keep(self, name: str, value: Any, containers: bool) -> None:
        if isinstance(value, Tensor):
            self._keep_tensor(name, value)
        elif isinstance(value, nn.Module):
            self._keep_module(name, value)
        elif is_optimizer(value):
            self._note(name, value, _keep_object(value))
            self._wait(name, cast("Any", vars(value)).items(), True)
        elif _is_container(value):
            if containers and type(value) in _REFILLED:
                self._note(name, value, _keep_items(value))
            items = value.items() if is_mapping(value) else enumerate(value)
            self._wait(name, cast("Any", items), containers)
        elif is_array(value):
            if value.flags.writeable:
                self._note(name, value, partial(value.__setitem__, ..., value.copy()))
        elif (generator := entry_of(value)) is not None:
            saved = generator.state_dict()
            self._note(name, value, partial(generator.load_state_dict, saved))

    def _keep_module(self, name: str, root: nn.Module) -> None:
        parts = [(_path(name, path), part) for path, part in modules(root)]
        parts = [(path, part) for path, part in parts if id(part) not in self._seen]
        for path, part in parts:
            self._note(path, part, _keep_object(part))
        for path, tensor in _named_tensors(root):
            if id(tensor) not in self._seen:
                self._keep_tensor(_path(name, path), tensor)
        for path, part in parts:
            plain = ((k, v) for k, v in vars(part).items() if k not in _REGISTRIES)
            self._wait(path, plain, True)

    def _keep_tensor(self, name: str, tensor: Tensor) -> None:
        chosen = self._chosen is None or id(tensor) in self._chosen
        self._note(name, tensor, _keep_tensor(tensor, chosen))

    def _note(self, name: str, value: Any, undo: Callable[[], Any]) -> None:
        self._seen[id(value)] = value  # held, so that nothing else gets its id
        self.undos.append((name, undo))

    def _wait(self, name: str, items: Iterable[tuple[Any, Any]], containers: bool) -> None:
        self._waiting += [
            (_path(name, key), value, containers)
            for key, value in items
            if not isinstance(value, (str, int, float))
        ]


def _is_container(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple, set, deque))


def _path(name: str, key: Any) -> str:
    return f"{name}.{key}".strip(".")


def _keep_items(container: Any) -> Callable[[], None]:
    """What is in a dict, list, set or deque."""
    items = container.copy()

    def put_back() -> None:
        container.clear()
        (container.update if hasattr(container, "update") else container.extend)(items)

    return put_back


def _keep_object(thing: Any) -> Callable[[], None]:
    """Class, attributes and, of a module, its registries."""
    kind, own = thing.__class__, cast("dict[str, Any]", vars(thing))
    attributes = dict(own)
    held = [attributes.get(name) for name in _REGISTRIES]
    registries = [_keep_items(one) for one in held if isinstance(one, (dict, set))]

    def put_back() -> None:
        if type(thing) is not kind:
            thing.__class__ = kind
        for name in own.keys() - attributes.keys():
            del own[name]
        own.update(attributes)
        for refill in registries:
            refill()

    return put_back


def _keep_tensor(tensor: Tensor, copied: bool) -> Callable[[], None]:
    kind, memory = type(tensor), tensor.data
    lazy = is_lazy(tensor)
    known = tensor.layout in (torch.strided, *_SPARSE)
    values = memory.clone() if copied and not lazy and known else None
    gradient = _keep_gradient(tensor, copied)

    def put_back() -> None:
        if lazy and type(tensor) is not kind:  # it was made
            tensor.grad = None
            tensor.data = memory
            tensor.__class__ = kind
        elif not lazy and _place(tensor) != _place(memory):
            tensor.data = memory
        if values is not None:
            _write(tensor, memory, values)
        gradient()

    return put_back


def _keep_gradient(tensor: Tensor, copied: bool) -> Callable[[], None]:
    held = tensor.grad if tensor.is_leaf else None
    values = held.detach().clone() if held is not None and copied else None

    def put_back() -> None:
        if tensor.is_leaf and tensor.grad is not held:
            tensor.grad = held
        if held is not None and values is not None:
            _write(held, held.data, values)

    return put_back


@torch.no_grad()
def _write(tensor: Tensor, memory: Tensor, values: Tensor) -> None:
    if tensor.layout in _SPARSE:  # its parts are other tensors once it has been written to
        if first_difference(tensor, values) is not None:
            tensor.resize_as_sparse_(values).copy_(values)
        return
    try:
        memory.copy_(values)
    except RuntimeError:  # several of an expanded tensor are one number: whose, if it has changed?
        if first_difference(memory, values) is not None:
            raise


def _place(t: Tensor) -> tuple[Any, ...]:
    """Where the values of a tensor are, and how they are read."""
    whole = t.layout == torch.strided and t.device.type != "meta"
    return t.shape, t.dtype, t.device, t.layout, whole and (t.stride(), t.data_ptr())


def _named_tensors(root: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from root.named_parameters(remove_duplicate=False)
    yield from root.named_buffers(remove_duplicate=False)
