"""What ``lehr train`` and ``lehr resume`` share: to train, to keep it, and to say how it went."""

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lehr import Callback, Learner
from lehr.callbacks import Checkpoint
from lehr.cli.app import is_terminal, say
from lehr.cli.job import Job
from lehr.cli.pretrained import in_words
from lehr.engine import ALONE
from lehr.models import is_import_path
from lehr.report import RunFolder
from lehr.transfer import LEAST, tuning_schedule


def checkpoints_of(run: Path) -> Path:
    """The folder of a run's checkpoints."""
    return run / "checkpoints"


def has_checkpoints(run: Path) -> bool:
    """Whether there is something to go on from, be it damaged."""
    return any(checkpoints_of(run).glob("step-*"))


def carry_out(
    job: Job, folder: RunFolder, *, resumed: bool = False, searched_seconds: float = 0.0
) -> None:
    """Train, keep everything in a run folder, and say what came of it.

    Args:
        job: what to train.
        folder: where to keep it.
        resumed: go on from the newest checkpoint there.
        searched_seconds: what the search for a learning rate took; it is counted.

    Raises:
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, once everything is written.
        Exception: the training's own.
    """
    origin = " (found by a sweep)" if "lr_found" in job.settings else ""
    if job.learn.progress and is_terminal(sys.stdout):
        run = shlex.quote(str(folder.path))
        say(f"run    {folder.path} (from another terminal: lehr watch {run})")
    _say_facts({"lr": f"{_rates(job.settings)}{origin}"}, job.learn)
    begin = time.perf_counter() - searched_seconds
    try:
        try:
            with folder.keep(job.learn, job.settings, resumed=resumed):
                _fit(job, folder.path, resumed=resumed)
        finally:
            _say_result(job, time.perf_counter() - begin)
            say(f"run folder: {folder.path}")
            if (report := folder.path / "report.html").is_file():
                say(f"report: {report}")
    except (KeyboardInterrupt, SystemExit):
        if has_checkpoints(folder.path):
            say(f"to go on: {resume_command(folder.path, job.settings)}")
        raise
    except Exception:
        if has_checkpoints(folder.path) and _failed_in_a_batch(job):
            say(f"to see that step again: {_command('replay', folder.path, job.settings)}")
        raise


def take_part(job: Job, folder: Path, *, resumed: bool = False) -> None:
    """Train with another process, which keeps everything in a run folder."""
    _fit(job, folder, resumed=resumed)


def resume_command(run: Path, settings: Mapping[str, Any]) -> str:
    """What to type to go on with a run.

    Example:
        >>> resume_command(Path("runs/my photos"), {"model": "nets.py:Net"})
        "lehr resume 'runs/my photos' --model nets.py:Net"
    """
    return _command("resume", run, settings)


def _command(name: str, run: Path, settings: Mapping[str, Any]) -> str:
    own = ["--model", settings["model"]] if is_import_path(settings["model"]) else []
    return shlex.join(["lehr", name, str(run), *own])


def _failed_in_a_batch(job: Job) -> bool:
    return job.learn.run is not None and "failed" in job.learn.run.history.meta


def _fit(job: Job, run: Path, *, resumed: bool) -> None:
    checkpoints, every = checkpoints_of(run), job.settings["checkpoint_every"]
    saving: list[Callback] = []
    if every != "never":
        saving.append(Checkpoint(checkpoints, every=every, monitor="valid_loss"))
    done = job.learn.fit(
        job.settings["epochs"],
        [*job.callbacks, *saving],
        resume=checkpoints if resumed else None,
    )
    job.learn.engine = ALONE  # what is still to be looked at, the first process looks at alone
    if done.interrupted is not None:  # by a callback: signals raise by themselves
        raise KeyboardInterrupt(done.interrupted)


def say_plan(job: Job) -> None:
    """Say what is going to be trained on what."""
    settings, learn = job.settings, job.learn
    parts = [f"{len(learn.data.train_ds):,} items to train on"]
    parts.append(f"{len(learn.data.valid_ds):,} to validate on")
    count = sum(p.numel() for p in learn.model.parameters())
    smoothing = settings["label_smoothing"]
    loss = f"cross-entropy, label_smoothing {smoothing}"
    loss = "mean squared error" if smoothing is None else loss
    plan = {
        "data": ", ".join([settings["data"], *parts]),
        "model": f"{settings['model']}, {count:,} parameters",
        "loss": loss,
        "opt": f"{settings['opt']}, weight_decay {settings['weight_decay']}",
    }
    if (begins := in_words(settings, learn.model)) is not None:
        plan["from"] = begins
    _say_facts(plan, learn)


def _rates(settings: Mapping[str, Any]) -> str:
    """What lr does."""
    schedule, lr = settings["schedule"], settings["lr"]
    if "freeze_epochs" not in settings:
        return repr(schedule)
    alone = settings["freeze_epochs"]
    usual = schedule == tuning_schedule(settings["epochs"] - alone, alone)
    course = "a cycle for the head, then one for all" if usual and alone else f"times {schedule!r}"
    return f"{lr:g} at the head, falling to {LEAST * lr:g} at the input; {course}"


def _say_facts(facts: Mapping[str, str], learn: Learner) -> None:
    if not learn.progress:
        return
    for name, value in facts.items():
        say(f"{name:<7}{value}")


def _say_result(job: Job, seconds: float) -> None:
    rows = job.learn.run.history.rows if job.learn.run else []
    name = "accuracy" if job.learn.metrics else "valid_loss"
    measured = {row["epoch"]: row[name] for row in rows if row.get(name) is not None}
    if not measured:
        return
    kept = next((cb.keeps for cb in job.callbacks if cb.keeps is not None), None)
    epoch = kept[0] if kept is not None and kept[0] in measured else max(measured)
    best = "the last" if kept is None else f"the best by {kept[1]}; its weights are kept"
    say(f"{name}: {measured[epoch]:.4f} in epoch {epoch}, {best}; {seconds:.0f} s")
