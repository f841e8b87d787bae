"""What is known of a compiled step."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Compiled(Protocol):
    """A compiled step, which can tell whether torch has a graph for what comes."""

    def __call__(self, *given: Any) -> Any:
        """Make the step."""
        ...

    def made_for(self, given: Sequence[Any]) -> Callable[..., Any] | None:
        """What to call with this; None if torch would have to make a graph first."""
        ...
