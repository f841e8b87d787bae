"""Calls of a compiled step with torch's guards, and without what else torch does around them."""

from collections.abc import Callable
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

    Example:
        >>> import torch
        >>> def double(x):
        ...     return x * 2
        >>> direct = Direct(double, torch.compile(double, backend="eager", fullgraph=True))
        >>> direct(torch.ones(2)), direct(torch.ones(2)), direct(torch.ones(3))
        (tensor([2., 2.]), tensor([2., 2.]), tensor([2., 2., 2.]))
    """

    def __init__(self, function: Any, compiled: Callable[..., Any]) -> None:
        code = function.__code__
        self._function, self._compiled = function, compiled
        self._names = code.co_varnames[: code.co_argcount]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        defaults = zip(reversed(self._names), reversed(function.__defaults__ or ()), strict=False)
        self._held = {name: cell.cell_contents for name, cell in cells} | dict(defaults)
        self._last: tuple[Any, Callable[..., Any]] = None, compiled  # in one, for an interrupt

    def __call__(self, *given: Any) -> Any:
        """What the function returns."""
        guards, run = self._last
        if _are_alive(guards) and by_stance(self) is self and guards.check(self._locals(given)):
            return run(*given)
        returned = self._compiled(*given)
        self._take_code_for(given)
        return returned

    def _locals(self, given: tuple[Any, ...]) -> dict[str, Any]:
        """The function's variables as it begins, by which guards know what they look at."""
        return self._held | dict(zip(self._names, given, strict=False))

    def _take_code_for(self, given: tuple[Any, ...]) -> None:
        values = self._locals(given)
        function = self._function
        for entry in entries_of(function.__code__):
            guards = entry.guard_manager
            if _are_alive(guards) and guards.check(values):
                run = FunctionType(
                    *(entry.code, function.__globals__, function.__name__),
                    *(function.__defaults__, function.__closure__),
                )
                self._last = guards, run
                return


def _are_alive(guards: Any) -> bool:
    """Whether torch still goes by them.

    It does not after ``torch.compiler.reset()``, and once something is gone that they know by its
    place in memory: what comes to that place would pass for it.
    """
    return getattr(guards, "cache_entry", None) is not None
