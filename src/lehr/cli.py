"""The command line: ``lehr train digits``."""

import math
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
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


RECIPES: Mapping[str, Recipe] = {
    "digits": Recipe(data.digits, "cnn_norm", 20, 32, 0.01, 0.3),
    "mnist": Recipe(data.mnist, "cnn_norm", 4, 128, 0.01, 0.3),
}


class Group(TyperGroup):
    """Says every usage error in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the arguments ask for, then leave with its exit code."""
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except Exception as error:
            message = getattr(error, "format_message", None)  # usage errors share no public class
            if message is None:
                raise
            code = _say_error(message(), code=2)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=Group, pretty_exceptions_show_locals=False, epilog="Example: lehr train digits"
)


@app.callback(invoke_without_command=True)
def lehr(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """One readable training loop for PyTorch."""
    if version:
        typer.echo(f"lehr {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    epilog="Example: lehr train digits --model cnn --epochs 5 --schedule 'warmup_cosine(0.02)'"
)
def train(
    name: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="What to train on: digits (comes with lehr) or mnist (its files are looked for "
            "in the folder that LEHR_DATA names).",
            autocompletion=lambda: list(RECIPES),
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help=f"One of {', '.join(MODELS)}.", autocompletion=lambda: list(MODELS)),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Items in a batch.", min=1)] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate, the highest of the schedule.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help=f"How the learning rate moves: {', '.join(schedule_names())} (applied to --lr), "
            "or an expression of lehr.schedules.",
            autocompletion=schedule_names,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Makes the training repeatable; drawn if left out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new folder for the run; runs/DATA-DATE-TIME if left out.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Train a model, and keep what comes of it in a run folder.

    Whatever is left out takes a value that suits the data.
    """
    if name not in RECIPES:
        raise _Usage(f"there is no data {name!r}. {did_you_mean(name, RECIPES)}")
    recipe = RECIPES[name]
    if model is not None and model not in MODELS:
        raise _Usage(f"there is no model {model!r}. {did_you_mean(model, MODELS)}")
    anneal = _schedule(schedule, lr, recipe.lr)
    settings: dict[str, Any] = {
        "data": name,
        "model": model or recipe.model,
        "epochs": epochs or recipe.epochs,
        "batch_size": batch_size or recipe.batch_size,
        "optimizer": "AdamW",
        "weight_decay": recipe.weight_decay,
        "schedule": repr(anneal),
        "seed": streams.draw_seed() if seed is None else seed,
    }
    with _errors(debug):
        learn = _learner(settings, recipe)
        folder = RunFolder.create(out) if out else RunFolder.create_unique(name)
        _say_plan(settings, learn)
        try:
            with folder.keep(learn, settings):
                learn.fit(settings["epochs"], callbacks=[ParamScheduler("lr", anneal)])
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        finally:
            _say_result(learn)
            typer.echo(f"run folder: {folder.path}")


def _schedule(text: str | None, lr: float | None, usual_lr: float) -> Schedule:
    if lr is not None and not 0 < lr < math.inf:
        raise _Usage(f"lr must be a number above 0; got {lr}. Give e.g. --lr {usual_lr}.")
    try:
        anneal = parse_schedule(text or "one_cycle", peak=lr or usual_lr)
    except (TypeError, ValueError) as error:
        raise _Usage(str(error)) from None
    if lr is not None and text is not None and "(" in text:
        raise _Usage(
            f"lr must be left out beside {text}, which says every value; got {lr}. Give --lr with "
            f"a name: {', '.join(schedule_names())}."
        )
    if (lowest := min(anneal(i / 1000) for i in range(1001))) < 0:
        raise _Usage(
            f"schedule must not go below 0; {text} reaches {lowest:g}. Change its numbers."
        )
    return anneal


def _learner(settings: Mapping[str, Any], recipe: Recipe) -> Learner:
    bunch = recipe.load(settings["batch_size"])
    with streams.forked(streams.mix(settings["seed"])):  # the weights that lehr.seed would give
        model = build(settings["model"], bunch.train_ds[0][0].shape, bunch.c or 1)
    opt = AdamW(model.parameters(), lr=recipe.lr, weight_decay=settings["weight_decay"])
    return Learner(model, opt, cross_entropy, bunch, metrics=[accuracy], seed=settings["seed"])


def _say_plan(settings: Mapping[str, Any], learn: Learner) -> None:
    train_ds, valid_ds = learn.data.train_ds, learn.data.valid_ds
    shape = "x".join(map(str, train_ds[0][0].shape))
    count = sum(p.numel() for p in learn.model.parameters())
    grid = Table.grid(padding=(0, 2))
    for label, text in {
        "data": f"{settings['data']}: {len(train_ds)} training and {len(valid_ds)} validation "
        f"items of {shape}, {learn.data.c} classes, batches of {settings['batch_size']}",
        "model": f"{settings['model']}, {count:,} parameters",
        "optimizer": f"{settings['optimizer']}, weight_decay {settings['weight_decay']}",
        "lr": settings["schedule"],
    }.items():
        grid.add_row(Text(label, "bold"), Text(text))
    Console(highlight=False).print(grid)


def _say_result(learn: Learner) -> None:
    rows = learn.run.history.rows if learn.run else []
    measured = [(row["accuracy"], row["epoch"]) for row in rows if row.get("accuracy") is not None]
    if measured:
        best, epoch = max(measured, key=lambda pair: pair[0])
        typer.echo(f"accuracy: {measured[-1][0]:.4f}, best {best:.4f} in epoch {epoch}")


class _Usage(typer.BadParameter):
    """A wrong argument, said in our own words."""

    def format_message(self) -> str:
        return self.message


@contextmanager
def _errors(debug: bool) -> Generator[None]:
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
        raise typer.Exit(_say_error(text, code=1)) from None


def _say_error(text: str, *, code: int) -> int:
    typer.echo(f"error: {' '.join(text.split())}", err=True)
    return code


def main() -> None:
    """The program ``lehr``."""
    app()
