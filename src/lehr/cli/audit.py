"""``lehr audit``: does this model's initialisation work on these data?"""

import json
import re
from typing import Annotated

import typer
from typer import Argument, Option

from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors, say, terminal_width
from lehr.cli.look import Picture, check_picture, save_picture
from lehr.cli.options import CURES, MODELS
from lehr.cli.words import as_options


@app.command(epilog="Example: lehr audit cnn --data mnist --repair kaiming")
def audit(
    context: typer.Context,
    model: Annotated[
        str,
        Argument(
            metavar="MODEL",
            help=f"{', '.join(MODELS)}; or your own, as package.module:Name or "
            "path/to/file.py:Name.",
            autocompletion=lambda: list(MODELS),
        ),
    ],
    source: Annotated[
        str,
        Option(
            "--data",
            help="What to send through it: anything that lehr train takes.",
            autocompletion=options.complete_data,
        ),
    ] = "digits",
    repair: Annotated[
        str | None,
        Option(
            help=f"Initialise anew and look again: {', '.join(CURES)}.",
            autocompletion=lambda: list(CURES),
        ),
    ] = None,
    batch_size: options.BatchSize = 128,
    label_smoothing: options.LabelSmoothing = None,
    seed: options.Seed = None,
    device: options.DeviceName = None,
    size: options.Size = None,
    target: options.Target = None,
    columns: options.Columns = None,
    exclude: options.Exclude = None,
    regression: options.Regression = None,
    missing: options.Missing = None,
    skip_broken: options.SkipBroken = None,
    as_json: Annotated[bool, Option("--json", help="Print everything as JSON instead.")] = False,
    strict: Annotated[bool, Option("--strict", help="Exit with 1 if there is a problem.")] = False,
    out: Picture = None,
    overwrite: options.Overwrite = False,
    debug: Debug = False,
) -> None:
    """Send one batch through a fresh model and back; say where signal or gradient is lost."""
    from lehr.cli.job import known, open_job, prepare

    with errors(debug, code=USAGE):
        if repair is not None:
            known("repair", repair, dict.fromkeys(CURES))
        check_picture(out, overwrite=overwrite)
        settings = prepare({**context.params, "lr": "1e-3", "weights": "none"})
    with errors(debug, code=FAILURE):
        result = open_job(settings).learn.audit(repair=repair)
        say(json.dumps(result.to_dict()) if as_json else as_options(result.text(terminal_width())))
        named = re.search(r"repair='(\w+)'", " ".join(one.text for one in result.problems))
        if named and repair is None and not as_json:
            say(f"\nto see it mended: the same command with --repair {named[1]}")
            say(f"in Python, before fit: learn.audit(repair={named[1]!r})")
        save_picture(result.plot, out, panels=2)
    if strict and not result.healthy:
        raise typer.Exit(FAILURE)
