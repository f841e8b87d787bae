"""``lehr replay``: a past step of a run, or what ended it, made again and looked at."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from typer import Option

from lehr.cli import options
from lehr.cli.app import FAILURE, USAGE, Debug, app, errors, say

if TYPE_CHECKING:
    from torch import Tensor

    from lehr.inspect.replay import Replay
    from lehr.report import RunRecord
    from lehr.state.disk.checkpoint import Checkpoint
    from lehr.state.disk.checkpoint_folder import Saved

_SHOWN = 5  # parameters with the largest gradients


@app.command(epilog="Example: lehr replay runs/digits-20260101-120000 --step 41")
def replay(
    run: options.Run,
    step: Annotated[
        int | None,
        Option(
            help="The number of the optimizer step; the first is 0. If left out, what ended the "
            "training: the step with an error or a loss that is not finite, the batch that could "
            "not be read, or the validation that raised.",
            min=0,
        ),
    ] = None,
    model: options.OwnModel = None,
    device: options.DeviceName = None,
    debug: Debug = False,
) -> None:
    """Make a past step of a training again, bit for bit, and say what happened in it.

    It is reached from the nearest checkpoint before it. Nothing in the run folder changes.
    """
    from lehr.cli.fitting import checkpoints_of
    from lehr.cli.job import check_device
    from lehr.cli.reopen import reopen, require_checkpoints
    from lehr.inspect.replay import replay_from
    from lehr.loop.rests import Kept
    from lehr.loop.run import Run
    from lehr.report import RunRecord
    from lehr.resume import differences
    from lehr.state.disk.checkpoint_folder import CheckpointFolder

    with errors(debug, code=USAGE):
        check_device(device)
    with errors(debug, code=FAILURE):
        record = RunRecord.read(run)
        require_checkpoints(run, record.config)
        failed = _failed(run) if step is None else {}
        wanted: int = failed["step"] if step is None else step
        past = lineage(CheckpointFolder(checkpoints_of(run)).all())
        known = _losses_in(record)
        _require_made(record, wanted, known, past)
        begin = _nearest(run, past, wanted)
        job = reopen(run, record.config, model=model, device=device)
        learn, callbacks = job.learn, job.learn.everybody(job.callbacks)
        length = {"epochs": _epochs_planned(past, wanted) or job.settings["epochs"]}
        plan = learn.planned(learn.data, callbacks, seed=learn.seed, **length)
        about = begin.manifest
        kept = Kept(
            about["step"], about["stage"], about["at_epoch"], begin.snapshot, about["onlookers"]
        )
        again = Run(learn, plan, callbacks)
        made = replay_from(learn, again, kept, wanted, [], failed=step is None)
        for line in lines_about(made, known, why=differences(about, again)):
            say(line)
        if failed.get("doing", "training") != "training" and made.error is None:
            say("Nothing is raised this time.")


def _failed(run: Path) -> dict[str, Any]:
    """What the capsule of a run folder says."""
    from lehr.cli.fitting import checkpoints_of
    from lehr.state.disk import capsule

    if (said := capsule.read(checkpoints_of(run))) is None:
        raise ValueError(f"no step of {run} has failed. Say which one is meant: --step 0.")
    say(f"the training ended here: {said['error']}")
    return said


def lineage(saved: Sequence["Saved"]) -> list["Saved"]:
    """The checkpoints that the newest one was reached through, the oldest first.

    A run that went on from an older one than the newest left what came after that one behind.

    Example:
        >>> from lehr.state.disk.checkpoint_folder import Saved
        >>> saved = [Saved(Path(), {"step": step}) for step in (0, 8, 16, 12, 20)]
        >>> [one.step for one in lineage(saved)]
        [0, 8, 12, 20]
    """
    older: list[Saved] = []
    for one in reversed(saved):
        if not older or one.step < older[-1].step:
            older.append(one)
    return older[::-1]


def lines_about(
    made: "Replay", known: Mapping[int, float], *, why: Iterable[str] = ()
) -> list[str]:
    """What happened in a step, in plain words, a line each.

    Args:
        made: the step, made again.
        known: the losses of the history by number of the batch; nan for one that is not finite.
        why: what is not as it was; said only if the step is not, either.
    """
    from lehr.inspect.replay import losses_of

    steps = made.step - made.began_at
    lines = [
        f"{_place(made)}, made again from the checkpoint of step {made.began_at}"
        + f", {steps} step{'s' * (steps > 1)} before" * (steps > 0)
    ]
    if made.losses:
        lines.append(f"loss: {', '.join(f'{loss:.8g}' for loss in made.losses)}")
    if (run := made.learn.run) is not None:
        lines.append(_compared(losses_of(run), known, why))
    if made.origin:
        lines.append(made.origin)
    if made.grads:
        norms = {name: float(cast("Tensor", g.float().norm())) for name, g in made.grads.items()}
        largest = sorted(norms, key=lambda name: (math.isfinite(norms[name]), -norms[name]))
        shown = ", ".join(f"{name} {norms[name]:.4g}" for name in largest[:_SHOWN])
        total = math.hypot(*norms.values())
        lines.append(f"gradient norm: {total:.4g}; the largest by parameter: {shown}")
    if made.error is not None:
        lines.append(f"it raises {type(made.error).__name__}: {made.error}")
    return lines


def _place(made: "Replay") -> str:
    failed = made.failed
    if failed is None or failed.doing == "training":
        many = "es" * (len(made.batches) > 1)
        batches = f", batch{many} {', '.join(map(str, made.batches))}" * bool(made.batches)
        return f"step {made.step} (epoch {made.epoch}{batches})"
    kind = "reading" if failed.doing == "reading" else "validation"
    what = "the validation" if failed.batch is None else f"{kind} batch {failed.batch}"
    return f"{what} of epoch {failed.epoch}, with {failed.step} steps done"


def _compared(made: Mapping[int, Any], known: Mapping[int, float], why: Iterable[str]) -> str:
    from lehr.inspect.replay import same_losses

    again, before = (
        {batch: loss if math.isfinite(loss) else None for batch, loss in losses.items()}
        for losses in (made, known)
    )
    both = [batch for batch in again if batch in before]
    same = same_losses(again, before)
    if same is None:
        return "The history holds no loss to compare with."
    if not same:
        first = next(batch for batch in both if again[batch] != before[batch])
        reasons = "; ".join(why)
        return (
            f"This is NOT as it was: the loss of training batch {first}, counted from 0, is "
            f"{made[first]:.9g}, and {known[first]:.9g} in the history."
            + f" What has changed since: {reasons}."
            * bool(reasons)
        )
    if max(again) in before:
        return "This is bit for bit as in the history."
    return "The history ends before it; what led to it is bit for bit as in the history."


def _losses_in(record: "RunRecord") -> dict[int, float]:
    points = record.series.get("loss")
    return dict(zip(points.batches, points.values, strict=True)) if points else {}


def _require_made(
    record: "RunRecord", step: int, known: Mapping[int, float], past: Sequence["Saved"]
) -> None:
    """See that the run came to the step, be it that it failed there."""
    made = max([batch + 1 for batch in known] + [saved.step for saved in past], default=0)
    last = made - (record.status == "finished")
    if step > last:
        raise ValueError(
            f"step must be at most {last}, the last of {record.path}; got {step}. The first is 0."
        )


def _nearest(run: Path, past: Sequence["Saved"], step: int) -> "Checkpoint":
    """The last good checkpoint from before a step."""
    from lehr.cli.fitting import checkpoints_of
    from lehr.resume import complete
    from lehr.state.disk.checkpoint_folder import CheckpointFolder

    paths = {saved.path for saved in past}
    newest, problems = CheckpointFolder(checkpoints_of(run)).newest(
        accept=lambda saved: saved.path in paths and saved.step <= step
    )
    if newest is None:
        raise ValueError(
            " ".join([f"no checkpoint of {run} from before step {step} can be used.", *problems])
        )
    if problems:
        warnings.warn(" ".join([f"{newest.path} is used.", *problems]), stacklevel=2)
    return complete(newest)


def _epochs_planned(past: Sequence["Saved"], step: int) -> int | None:
    """How long the run was to be when it made a step: it may have been made longer since."""
    from lehr.types import is_mapping

    later = (saved.manifest.get("settings") for saved in past if saved.step > step)
    return next((said.get("epochs") for said in later if is_mapping(said)), None)
