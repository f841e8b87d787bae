"""Which checkpoint a past step can be reached from."""

from collections.abc import Sequence
from pathlib import Path

from lehr.loop.rests import Kept
from lehr.state.disk.checkpoint_folder import CheckpointFolder, Saved


def nearest_kept(
    folder: Path, run: str, rewinds: Sequence[tuple[int, int]], step: int
) -> Kept | None:
    """The last good checkpoint that a run went through before it made an optimizer step.

    Args:
        folder: of checkpoints.
        run: the run's id.
        rewinds: each time that the run went back: the step that it left, and that it went to. What
            was saved in between is no part of its past any more.
        step: number of the step, from 0.
    """

    def accept(saved: Saved) -> bool:
        later = rewinds[saved.manifest["rewinds"] :]
        in_its_past = all(saved.step <= to for _, to in later)
        return saved.run == run and saved.step <= step and in_its_past

    nearest, _ = CheckpointFolder(folder).newest(accept=accept)
    if nearest is None:
        return None
    about = nearest.manifest
    return Kept(
        about["step"], about["stage"], about["at_epoch"], nearest.snapshot, about["onlookers"]
    )
