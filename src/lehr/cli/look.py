"""Commands that look before anything is trained: ``find-lr``, ``schedule``, ``explain``.

Help and completion need the declarations alone: what works is imported when it is called.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors, say, terminal_width
from lehr.cli.chart import chart

Picture = Annotated[
    Path | None, Option(help="Also draw it into this file: .png, .svg or .pdf.", dir_okay=False)
]


@app.command("find-lr", epilog="Example: lehr find-lr digits --model mlp --opt sgd")
def find_lr(
    context: typer.Context,
    source: options.Data,
    model: options.Model = None,
    weights: options.Weights = None,
    batch_size: options.BatchSize = None,
    opt: options.Opt = None,
    weight_decay: options.WeightDecay = None,
    label_smoothing: options.LabelSmoothing = None,
    seed: options.Seed = None,
    device: options.DeviceName = None,
    size: options.Size = None,
    augment: options.Augment = None,
    valid_share: options.ValidShare = None,
    target: options.Target = None,
    columns: options.Columns = None,
    exclude: options.Exclude = None,
    regression: options.Regression = None,
    missing: options.Missing = None,
    skip_broken: options.SkipBroken = None,
    num_workers: options.Workers = None,
    cache: options.Cache = None,
    start: Annotated[float, Option(help="The first learning rate.")] = 1e-6,
    end: Annotated[float, Option(help="The rate that the sweep approaches.")] = 10.0,
    steps: Annotated[int, Option(help="Batches to train on.")] = 100,
    out: Picture = None,
    overwrite: options.Overwrite = False,
    debug: Debug = False,
) -> None:
    """Train for a moment while lr rises, draw the loss, and suggest what to train with."""
    from lehr.cli.job import open_job, prepare
    from lehr.cli.sweep import sweep_progress

    with errors(debug, code=USAGE):
        settings = prepare({**context.params, "lr": "1e-3"})
        check_picture(out, overwrite=overwrite)
    with errors(debug, code=FAILURE):
        learn = open_job(settings).learn
        curve = learn.find_lr(start, end, steps=steps, callbacks=sweep_progress(learn, steps))
        say(chart(curve.lrs, curve.smoothed, log_x=True, limits=curve.limits, width=_drawing()))
        if curve.suggestion is None:
            raise ValueError(
                f"the loss does not fall at any learning rate from {start:g} to {end:g}. Look at "
                "the data and the model, or give another --start and --end."
            )
        say(f"suggestion: {curve.suggestion:.3g}")
        save_picture(curve.plot, out)


@app.command(epilog="Example: lehr schedule 'one_cycle(0.5)'")
def schedule(
    text: Annotated[
        str,
        Argument(
            metavar="SCHEDULE",
            help="An expression of lehr.schedules, such as 'one_cycle(0.5)'; or a bare name, "
            f"drawn to a peak of 1: {', '.join(options.SCHEDULES)}.",
            autocompletion=lambda: list(options.SCHEDULES),
        ),
    ],
    steps: Annotated[
        int | None, Option(help="Print the value at each of so many steps.", min=1)
    ] = None,
    out: Picture = None,
    overwrite: options.Overwrite = False,
    debug: Debug = False,
) -> None:
    """Draw a schedule over the share of the fit that is done."""
    from lehr.schedules.text import parse_schedule

    with errors(debug, code=USAGE):
        curve = parse_schedule(text, peak=1.0)
        check_picture(out, overwrite=overwrite)
    with errors(debug, code=FAILURE):
        save_picture(curve.plot, out)
        if steps is None:
            at = [i / 400 for i in range(401)]
            say(repr(curve))
            say(chart(at, [curve(pos) for pos in at], width=_drawing()))
        else:
            for step in range(steps):
                say(f"{step}\t{curve(step / steps):.6g}")


@app.command(epilog="Example: lehr explain digits --patience 5")
def explain(
    context: typer.Context,
    source: options.Data,
    model: options.Model = None,
    weights: options.Weights = None,
    batch_size: options.BatchSize = None,
    opt: options.Opt = None,
    schedule: options.ScheduleText = "one_cycle",
    patience: options.Patience = None,
    seed: options.Seed = None,
    device: options.DeviceName = None,
    size: options.Size = None,
    target: options.Target = None,
    columns: options.Columns = None,
    exclude: options.Exclude = None,
    regression: options.Regression = None,
    missing: options.Missing = None,
    skip_broken: options.SkipBroken = None,
    debug: Debug = False,
) -> None:
    """Show what lehr train DATA would run: the model's layers, and the loop with its callbacks."""
    from lehr.cli.job import open_job, prepare
    from lehr.cli.recipes import recipe_for

    with errors(debug, code=USAGE):
        finds = recipe_for(source).lr is None and "(" not in schedule
        settings = prepare({**context.params, "lr": "1e-3" if finds else None})
    with errors(debug, code=FAILURE):
        job = open_job(settings)
        say(f"{job.learn.summary()}\n")
        say(job.learn.explain(job.callbacks))


def _drawing() -> int:
    """The width of a drawing, with room for the numbers beside it."""
    room = terminal_width()
    return 64 if room is None else max(16, min(64, room - 12))


def check_picture(out: Path | None, *, overwrite: bool) -> None:
    """See that a picture can be saved there, before there is one.

    Raises:
        FileNotFoundError: there is no such folder.
        FileExistsError: there is such a file, and it is not to be replaced.
        ValueError: there is no format of that ending.
    """
    options.check_out(out, overwrite=overwrite)
    if out is None:
        return
    from matplotlib.figure import Figure

    known = Figure().canvas.get_supported_filetypes()
    if out.suffix[1:].lower() not in known:
        raise ValueError(f"{out} must end in one of {', '.join(sorted(known))}, such as .png.")


def save_picture(plot: Callable[[Any], Any], out: Path | None, *, panels: int = 1) -> None:
    """Draw into a file, if one was named, and say so.

    Args:
        plot: draws into the axes that it is given; into a list of them if there are several.
        out: the file; its ending decides the format.
        panels: axes side by side.
    """
    if out is not None:
        from matplotlib.figure import Figure

        from lehr.base.drawing import save_figure

        figure = Figure(figsize=(7 if panels == 1 else 11, 4), dpi=150, layout="constrained")
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        plot(axes[0] if panels == 1 else axes)
        save_figure(figure, out)
        say(f"picture: {out}")
