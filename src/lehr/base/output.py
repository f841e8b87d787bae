"""Standard output that may be closed, full, or without a letter, and what becomes of it."""

import io
import sys
import unicodedata
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

_ALIKE = (
    "→ ->  ← <-  – -  — -  − -  … ...  × x  · -  ▸ >  │ |  ┤ |  ─ -  • *  ≤ <=  ≥ >=  ß ss  "
    "“ \"  ” \"  ‘ '  ’ '  ✓ v  ✗ x"
)
_PLAIN = {pair[0]: pair[2:] for pair in _ALIKE.split("  ")} | {"\u2800": " "}


class Output(io.TextIOBase):
    """A stream for text in the place of another, which says plainly what it cannot do.

    A character that the stream has none for is written as one that looks like it. What the stream
    does not take at all is an error in plain words, once; from then on, nothing is written.

    Args:
        stream: a text stream, such as ``sys.stdout``; None is one that is closed.
        forgiving: no error; `lost` says what happened.
        exact: for data: a character that there is none for is an error.

    Attributes:
        lost: why nothing is written any more; None as long as all was.

    Example:
        >>> stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        >>> print("0 → 1, “Größe”", file=Output(stream), flush=True)
        >>> stream.buffer.getvalue()
        b'0 -> 1, "Grosse"\\n'
        >>> gone = Output(None, forgiving=True)
        >>> print("hello", file=gone)
        >>> gone.lost
        'it is closed'
    """

    def __init__(self, stream: Any, *, forgiving: bool = False, exact: bool = False) -> None:
        self.stream, self.forgiving, self.exact = stream, forgiving, exact
        self.lost: str | None = None
        self._has_warned = False

    @property
    def encoding(self) -> str:  # type: ignore[reportIncompatibleVariableOverride]
        """That of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[reportIncompatibleVariableOverride]
        """How the stream treats what it cannot encode."""
        return getattr(self.stream, "errors", None) or "strict"

    def isatty(self) -> bool:
        """Whether it is a terminal, and one that is there."""
        try:
            return bool(self.stream is not None and self.stream.isatty())
        except (AttributeError, ValueError):
            return False

    def fileno(self) -> int:
        """The stream's own.

        Raises:
            OSError: it has none.
        """
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()

    def writable(self) -> bool:
        """It is, also where nothing becomes of it."""
        return True

    def write(self, text: str) -> int:
        """Write ``text``, as far as the stream can.

        Raises:
            OSError: the stream takes nothing any more, and this one does not forgive it.
            ValueError: ``exact`` is true, and there is no such character.
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"this stream is for text; got {type(text).__name__}. Decode it first.")
        if text and self.lost is None:
            shown = self._encodable(text)
            try:
                if self.stream is None:
                    raise ValueError
                self.stream.write(shown)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """See that what was written has left the program.

        Raises:
            OSError: as for `write`.
        """
        if self.lost is None and self.stream is not None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def _lose(self, error: OSError | ValueError) -> None:
        self.lost = "it is closed"
        if isinstance(error, OutputError):
            self.lost = error.why
        elif isinstance(error, OSError):
            self.lost = (error.strerror or str(error)).lower()
        if self.forgiving:
            return
        if isinstance(error, BrokenPipeError):
            raise error  # a reader such as head that has enough is no mistake
        raise OutputError(self.lost) from error

    def _encodable(self, text: str) -> str:
        try:
            text.encode(self.encoding, self.errors)
        except UnicodeEncodeError as error:
            if self.exact:
                raise ValueError(
                    f"standard output is {self.encoding.upper()}, which has no "
                    f"{text[error.start]!r}. Write to a file instead, or set PYTHONIOENCODING=utf-8"
                    "."
                ) from None
            return "".join(self._likeness(letter) for letter in text)
        return text

    def _likeness(self, letter: str) -> str:
        for likeness in (letter, _plain(letter)):
            with suppress(UnicodeEncodeError):
                likeness.encode(self.encoding, self.errors)
                return likeness
        return "?"

    def tell_loss(self, what: str) -> None:
        """Warn, once, if something was lost.

        Args:
            what: is not harmed by it.
        """
        if self.lost is not None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"standard output could not be written to any more: {self.lost}. {what} went on "
                "without it.",
                stacklevel=3,
            )


class OutputError(OSError):
    """Standard output cannot be written to.

    Attributes:
        why: in a few words.
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"standard output cannot be written to: {why}. Send it somewhere else.")
        self.why = why


def _plain(letter: str) -> str:
    """A character, as ASCII can tell it."""
    if "\u2800" < letter <= "\u28ff":
        return "*"  # a braille pattern, of which charts are made
    apart = unicodedata.normalize("NFKD", letter)
    return _PLAIN.get(letter) or "".join(c for c in apart if not unicodedata.combining(c)) or "?"


@contextmanager
def plain_output() -> Generator[None]:
    """A scope for a whole program: standard output as an `Output`, and errors never in the way.

    What was lost stays so when the scope is over: Python does not complain of it when it ends.

    Example:
        >>> with plain_output():
        ...     print("1 → 2")
        1 → 2
    """
    before = sys.stdout, sys.stderr
    ours = Output(sys.stdout), Output(sys.stderr, forgiving=True)
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        if sys.stdout is ours[0] and ours[0].lost is None:
            sys.stdout = before[0]
        if sys.stderr is ours[1] and ours[1].lost is None:
            sys.stderr = before[1]


@contextmanager
def forgiving_output(what: str) -> Generator[None]:
    """A scope in which losing standard output stops nothing; a warning at its end tells of it.

    Args:
        what: goes on, for the warning.

    Example:
        >>> with forgiving_output("The training"):
        ...     print("one")
        one
    """
    before = sys.stdout
    sys.stdout = ours = Output(before, forgiving=True)
    try:
        yield
        ours.flush()
    except BaseException:
        with suppress(Warning):  # where warnings are errors, it must not take the error's place
            ours.tell_loss(what)
        raise
    finally:
        if sys.stdout is ours:
            sys.stdout = before
    ours.tell_loss(what)
