"""``lehr export``: a trained model as a program that needs neither its code nor lehr."""

import json
from pathlib import Path
from typing import Annotated

from typer import Option

from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors, say
from lehr.errors import did_you_mean

FORMATS = ("pt2", "onnx")


@app.command(epilog="Example: lehr export runs/digits-20260101-120000 --to onnx")
def export(
    run: options.Run,
    to: Annotated[
        str,
        Option(
            help="pt2, for torch.export.load, or onnx, where that package is installed.",
            autocompletion=lambda: list(FORMATS),
        ),
    ] = "pt2",
    out: Annotated[
        Path | None, Option(help="The file to write; else model.pt2 or model.onnx in the run.")
    ] = None,
    overwrite: options.Overwrite = False,
    model: options.OwnModel = None,
    debug: Debug = False,
) -> None:
    """Write a trained model as one file that gives what lehr predict gives, checked before."""
    with errors(debug, code=USAGE):
        if to not in FORMATS:
            raise ValueError(f"there is no format {to!r}. {did_you_mean(to, FORMATS)}")
        path = out or run / f"model.{to}"
        if path.suffix != f".{to}":
            raise ValueError(f"--out must end in .{to}; got {path}. Give another name, or --to.")
        options.check_out(out, overwrite=overwrite)
    with errors(debug, code=FAILURE):
        import torch

        from lehr.cli.trained import Answering, open_trained
        from lehr.export import check_ending, write_program

        check_ending(path)
        trained = open_trained(run, model, "cpu")
        preparation = trained.preparation
        xb = torch.randn(2, *preparation.item_shape, generator=torch.Generator().manual_seed(0))
        notes = {"preparation.json": json.dumps(preparation.to_dict())}
        write_program(Answering(trained.model, preparation), xb, path, notes)
        shape = ", ".join(["items", *map(str, preparation.item_shape)])
        what = "the probability of each class" if preparation.classes else "in the target's units"
        say(f"program: {path}")
        say(f"input:   float32 ({shape}), prepared as preparation.json in it says")
        say(f"output:  float32 (items, {trained.settings['outputs']}), {what}")
