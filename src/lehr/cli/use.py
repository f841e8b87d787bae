"""Commands that use what was trained: ``evaluate`` and ``predict``."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from typer import Argument, Option

from lehr.base.output import Output
from lehr.base.terminal import printable, safe_cell
from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors, is_terminal, say
from lehr.errors import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from lehr.cli.trained import Trained
    from lehr.data import DataBunch
    from lehr.report import Regression

Split = Literal["train", "valid", "test", "all"]


@app.command(epilog="Example: lehr evaluate runs/digits-20260101-120000 digits")
def evaluate(
    run: options.Run,
    source: Annotated[
        str | None,
        Argument(
            metavar="[DATA]",
            help="As for lehr train; what the run was trained on if left out.",
            autocompletion=options.complete_data,
        ),
    ] = None,
    split: Annotated[
        str | None,
        Option(
            help="train, valid, test (where the data have one) or all. Else valid, or all of data "
            "that the run was not trained on.",
            autocompletion=lambda: ["train", "valid", "test", "all"],
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    model: options.OwnModel = None,
    device: options.DeviceName = None,
    skip_broken: options.SkipBroken = None,
    debug: Debug = False,
) -> None:
    """Print loss and accuracy of a trained model on labelled data, prepared as in its training."""
    from lehr.cli.data_sum import data_sum
    from lehr.cli.job import check_device, resolved
    from lehr.cli.trained import open_trained
    from lehr.report import evaluate_regression

    with errors(debug, code=USAGE):
        asked = _split(split)
        check_device(device)
    with errors(debug, code=FAILURE):
        trained = open_trained(run, model, device)
        own = trained.settings["data"]
        path = own if source is None else resolved(source)
        chosen = asked or ("valid" if path == own else "all")
        bunch = _open(trained, path, chosen, batch_size, skip_broken)
        counts = [len(bunch.train_ds), len(bunch.valid_ds)]
        if path == own and chosen in ("train", "valid") and counts != trained.settings["items"]:
            raise ValueError(
                f"{path} has changed since the training: it had {trained.settings['items']} items "
                f"to train and validate on, now {counts}, so that they would be divided in another "
                "way. Use --split all, or bring back the data as they were."
            )
        known = trained.settings.get("data_sum")
        if chosen in ("train", "valid") and path == own and known not in (None, data_sum(path)):
            say(
                f"warning: {path} is not what it was in the training: its content, or the names or "
                "sizes of its files, are others. So the result is of other data.",
                err=True,
            )
        loader = bunch.train_dl if chosen == "train" else bunch.valid_dl
        learn = trained.learner(bunch)
        results = learn.validate(loader)
        say(f"data: {path}, {chosen}, {len(loader.dataset):,} items")
        for name, value in results.items():
            say(f"{name.removeprefix('valid_')}: {value:.4f}")
        if not trained.preparation.classes:
            say("(the loss is the squared error of the standardised target)")
            learn.data.valid_dl = loader
            _say_errors(evaluate_regression(learn))


@app.command(epilog="Example: lehr predict runs/photos-20260101-120000 new/*.jpg > answers.csv")
def predict(
    run: options.Run,
    files: Annotated[
        list[Path],
        Argument(
            metavar="FILES...",
            help="Images, or tables or .npy files, whatever the run was trained on. "
            "A folder stands for the files in it, a .zip for the images.",
        ),
    ],
    out: Annotated[
        Path | None, Option(help="Write the CSV into this file instead of printing it.")
    ] = None,
    overwrite: options.Overwrite = False,
    safe_csv: Annotated[
        bool,
        Option(
            "--safe-csv",
            help="Put a quote before names that a spreadsheet would run as a formula.",
        ),
    ] = False,
    batch_size: options.BatchSize = None,
    model: options.OwnModel = None,
    device: options.DeviceName = None,
    debug: Debug = False,
) -> None:
    """Print a CSV with what a trained model makes of new files, prepared as in its training."""
    from lehr.base.files import save_file
    from lehr.cli.job import check_device
    from lehr.cli.trained import open_trained

    with errors(debug, code=USAGE):
        check_device(device)
        options.check_out(out, overwrite=overwrite)
    with errors(debug, code=FAILURE):
        trained = open_trained(run, model, device)
        rows = _predictions(trained, list(_expanded(files)), batch_size or 64)
        if (first := next(rows, None)) is None:
            raise ValueError("the files hold no items. Give files with something to predict.")
        lines: Iterable[Sequence[str]] = chain([_head(trained, len(first) - 1), first], rows)
        if safe_csv:
            lines = (list(map(safe_cell, row)) for row in lines)
        if out is None:
            shown = (map(printable, row) for row in lines) if is_terminal(sys.stdout) else lines
            csv.writer(Output(sys.stdout, exact=True), lineterminator="\n").writerows(shown)
        else:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(lines)
            save_file(out, text.getvalue().encode("utf-8", "surrogateescape"))


def _say_errors(regression: "Regression | None") -> None:
    """How far predicted numbers are off, in the units of the target."""
    from lehr.base.numbers import plain

    if regression is not None:
        say(f"mae: {plain(regression.mae)}")
        say(f"rmse: {plain(regression.rmse)}")
        if regression.r2 is not None:
            say(f"r2: {regression.r2:.4f}")


def _split(text: str | None) -> Split | None:
    match text:
        case None | "train" | "valid" | "test" | "all":
            return text
        case _:
            todo = did_you_mean(text, ["train", "valid", "test", "all"])
            raise ValueError(f"there is no split {text!r}. {todo}")


def _open(
    trained: "Trained", path: str, split: Split, batch_size: int | None, skip_broken: bool | None
) -> "DataBunch":
    from lehr import data
    from lehr.cli.recipes import kind_of

    settings = trained.settings
    chosen: dict[str, Any] = {"preparation": trained.preparation}
    kind = kind_of(path)
    if kind != trained.preparation.kind:
        raise ValueError(
            f"the run was trained on data of the kind {trained.preparation.kind}; {path} is of the "
            f"kind {kind}. Give data like those of the training."
        )
    if path == settings["data"]:
        kept = dict(settings.get("data_options", {}))
        for name in ("augment", "size", "normalize"):  # the preparation says these
            kept.pop(name, None)
        chosen |= kept
    elif trained.preparation.kind == "table":
        chosen["target"] = settings["data_options"].get("target")
    if split in ("test", "all"):
        chosen["split"] = split
    if skip_broken:
        chosen["skip_broken"] = True
    return data.open_data(path, batch_size or settings["batch_size"], **chosen)


def _expanded(files: Iterable[Path]) -> Iterator[Path]:
    for path in files:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.name[0] != ".")
            if not inside:
                raise FileNotFoundError(f"{path} holds no files. Give files to predict.")
            yield from inside
        elif not path.is_file():
            raise FileNotFoundError(f"there is no file {path}. Give files to predict.")
        else:
            yield path


def _predictions(trained: "Trained", files: Sequence[Path], batch_size: int) -> Iterator[list[Any]]:
    learn, classes = trained.learner(), trained.preparation.classes
    for names, xb in trained.preparation.batches(files, batch_size):
        pred: Tensor = learn.predict(xb)
        numbers = pred.softmax(1) if classes else trained.preparation.answers(pred).flatten(1)
        for name, row in zip(names, cast(list[list[float]], numbers.tolist()), strict=True):
            best = [classes[row.index(max(row))]] if classes else []
            yield [name, *best, *(f"{value:.6g}" for value in row)]


def _head(trained: "Trained", columns: int) -> list[str]:
    if trained.preparation.classes:
        return ["file", "prediction", *trained.preparation.classes]
    numbered = [f"prediction_{i}" for i in range(columns)]
    return ["file", *(numbered if columns > 1 else ["prediction"])]
