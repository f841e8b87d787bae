"""The program itself: how it starts, which commands it has, and how it says what went wrong.

The module of a command, and torch with it, is imported when that command is called: the list of
commands, the version and the completion of a command's name are there at once.
"""

import importlib
import logging
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TextIO, cast

import typer
from typer import Option
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info

from lehr import __version__
from lehr.base.output import OutputError, plain_output
from lehr.base.paths import path_of
from lehr.base.terminal import printable
from lehr.cli.words import as_options
from lehr.errors import did_you_mean, notes_of, said

USAGE, FAILURE = 2, 1
"""Exit codes: what was typed cannot be used; what was asked for could not be done."""


def say(text: object, *, err: bool = False) -> None:
    """Print a line or several; whatever is in them, the terminal obeys none of it.

    Args:
        text: may hold names and words from files.
        err: print to where errors go.
    """
    words, room = printable(str(text)), terminal_width(sys.stderr if err else sys.stdout)
    typer.echo(words if room is None else "\n".join(_fitting(words.splitlines(), room)), err=err)


def overwrite(text: str) -> None:
    """Put a text in the place of the last line of the terminal; "" leaves that line empty."""
    room = (terminal_width() or 80) - 1
    typer.echo(f"\r\x1b[K{printable(text)[:room]}", nl=False)


def terminal_width(file: TextIO | None = None) -> int | None:
    """How many characters fit into a line of the terminal; None where there is no terminal.

    Args:
        file: what is written into; None for standard output.
    """
    if not is_terminal(sys.stdout if file is None else file):
        return None
    return shutil.get_terminal_size().columns


def _fitting(lines: Iterable[str], room: int) -> Iterator[str]:
    """The lines, broken between words where they are too long; what follows is indented.

    Example:
        >>> print(*_fitting(["- one two three", "  name   one two three"], 15), sep="\\n")
        - one two three
          name   one
                 two
                 three
    """
    for line in lines:
        if len(line) <= room:
            yield line
            continue
        yield from textwrap.wrap(
            line,
            room,
            subsequent_indent=_indent(line, room),
            drop_whitespace=True,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _indent(line: str, room: int) -> str:
    """What stands before the rest of a broken line: it begins where its one second column does."""
    columns = [gap.end() for gap in re.finditer(r"(?<=\S) {2,}", line)]
    if len(columns) == 1 and 2 * columns[0] <= room:
        return " " * columns[0]
    return " " * (len(line) - len(line.lstrip()) + 4)


def is_terminal(file: TextIO) -> bool:
    """Whether a terminal reads what is written into a file."""
    return file.isatty()


class Listed(NamedTuple):
    """A command as the list of all says it."""

    module: str
    """of `lehr.cli`, in which it is"""
    does: str
    """the first sentence of its help"""


COMMANDS = {
    "train": Listed("train", "Train a model on DATA, and keep the results in a run folder."),
    "resume": Listed("resume", "Go on with a training that was stopped in any way."),
    "watch": Listed("watch", "Show a run as it goes on, and keep its report up to date."),
    "evaluate": Listed("use", "Print loss and accuracy of a trained model on labelled data."),
    "predict": Listed("use", "Print a CSV with what a trained model makes of new files."),
    "export": Listed(
        "export",
        "Write a trained model as one file, for use without lehr.",
    ),
    "report": Listed("reports", "Write a run's report, one HTML file that needs nothing else."),
    "compare": Listed("reports", "Say what differs between two runs and where they part."),
    "find-lr": Listed("look", "Train for a moment while lr rises, and suggest a learning rate."),
    "explain": Listed("look", "Show what lehr train DATA would run: model, loop and callbacks."),
    "schedule": Listed("look", "Draw a schedule over the share of the fit that is done."),
    "audit": Listed("audit", "Send a batch through a fresh model; say where it is lost."),
    "replay": Listed("replay", "Make a past step of a training again, bit for bit."),
}
"""All commands by name, as the help lists them."""


class Group(TyperGroup):
    """Knows the commands before they are imported; says every usage error in one line."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, those first that are used first."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """What the list of commands shows of one; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, callback=lambda: None, help=COMMANDS[cmd_name].does)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported now."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}")
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _imported(command.name or ""), rest

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
                code = _say_error(message() + _came(error), code=USAGE)
            sys.exit(code if isinstance(code, int) else 0)


def _came(error: Exception) -> str:
    """The value that was given, where a usage error of typer's does not say it itself."""
    found: Any = getattr(error.__cause__, "errors", list)  # of pydantic, by which newer ones check
    values: list[Any] = [each["input"] for each in found() if "input" in each]
    return f"; got {values[0]!r}." if values else ""


def _imported(name: str) -> Any:
    importlib.import_module(f"lehr.cli.{COMMANDS[name].module}")
    names = {
        info.name or getattr(info.callback, "__name__", ""): info
        for info in app.registered_commands
    }
    command = get_command_from_info(
        names[name], pretty_exceptions_short=True, rich_markup_mode=app.rich_markup_mode
    )
    assert command.callback is not None
    command.callback = partial(_called, command.callback)
    return command


def _called(command: Callable[..., Any], **arguments: Any) -> Any:
    """Call a command; a shell leaves the ``~`` of ``--out=~/here`` to us."""
    return command(**{name: _with_home(value) for name, value in arguments.items()})


def _with_home(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_with_home(item) for item in cast("list[Any]", value)]
    return path_of(value) if isinstance(value, Path) else value


app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,  # its columns leave no room for the names of options
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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
        code: what the program exits with; an error that begins with an option is one of usage.
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
        text = f"{type(error).__name__}: {said(error)} {notes} Add --debug to see where."
        if ours:
            text = said(error)
        elif sentence:
            text = str(error.args[0])
        text = as_options(text)
        about_an_option = text.startswith("--")
        raise typer.Exit(_say_error(text, code=USAGE if about_an_option else code)) from None


def _say_warning(message: Warning | str, *_: object) -> None:
    say(f"warning: {as_options(' '.join(str(message).split()))}", err=True)


def _say_error(text: str, *, code: int) -> int:
    say(f"error: {' '.join(text.split())}", err=True)
    return code
