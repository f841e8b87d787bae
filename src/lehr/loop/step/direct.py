"""Calls of a compiled step with torch's guards, and without what else torch does around them."""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, final

try:  # torch's own names for what it has compiled of a function, and for `set_stance`
    from torch._dynamo.eval_frame import _callback_from_stance as by_stance  # pyright: ignore
    from torch._dynamo.eval_frame import _debug_get_cache_entry_list as entries_of  # pyright: ignore
except ImportError:  # in another torch, every call is as torch makes it

    def entries_of(code: Any) -> list[Any]:
        """What has been compiled of it, as far as is known."""
        return []

    def by_stance(callback: Any) -> Any:
        """The callback, if torch is to take what has been compiled."""
        return callback


@final
class Direct:
    """A compiled function, which is called directly where its guards hold.

    Around every call ``torch.compile`` looks whether something is exported or traced, and puts its
    own hooks in and out: 20 to 30 µs, a tenth of a small model's step. The guards, which say
    whether the compiled code is right for what it is given, take a fraction of that. Here they are
    asked first. Where they do not hold, or torch does not show its code or has forgotten it, torch
    does as always.

    Args:
        function: one with code of its own, for torch keeps what it has compiled by that. It is
            called by position.
        compiled: what ``torch.compile`` made of it, with ``fullgraph=True``.
        by_torch: whether torch makes every call, and it is only known for what it has compiled.

    Example:
        >>> import torch
        >>> from torch.nn.functional import softsign
        >>> direct = Direct(softsign, torch.compile(softsign, backend="eager", fullgraph=True))
        >>> direct(torch.ones(2)), direct(torch.ones(2)), direct(torch.ones(1))
        (tensor([0.5000, 0.5000]), tensor([0.5000, 0.5000]), tensor([0.5000]))
    """

    def __init__(
        self, function: Any, compiled: Callable[..., Any], *, by_torch: bool = False
    ) -> None:
        code = function.__code__
        self._function, self._compiled, self._by_torch = function, compiled, by_torch
        self._names = code.co_varnames[: code.co_argcount]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        defaults = zip(reversed(self._names), reversed(function.__defaults__ or ()), strict=False)
        self._held = {name: cell.cell_contents for name, cell in cells} | dict(defaults)
        self._last: tuple[Any, Callable[..., Any]] = None, compiled  # in one, for an interrupt
        self._shows = True

    def __call__(self, *given: Any) -> Any:
        """What the function returns."""
        return (self.made_for(given) or self._call)(*given)

    def made_for(self, given: Sequence[Any]) -> Callable[..., Any] | None:
        """What to call with this; None if torch would have to compile first, as far as it shows.

        Example:
            >>> import torch
            >>> from torch.nn.functional import tanhshrink
            >>> compiled = torch.compile(tanhshrink, backend="eager", fullgraph=True)
            >>> direct = Direct(tanhshrink, compiled)
            >>> direct.made_for([torch.zeros(2)]) is None, direct(torch.zeros(2))
            (True, tensor([0., 0.]))
            >>> direct.made_for([torch.zeros(2)])(torch.zeros(2))
            tensor([0., 0.])
        """
        guards, run = self._last
        usual = by_stance(self) is self
        if usual and _are_alive(guards) and guards.check(self._locals(given)):
            return run
        if usual and self._shows and self._entry_for(given) is None:
            return None
        return self._call

    def _call(self, *given: Any) -> Any:
        returned = self._compiled(*given)
        self._take_code_for(given)
        return returned

    def _locals(self, given: Sequence[Any]) -> dict[str, Any]:
        """The function's variables as it begins, by which guards know what they look at."""
        return self._held | dict(zip(self._names, given, strict=False))

    def _take_code_for(self, given: tuple[Any, ...]) -> None:
        entry = self._entry_for(given)
        self._shows = entry is not None
        if entry is not None:
            function = self._function
            run = FunctionType(
                *(entry.code, function.__globals__, function.__name__),
                *(function.__defaults__, function.__closure__),
            )
            self._last = entry.guard_manager, self._compiled if self._by_torch else run

    def _entry_for(self, given: Sequence[Any]) -> Any:
        """What torch has compiled for this; None if there is nothing, or torch does not show it."""
        values = self._locals(given)
        for entry in entries_of(self._function.__code__):
            guards = entry.guard_manager
            if _are_alive(guards) and guards.check(values):
                return entry
        return None


def _are_alive(guards: Any) -> bool:
    """Whether torch still goes by them.

    It does not after ``torch.compiler.reset()``, and once something is gone that they know by its
    place in memory: what comes to that place would pass for it.
    """
    return getattr(guards, "cache_entry", None) is not None
