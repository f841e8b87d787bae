"""The program itself: how it starts, and how it says what went wrong."""

import logging
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any, TextIO

import typer
from typer import Option
from typer.core import TyperGroup

from lehr import __version__
from lehr.base.output import OutputError, plain_output
from lehr.base.terminal import printable
from lehr.cli.words import as_options
from lehr.errors import notes_of, said

USAGE, FAILURE = 2, 1
"""Exit codes: what was typed cannot be used; what was asked for could not be done."""


def say(text: object, *, err: bool = False) -> None:
    """Print a line or several; whatever is in them, the terminal obeys none of it.

    Args:
        text: may hold names and words from files.
        err: print to where errors go.
    """
    typer.echo(printable(str(text)), err=err)


def is_terminal(file: TextIO) -> bool:
    """Whether a terminal reads what is written into a file."""
    return file.isatty()


class Group(TyperGroup):
    """Says every usage error in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the arguments ask for, then leave with its exit code."""
        # where HOME cannot be written to, matplotlib finds another folder: no warning is needed
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        with plain_output():
            try:
                code = super().main(*args, **{**kwargs, "standalone_mode": False})
                sys.stdout.flush()
            except OutputError as error:  # elsewhere than in a command: help, or the end
                code = _say_error(str(error), code=FAILURE)
            except Exception as error:
                if not (message := getattr(error, "format_message", None)):  # typer's usage errors
                    raise
                code = _say_error(message(), code=USAGE)
            sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(cls=Group, pretty_exceptions_show_locals=False)

Debug = Annotated[bool, Option("--debug", help="Show where an error came from.")]


@app.callback(invoke_without_command=True, epilog="Example: lehr train digits")
def lehr(
    context: typer.Context,
    version: Annotated[bool, Option("--version", help="Show the version.")] = False,
) -> None:
    """One readable training loop for PyTorch."""
    if version:
        say(f"lehr {__version__}")
    elif context.invoked_subcommand is None:
        say(context.get_help())


@contextmanager
def errors(debug: bool, *, code: int) -> Generator[None]:
    """What goes wrong inside is said in one line, and so is a warning.

    The traceback is shown only if ``debug`` is set.

    Args:
        debug: let the error through as it is.
        code: what the program exits with.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            yield
    except (typer.Exit, BrokenPipeError, OutputError):  # `Group` says what there is to say
        raise
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        ours = isinstance(error, (OSError, TypeError, ValueError, ImportError, ArithmeticError))
        sentence = isinstance(error, KeyError) and str(error.args[0]).endswith(".")  # ours are
        notes = " ".join(notes_of(error))
        where = f"{type(error).__name__}: {said(error)} {notes} Add --debug to see where."
        text = said(error) if ours else str(error.args[0]) if sentence else where
        raise typer.Exit(_say_error(as_options(text), code=code)) from None


def _say_warning(message: Warning | str, *_: object) -> None:
    say(f"warning: {as_options(' '.join(str(message).split()))}", err=True)


def _say_error(text: str, *, code: int) -> int:
    say(f"error: {' '.join(text.split())}", err=True)
    return code
