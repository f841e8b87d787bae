"""``lehr train``: from the data's name to a report."""

import time
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from lehr.callbacks import EarlyStopping
from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors
from lehr.cli.job import Job, open_job, prepare
from lehr.report import RunFolder


@app.command(epilog="Example: lehr train digits --model mlp --epochs 5 --schedule constant")
def train(
    context: typer.Context,
    source: options.Data,
    model: options.Model = None,
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
    regression: options.Regression = None,
    missing: options.Missing = None,
    skip_broken: options.SkipBroken = None,
    num_workers: options.Workers = None,
    out: Annotated[Path | None, Option(help="A new folder; else runs/DATA-DATE-TIME.")] = None,
    debug: Debug = False,
) -> None:
    """Train a model on DATA, with settings that suit it, and keep the results in a run folder."""
    with errors(debug, code=USAGE):
        settings = prepare(context.params)
    with errors(debug, code=FAILURE):
        if out is not None:
            RunFolder.refuse_existing(out)
        job = open_job(settings)
        folder = (
            RunFolder.create(out) if out else RunFolder.create_unique(Path(settings["data"]).stem)
        )
        _say_plan(job)
        begin = time.perf_counter()
        try:
            with folder.keep(job.learn, job.settings):
                job.learn.fit(job.settings["epochs"], job.callbacks)
        finally:
            _say_result(job, time.perf_counter() - begin)
            typer.echo(f"run folder: {folder.path}")
            if (report := folder.path / "report.html").is_file():
                typer.echo(f"report: {report}")


def _say_plan(job: Job) -> None:
    settings, learn = job.settings, job.learn
    parts = [f"{len(learn.data.train_ds):,} items to train on"]
    parts.append(f"{len(learn.data.valid_ds):,} to validate on")
    count = sum(p.numel() for p in learn.model.parameters())
    smoothing = settings["label_smoothing"]
    loss = f"cross-entropy, label_smoothing {smoothing}"
    loss = "mean squared error" if smoothing is None else loss
    found = " (found by a sweep)" if "lr_found" in settings else ""
    plan = {
        "data": ", ".join([settings["data"], *parts]),
        "model": f"{settings['model']}, {count:,} parameters",
        "loss": loss,
        "opt": f"{settings['opt']}, weight_decay {settings['weight_decay']}",
        "lr": f"{settings['schedule']!r}{found}",
    }
    for name, value in plan.items():
        typer.echo(f"{name:<7}{value}")


def _say_result(job: Job, seconds: float) -> None:
    rows = job.learn.run.history.rows if job.learn.run else []
    measured = {row["epoch"]: row["accuracy"] for row in rows if row.get("accuracy") is not None}
    if not measured:
        return
    kept = [cb.best_epoch for cb in job.callbacks if isinstance(cb, EarlyStopping)]
    if kept and kept[0] in measured:
        told = f"{measured[kept[0]]:.4f}, of epoch {kept[0]}, whose weights are kept"
    else:
        best = max(measured, key=measured.__getitem__)
        told = f"{measured[max(measured)]:.4f}, best {measured[best]:.4f} in epoch {best}"
    typer.echo(f"accuracy: {told}; {seconds:.0f} s")
