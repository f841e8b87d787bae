"""``lehr resume``: to go on where a training was stopped."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from lehr.base.output import forgiving_output
from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors, say
from lehr.cli.processes import among, engine_here, launch

if TYPE_CHECKING:
    from lehr.cli.job import Job
    from lehr.engine import Engine


@app.command(epilog="Example: lehr resume runs/digits-20260101-120000")
def resume(
    run: options.Run,
    epochs: Annotated[
        int | None,
        Option(
            help="Make it so many epochs long. The schedule, which spans the whole run, is "
            "stretched: lr goes on at its value for the share of the longer run that is done.",
            min=1,
        ),
    ] = None,
    checkpoint_every: options.CheckpointEvery = None,
    processes: Annotated[
        int | None,
        Option(
            "--processes",
            help="Go on in so many processes, on this machine; by default in as many as before.",
            min=1,
        ),
    ] = None,
    model: options.OwnModel = None,
    device: options.DeviceName = None,
    quiet: options.Quiet = False,
    debug: Debug = False,
) -> None:
    """Go on with a training that was stopped in any way, bit for bit as if it had not been."""
    from lehr.cli.job import check_device, check_interval
    from lehr.cli.reopen import require_checkpoints
    from lehr.cli.trained import stored_settings
    from lehr.report.record import read_config

    with errors(debug, code=USAGE):
        check_device(device)
        check_interval(checkpoint_every or "never")
    changes = {"epochs": epochs, "checkpoint_every": checkpoint_every, "device": device}
    changes |= {"model": model}
    with errors(debug, code=FAILURE), forgiving_output("The training"):
        engine = engine_here()
        with among(engine, "lehr resume"):
            config = read_config(run)
            settings = stored_settings(run, config)
            longer = _is_longer(run, config, epochs)
            if not longer and _is_complete(run, config):
                _say_complete(run, config)
                return
            require_checkpoints(run, config)
            if engine.rank == 0:
                _require_nobody_else(run)
            count = settings.get("processes", 1) if processes is None else processes
            if count > 1 and engine.world == 1:
                flags = [f"--{name}" for name, on in {"quiet": quiet, "debug": debug}.items() if on]
                raise typer.Exit(launch(count, ["resume", str(run), *_as_words(changes), *flags]))
            _resume(run, config, engine, longer=longer, quiet=quiet, **changes)


def _as_words(given: Mapping[str, Any]) -> list[str]:
    """Options as they are typed.

    Example:
        >>> _as_words({"checkpoint_every": "2 epochs", "model": None})
        ['--checkpoint-every', '2 epochs']
    """
    typed = {f"--{name.replace('_', '-')}": v for name, v in given.items() if v is not None}
    return [str(word) for option in typed.items() for word in option]


def _resume(
    run: Path,
    config: Mapping[str, Any],
    engine: "Engine",
    *,
    longer: bool,
    quiet: bool,
    **changes: Any,
) -> None:
    from lehr.cli.fitting import carry_out, say_plan, take_part
    from lehr.cli.reopen import reopen
    from lehr.report import RunFolder

    before = config["settings"]["epochs"]
    job = reopen(run, config, engine=engine, **changes)
    if engine.world > 1 or "processes" in job.settings:  # as `lehr train` writes it
        job.settings["processes"] = engine.world
    if longer:
        say(_longer(job, before, _newest_step(run)))
        said = r".*not bit for bit exact: epochs \d+ → \d+$"
        warnings.filterwarnings("ignore", said)  # until `errors` puts the filters back
    job.learn.progress = not quiet
    say_plan(job)
    if engine.rank == 0:
        carry_out(job, RunFolder(run), resumed=True)
    else:
        take_part(job, run, resumed=True)


def _is_complete(run: Path, config: Mapping[str, Any]) -> bool:
    return config.get("status") == "finished" and (run / "model.safetensors").is_file()


def _say_complete(run: Path, config: Mapping[str, Any]) -> None:
    from lehr.cli.fitting import has_checkpoints, resume_command

    settings, reason = config["settings"], config.get("stop_reason")
    say(f"{run} is complete: {reason or _count(settings['epochs'])}.")
    if reason is None and has_checkpoints(run):
        command = resume_command(run, settings)
        say(f"to make it longer: {command} --epochs {2 * settings['epochs']}")


def _is_longer(run: Path, config: Mapping[str, Any], epochs: int | None) -> bool:
    from lehr.cli.reopen import anew

    planned, reason = config["settings"]["epochs"], config.get("stop_reason")
    if epochs is None or epochs == planned:
        return False
    if epochs < planned:
        raise ValueError(
            f"epochs must be more than the {planned} that {run} has; got {epochs}. A run cannot be "
            "made shorter: stop it when it is long enough."
        )
    if config.get("status") == "finished" and reason is not None:
        raise ValueError(
            f"{run} was not ended by its number of epochs, and more of them would not change that: "
            f"{reason}. Instead, {anew(config['settings'])}"
        )
    return True


def _require_nobody_else(run: Path) -> None:
    from lehr.cli.fitting import checkpoints_of
    from lehr.state.disk.checkpoint_folder import CheckpointFolder

    try:
        CheckpointFolder(checkpoints_of(run)).open("").close()
    except RuntimeError as error:
        raise ValueError(
            f"{run} is being trained by another process. Wait for it, or end it first."
        ) from error


def _newest_step(run: Path) -> int:
    from lehr.cli.fitting import checkpoints_of
    from lehr.state.disk.checkpoint_folder import CheckpointFolder

    return max((one.step for one in CheckpointFolder(checkpoints_of(run)).all()), default=0)


def _longer(job: "Job", epochs: int, step: int) -> str:
    """What becomes of the schedule."""
    schedule, batches = job.settings["schedule"], len(job.learn.data.train_dl)
    before = schedule(max(step - 1, 0) / (epochs * batches))
    after = schedule(step / (job.settings["epochs"] * batches))
    if "freeze_epochs" in job.settings:  # then it is a factor
        before, after = (job.settings["lr"] * factor for factor in (before, after))
    change = f"{_count(epochs)} → {job.settings['epochs']}"
    if before == after:
        return change
    return (
        f"{change}: {schedule!r} spans the whole run and is stretched, so lr, which had come to "
        f"{before:.3g}, goes on at {after:.3g}"
    )


def _count(epochs: int) -> str:
    return f"{epochs} epoch{'s' * (epochs != 1)}"
