"""``lehr train``: from the data's name to a report.

Help and completion need the declaration alone: what trains is imported when it is called.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from lehr.base.output import forgiving_output
from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors
from lehr.cli.processes import among, engine_here, is_one_of_several, launch

if TYPE_CHECKING:
    from lehr.engine import Engine


@app.command(epilog="Example: lehr train digits --model mlp --epochs 5 --schedule constant")
def train(
    context: typer.Context,
    source: options.Data,
    model: options.Model = None,
    weights: options.Weights = None,
    freeze_epochs: options.FreezeEpochs = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.LR = None,
    schedule: options.ScheduleText = "one_cycle",
    opt: options.Opt = None,
    weight_decay: options.WeightDecay = None,
    label_smoothing: options.LabelSmoothing = None,
    patience: options.Patience = None,
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
    checkpoint_every: options.CheckpointEvery = None,
    layer_stats: options.LayerStats = None,
    processes: options.Processes = None,
    out: Annotated[Path | None, Option(help="A new folder; else runs/DATA-DATE-TIME.")] = None,
    quiet: options.Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a model on DATA, with settings that suit it, and keep the results in a run folder."""
    from lehr.cli.job import prepare

    with errors(debug, code=USAGE):
        settings = prepare(context.params)
        if out is not None and out.exists() and not is_one_of_several():
            raise FileExistsError(f"{out} exists, and --out must be new. Choose another name.")
    if processes is not None and processes > 1 and not is_one_of_several():
        words = [
            *shlex.split(settings["command"])[1:],
            *(["--debug"] if debug else []),
            *(["--quiet"] if quiet else []),
        ]
        raise typer.Exit(launch(processes, [*words, *(["--out", str(out)] if out else [])]))
    with errors(debug, code=FAILURE), forgiving_output("The training"):
        engine = engine_here()
        with among(engine, "lehr train"):
            _train(settings, engine, out, quiet=quiet)


def _train(settings: dict[str, Any], engine: "Engine", out: Path | None, *, quiet: bool) -> None:
    from lehr.cli.data_sum import data_sum
    from lehr.cli.fitting import carry_out, say_plan, take_part
    from lehr.cli.job import open_job
    from lehr.cli.sweep import settle_lr
    from lehr.report import RunFolder

    if out is not None and engine.rank == 0:
        RunFolder.refuse_existing(out)
    if (checksum := data_sum(settings["data"])) is not None:
        settings["data_sum"] = checksum
    if engine.world > 1:
        settings["processes"] = engine.world
    job, name = open_job(settings, engine), Path(settings["data"]).stem
    job.learn.progress = not quiet
    say_plan(job)
    sweep = settle_lr(job)
    if engine.rank == 0:
        folder = RunFolder.create(out) if out else RunFolder.create_unique(name)
        engine.same(folder.path)
        if sweep is not None:
            sweep.save(folder.path)
        carry_out(job, folder, searched_seconds=0.0 if sweep is None else sweep.seconds)
    else:
        take_part(job, engine.same(None))
