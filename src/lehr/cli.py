"""The command line: ``lehr train digits``."""

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn import CrossEntropyLoss
from torch.optim import AdamW
from typer import Argument, Option
from typer.core import TyperGroup

from lehr import DataBunch, Learner, __version__, accuracy, data, streams
from lehr.callbacks import ParamScheduler
from lehr.errors import did_you_mean
from lehr.models import MODELS, build
from lehr.report import RunFolder
from lehr.schedule_text import parse_schedule, schedule_names
from lehr.schedules import Schedule


@dataclass(frozen=True)
class Recipe:
    """Settings that serve a data set well."""

    load: Callable[[int], DataBunch]
    model: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    label_smoothing: float
    threads: int | None = None  # at most; tiny batches gain nothing from a second one


RECIPES = {
    "digits": Recipe(data.digits, "cnn_norm", 20, 32, 0.005, 2.0, 0.1, threads=1),
    "mnist": Recipe(data.mnist, "cnn_norm", 5, 128, 0.01, 0.3, 0.1),
}


class Group(TyperGroup):
    """Says every usage error in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the arguments ask for, then leave with its exit code."""
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except Exception as error:
            if not (message := getattr(error, "format_message", None)):  # typer's usage errors
                raise
            code = _say_error(message(), code=2)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(cls=Group, pretty_exceptions_show_locals=False)
main = app  # the program `lehr`


@app.callback(invoke_without_command=True, epilog="Example: lehr train digits")
def lehr(
    context: typer.Context,
    version: Annotated[bool, Option("--version", help="Show the version.")] = False,
) -> None:
    """One readable training loop for PyTorch."""
    if version:
        typer.echo(f"lehr {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog="Example: lehr train digits --model mlp --epochs 5 --schedule constant")
def train(
    name: Annotated[
        str,
        Argument(
            metavar="DATA",
            help="digits, which come with lehr; or mnist, from the folder that LEHR_DATA names.",
            autocompletion=lambda: list(RECIPES),
        ),
    ],
    model: Annotated[
        str | None, Option(help=f"{', '.join(MODELS)}.", autocompletion=lambda: list(MODELS))
    ] = None,
    epochs: Annotated[int | None, Option(help="Passes over the data.", min=1)] = None,
    batch_size: Annotated[int | None, Option(help="Items in a batch.", min=1)] = None,
    lr: Annotated[float | None, Option(help="The highest learning rate.")] = None,
    schedule: Annotated[
        str,
        Option(
            help=f"The course of lr: {', '.join(schedule_names())}; or, without --lr, any "
            "expression of lehr.schedules, such as 'sched_cos(0.01, 0)'.",
            autocompletion=schedule_names,
        ),
    ] = "one_cycle",
    seed: Annotated[int | None, Option(help="Makes it repeatable; drawn if left out.")] = None,
    out: Annotated[Path | None, Option(help="A new folder; else runs/DATA-DATE-TIME.")] = None,
    debug: Annotated[bool, Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Train a model on DATA, with settings that suit it, and keep the results in a run folder."""
    with _errors(debug, code=2):
        recipe = RECIPES[_known("data", name, RECIPES)]
        settings: dict[str, Any] = {
            "data": name,
            "model": _known("model", model or recipe.model, MODELS),
            "epochs": epochs or recipe.epochs,
            "batch_size": batch_size or recipe.batch_size,
            "optimizer": "AdamW",
            "weight_decay": recipe.weight_decay,
            "label_smoothing": recipe.label_smoothing,
            "schedule": _schedule(schedule, lr, recipe.lr),
            "seed": streams.draw_seed() if seed is None else seed,
        }
    with _errors(debug, code=1):
        torch.set_num_threads(min(torch.get_num_threads(), recipe.threads or sys.maxsize))
        learn = _learner(settings, recipe)
        folder = RunFolder.create(out) if out else RunFolder.create_unique(name)
        _say_plan(settings, learn)
        try:
            with folder.keep(learn, settings):
                learn.fit(settings["epochs"], [ParamScheduler("lr", settings["schedule"])])
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        finally:
            _say_result(learn)
            typer.echo(f"run folder: {folder.path}")


def _known(kind: str, name: str, allowed: Mapping[str, Any]) -> str:
    if name not in allowed:
        raise ValueError(f"there is no {kind} {name!r}. {did_you_mean(name, allowed)}")
    return name


def _schedule(text: str, lr: float | None, usual_lr: float) -> Schedule:
    if lr is not None and not 0 < lr < float("inf"):
        raise ValueError(f"lr must be a number above 0; got {lr}. Give e.g. --lr {usual_lr}.")
    schedule = parse_schedule(text, peak=lr or usual_lr)
    if lr is not None and "(" in text:
        raise ValueError(f"lr {lr} has no place beside {text}, which says all. Give one of them.")
    if (lowest := min(schedule(i / 1000) for i in range(1001))) < 0:
        raise ValueError(f"schedule must not go below 0; {text} falls to {lowest:g}. Change it.")
    return schedule


def _learner(settings: Mapping[str, Any], recipe: Recipe) -> Learner:
    bunch = recipe.load(settings["batch_size"])
    with streams.forked(streams.mix(settings["seed"])):  # the weights that lehr.seed would give
        model = build(settings["model"], bunch.train_ds[0][0].shape, bunch.c or 1)
    opt = AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    loss_func = CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    return Learner(model, opt, loss_func, bunch, metrics=[accuracy], seed=settings["seed"])


def _say_plan(settings: Mapping[str, Any], learn: Learner) -> None:
    train, valid = len(learn.data.train_ds), len(learn.data.valid_ds)
    count = sum(p.numel() for p in learn.model.parameters())
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        "data", f"{settings['data']}, {train:,} items to train on, {valid:,} to validate on"
    )
    grid.add_row("model", f"{settings['model']}, {count:,} parameters")
    grid.add_row("loss", f"cross-entropy, label_smoothing {settings['label_smoothing']}")
    grid.add_row("opt", f"{settings['optimizer']}, weight_decay {settings['weight_decay']}")
    grid.add_row("lr", repr(settings["schedule"]))
    Console(highlight=False, markup=False).print(grid)


def _say_result(learn: Learner) -> None:
    rows = learn.run.history.rows if learn.run else []
    measured = [(row["accuracy"], row["epoch"]) for row in rows if row.get("accuracy") is not None]
    if measured:
        best, epoch = max(measured, key=lambda pair: pair[0])
        typer.echo(f"accuracy: {measured[-1][0]:.4f}, best {best:.4f} in epoch {epoch}")


@contextmanager
def _errors(debug: bool, *, code: int) -> Generator[None]:
    """What goes wrong inside is said in one line; the traceback is for those who ask."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        ours = isinstance(error, (OSError, TypeError, ValueError))
        text = str(error) if ours else f"{type(error).__name__}: {error} Add --debug to see where."
        raise typer.Exit(_say_error(text, code=code)) from None


def _say_error(text: str, *, code: int) -> int:
    typer.echo(f"error: {' '.join(text.split())}", err=True)
    return code
