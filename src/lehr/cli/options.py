"""Arguments that several commands share: how they are typed, helped with and completed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

# The names that help and completion tell, without importing what they stand for.
SOURCES = ("digits", "mnist", "fashion_mnist", "cifar10")
MODELS = ("linear", "mlp", "cnn", "cnn_norm", "resnet")
OPTIMIZERS = ("adamw", "adam", "nadam", "rmsprop", "sgd")
SCHEDULES = ("constant", "one_cycle", "warmup_cosine", "warmup_linear")
CURES = (
    *("kaiming", "kaiming_uniform", "xavier", "xavier_uniform", "lecun", "orthogonal"),
    *("delta_orthogonal", "lsuv", "fixup", "zero_last"),
)


def _paths(incomplete: str, *, folders_only: bool = False) -> Iterator[str]:
    """Paths that begin with what was typed so far; folders end in a slash, to be gone into."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.as_posix().startswith(incomplete.removeprefix("./")):
            if path.is_dir():
                yield f"{path.as_posix()}/"
            elif not folders_only:
                yield path.as_posix()


def complete_data(incomplete: str) -> list[str]:
    """Names of data sets, then paths.

    Example:
        >>> complete_data("fash")
        ['fashion_mnist']
    """
    return [*(n for n in SOURCES if n.startswith(incomplete)), *_paths(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Run folders under ``runs``, then other folders."""
    runs = [p.parent.as_posix() for p in sorted(Path().glob("runs/*/config.json"))]
    known = [run for run in runs if run.startswith(incomplete)]
    return [*known, *(p for p in _paths(incomplete, folders_only=True) if p[:-1] not in known)]


def complete_weights(incomplete: str) -> list[str]:
    """Words, then paths.

    Example:
        >>> complete_weights("pre")
        ['pretrained']
    """
    words = ("pretrained", "none")
    return [*(word for word in words if word.startswith(incomplete)), *_paths(incomplete)]


Data = Annotated[
    str,
    Argument(
        metavar="DATA",
        help=f"{', '.join(SOURCES)}; or the path of a folder of images (one folder per class), a "
        ".zip of such folders, a .csv or .tsv table, or an .npz with x and y. All named sets but "
        "digits are read from the folder that the environment variable LEHR_DATA names; without "
        "it, and for files that are not there, they are downloaded once.",
        autocompletion=complete_data,
        show_default=False,
    ),
]
Run = Annotated[
    Path,
    Argument(
        metavar="RUN", help="A run folder, as lehr train makes it.", autocompletion=complete_run
    ),
]
Model = Annotated[
    str | None,
    Option(
        help=f"{', '.join(MODELS)}; or one of timm's, as timm:resnet18, or of transformers, as "
        "hf:NAME or hf:path/to/folder, if that package is installed; or your own, as "
        "package.module:Name or path/to/file.py:Name, called with those of item_shape, "
        "channels_in, in_features, classes that it takes.",
        autocompletion=lambda: list(MODELS),
    ),
]
Weights = Annotated[
    str | None,
    Option(
        help="Weights to begin with, trained for something else: a file, a run folder, or "
        "pretrained, which is usual for timm: and hf:. The head is made anew; it is trained alone "
        "at first, then all. Or none, which is usual for other models.",
        autocompletion=complete_weights,
    ),
]
FreezeEpochs = Annotated[
    int | None,
    Option(help="With --weights: so many of the epochs train the head alone; else 1.", min=0),
]
Epochs = Annotated[int | None, Option(help="Passes over the data.", min=1)]
BatchSize = Annotated[int | None, Option(help="Items in a batch.", min=1)]
LR = Annotated[
    str | None,
    Option(
        help="The highest learning rate: a number, or auto to find one first, as lehr find-lr "
        "does. digits and mnist have a number, all others auto.",
        autocompletion=lambda: ["auto"],
    ),
]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace the file of --out, if it is there.")
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Say what came of it, and nothing before.")]
ScheduleText = Annotated[
    str,
    Option(
        help=f"The course of lr: {', '.join(SCHEDULES)}; or, without --lr, any expression "
        "of lehr.schedules, such as 'sched_cos(0.01, 0)'.",
        autocompletion=lambda: list(SCHEDULES),
    ),
]
Opt = Annotated[
    str | None,
    Option(help=f"{', '.join(OPTIMIZERS)}.", autocompletion=lambda: list(OPTIMIZERS)),
]
WeightDecay = Annotated[float | None, Option(help="Else what suits optimizer and data.")]
LabelSmoothing = Annotated[float | None, Option(help="Share of the target given to all classes.")]
Patience = Annotated[
    int | None,
    Option(help="Stop after so many epochs without a better valid_loss; keep the best.", min=1),
]
Seed = Annotated[int | None, Option(help="Makes it repeatable; drawn if left out.")]
DeviceName = Annotated[
    str | None,
    Option("--device", help="cpu, cuda, cuda:1, mps …; else the accelerator if there is one."),
]
CheckpointEvery = Annotated[
    str | None,
    Option(
        help="How often to save what lehr resume goes on from: '500 steps', '1 epoch' (default), "
        "'10 minutes', or never."
    ),
]
LayerStats = Annotated[
    bool | None,
    Option("--layer-stats", help="Report how outputs and gradients of each layer are spread."),
]
OwnModel = Annotated[
    str | None,
    Option(help="If the run was trained with a model of your own: its import path, once more."),
]
Size = Annotated[int | None, Option(help="Resize images to so many pixels a side.", min=1)]
Augment = Annotated[
    str | None,
    Option(help="flip, shift, rotate, several with +, or none. Training images only."),
]
ValidShare = Annotated[
    float | None, Option(help="Share held out, where the data are not divided already.")
]
Target = Annotated[str | None, Option(help="The column to predict; tables need it.")]
Columns = Annotated[
    str | None, Option(help="The columns of a table to use, with commas between; else all others.")
]
Exclude = Annotated[
    str | None, Option(help="Columns of a table to leave out, with commas between.")
]
Regression = Annotated[
    bool | None,
    Option(
        "--regression/--classification",
        help="What to make of a target of whole numbers: amounts to predict, or classes.",
        show_default=False,
    ),
]
Missing = Annotated[
    str | None, Option(help="Missing values in a table: error (default), mean or drop.")
]
SkipBroken = Annotated[
    bool | None, Option("--skip-broken", help="Leave out images that cannot be read.")
]
Cache = Annotated[
    bool | None,
    Option(
        "--cache",
        help="Keep decoded images on disk, for later epochs and trainings: in images/ in the "
        "folder that the environment variable LEHR_CACHE names, else in the system's usual place.",
    ),
]
Processes = Annotated[
    int | None, Option("--processes", help="Train in so many processes, on one machine.", min=1)
]
Workers = Annotated[int | None, Option("--workers", help="Processes that read images.", min=0)]


def check_out(out: Path | None, *, overwrite: bool) -> None:
    """See that a file can be written there, before there is something to write.

    Raises:
        FileNotFoundError: there is no such folder.
        FileExistsError: there is such a file, and it is not to be replaced.

    Example:
        >>> check_out(Path("nowhere/a.png"), overwrite=False)
        Traceback (most recent call last):
        FileNotFoundError: nowhere/a.png cannot be written: there is no folder nowhere. Make it...
    """
    if out is None:
        return
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"{out} cannot be written: there is no folder {out.parent}. Make it first."
        )
    if out.is_file() and not overwrite:
        raise FileExistsError(f"{out} exists. Choose another name, or add --overwrite.")
