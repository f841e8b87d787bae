"""Finding the checkpoint that a fit goes on from, and bringing a run to where it was."""

import os
import warnings
from collections.abc import Container, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from lehr.base.intervals import EVERY_EPOCH
from lehr.base.nested import count_items
from lehr.base.paths import path_of
from lehr.callback import Callback
from lehr.engine import ALONE, Engine
from lehr.errors import ResumeWarning, add_note, notes_of, sentence
from lehr.loop.inventory import of_callbacks
from lehr.loop.past import bring
from lehr.loop.rests import Entry
from lehr.loop.settings import attached, settings
from lehr.state.disk import checkpoint, weights
from lehr.state.disk.checkpoint import Checkpoint
from lehr.state.disk.checkpoint_folder import CheckpointFolder
from lehr.state.disk.environment import environment
from lehr.state.entries import ModelState
from lehr.types import is_mapping, is_sequence

_OF_DATA = ("batches", "items", "data")


class Start(NamedTuple):
    """How a fit that is resumed begins."""

    seed: int
    """of all its streams"""
    entry: Entry
    """where its run is entered"""


def start_of(
    where: Any,
    learn: Any,
    callbacks: Iterable[Callback],
    length: Mapping[str, int | None],
    *,
    exact: bool,
) -> Start | None:
    """How a fit begins that goes on from a checkpoint; None if it starts anew.

    Args:
        where: as in `find`.
        learn: the Learner, which knows how many steps it made before this fit, and the processes
            that go on together.
        callbacks: those of the fit.
        length: of the fit, in ``epochs`` or ``steps``.
        exact: refuse what may change a bit, instead of a warning.

    Raises:
        TypeError, ValueError, FileNotFoundError: as `find` and `check_length` do.
        ValueError: another process would go on from another checkpoint.
    """
    saved = find(where, callbacks, learn.steps_done, learn.engine)
    paths = learn.engine.gather(None if saved is None else str(saved.path))
    if any(path != paths[0] for path in paths):
        named = ", ".join(f"rank {rank} {path}" for rank, path in enumerate(paths))
        raise ValueError(
            f"the processes would go on from different checkpoints: {named}. Give a folder that "
            "all of them see."
        )
    if saved is None:
        return None
    check_length(saved, epochs=length["epochs"], steps=length["steps"])
    return Start(saved.manifest["seed"], entry(saved, exact=exact))


def find(
    where: Any, callbacks: Iterable[Callback], began_at: int, engine: Engine = ALONE
) -> Checkpoint | None:
    """The checkpoint to go on from.

    Args:
        where: a folder of checkpoints, or one checkpoint in it, or ``"auto"``: the folder of the
            Checkpoint among ``callbacks``, and None is returned if there is nothing in it yet.
        callbacks: those of the fit.
        began_at: the optimizer steps that the Learner had made before this fit: the checkpoint must
            be one of a fit that began there, too.
        engine: the processes that read it together.

    Raises:
        TypeError: ``where`` is no path.
        ValueError: ``"auto"`` needs one Checkpoint, and there are none or several; or every
            checkpoint is damaged; or the one to go on from does not say where the fit was.
        FileNotFoundError: there is none of such a fit.
    """
    auto = where == "auto"
    if not isinstance(where, (str, os.PathLike)):
        raise TypeError(
            f'resume must be the path of a folder, or "auto"; got {where!r}. '
            'Write e.g. fit(10, resume="checkpoints").'
        )
    path = _folder_of(callbacks) if auto else path_of(cast("str | os.PathLike[str]", where))
    if (path / checkpoint.MANIFEST).exists():
        return _of_this_fit(complete(checkpoint.read(path, engine)), began_at)
    newest, problems = CheckpointFolder(path).newest(
        accept=lambda saved: saved.manifest.get("began_at") == began_at, engine=engine
    )
    if newest is None and problems:
        raise ValueError(
            f"no checkpoint in {path} can be used. {' '.join(problems)} Move them away to start "
            "anew."
        )
    if problems:
        warnings.warn(
            " ".join([f"{newest.path if newest else path} is used.", *problems]), stacklevel=4
        )
    if newest is None and not auto:
        raise FileNotFoundError(
            f"{path} holds no checkpoint of a fit that began at step {began_at}. Give the folder "
            'of a Checkpoint, or resume="auto", which starts anew if there is none.'
        )
    return newest and complete(newest)


def _folder_of(callbacks: Iterable[Callback]) -> Path:
    folders = [one.checkpoint_folder for one in callbacks if one.checkpoint_folder is not None]
    if len(folders) != 1:
        raise ValueError(
            f'resume="auto" asks the Checkpoint callback for its folder; there are {len(folders)} '
            "of them. Attach one, or give the folder."
        )
    return path_of(folders[0])


def complete(saved: Checkpoint) -> Checkpoint:
    """``saved``, if its manifest says all that a run needs to know to go on from it.

    Raises:
        ValueError: it does not.
    """
    from lehr.state.disk.manifest import About

    try:
        About.read_among(saved.manifest, checkpoint.MANIFEST)
    except ValueError as error:
        raise ValueError(
            f"{saved.path} cannot be gone on from: {sentence(error)} Was it written by a "
            "Checkpoint of this version? Use another checkpoint."
        ) from None
    return saved


def _of_this_fit(saved: Checkpoint, began_at: int) -> Checkpoint:
    if (began := saved.manifest.get("began_at")) != began_at:
        raise ValueError(
            f"{saved.path} is of a fit that began when the Learner had made {began} steps; this "
            f"one has made {began_at}. Resume in the fit that was stopped, with a fresh Learner."
        )
    return saved


def check_length(saved: Checkpoint, *, epochs: int | None, steps: int | None) -> None:
    """See that a fit is long enough to go on from a checkpoint.

    Raises:
        ValueError: it is over before.
    """
    epoch, within = saved.manifest["at_epoch"], saved.manifest["stage"] != "epoch"
    for unit, length, least in (
        ("steps", steps, saved.manifest["step"]),
        ("epochs", epochs, epoch + within),
    ):
        if length is not None and length < least:
            raise ValueError(
                f"{unit} must be at least {least}, which {saved.path} has begun; got {length}. "
                f"Give more {unit}, or an earlier checkpoint."
            )


def entry(saved: Checkpoint, *, exact: bool) -> Entry:
    """Where a run is to be entered to go on from a checkpoint."""

    def load(run: Any) -> None:
        awaited = _awaits_data(saved.manifest, run)
        changes = differences(saved.manifest, run, without=_OF_DATA if awaited else ())
        reread = _reread(saved.manifest, run)
        if changes and exact:
            raise _inexact(saved, changes)
        _check_optimizer(run, saved)
        if reread and exact:
            raise ValueError(f"{reread}, or leave out exact=True.")
        _check_order(run, saved)
        _check_states(run, saved)
        other_data = saved.manifest["settings"].get("data") != run.sources.said(run.epoch)
        onlookers = saved.manifest["onlookers"]
        try:
            bring(run, saved.snapshot, onlookers, other_data=other_data)
        except RuntimeError as error:
            if (other := _other_model(run, saved)) is None:
                raise
            for note in notes_of(error):
                add_note(other, note)
            raise other from None
        except (LookupError, AttributeError) as error:
            if not (notes := notes_of(error)):  # the names of the entries are not the same
                raise
            raise ValueError(
                f"{saved.path} does not hold what it should: {type(error).__name__}: {error}; "
                f"{' '.join(notes)} Was it changed, or saved by another version?"
            ) from error
        if awaited:
            run.sources.on_opening = partial(_see_data, saved=saved, exact=exact)
        if changes:
            _warn(changes)
        if reread:
            warnings.warn(f"{reread}.", ResumeWarning, stacklevel=2)

    return Entry(saved.manifest["stage"], saved.manifest["at_epoch"], load)


def _awaits_data(manifest: Mapping[str, Any], run: Any) -> bool:
    """Whether other data were assigned in the run, and may be again when its next epoch begins."""
    assigned = manifest["settings"].get("data", "") != run.sources.said(run.epoch)
    return assigned and manifest["stage"] == "epoch"


def _see_data(run: Any, saved: Checkpoint, exact: bool) -> None:
    then, now = saved.manifest["settings"]["data"], run.sources.said(run.epoch)
    if then == now:
        return
    changes = [
        f"{_change('data', then, now)}. What a callback assigned is not saved: let it assign in "
        "begin_epoch, in every epoch, what belongs to that epoch"
    ]
    if exact:
        raise _inexact(saved, changes)
    _warn(changes)


def _inexact(saved: Checkpoint, changes: list[str]) -> ValueError:
    return ValueError(
        f"resuming from {saved.path} would not be bit for bit exact: {'; '.join(changes)}. "
        "Put that back, or leave out exact=True."
    )


def _warn(changes: list[str]) -> None:
    warning = f"resuming is correct but not bit for bit exact: {'; '.join(changes)}"
    warnings.warn(warning, ResumeWarning, stacklevel=3)


def _reread(manifest: Mapping[str, Any], run: Any) -> str | None:
    """What there is to say about a loader that may yield other batches than it would have."""
    train = run.sources.at(run.epoch).train
    if not train.rereads or manifest["stage"] not in ("batch", "validated"):
        if not (drawn := train.out_of_sight):
            return None
        return (
            f"train_dl keeps its workers from epoch to epoch, and new ones begin with {drawn} as "
            "it was at first. Going on is exact only if they draw nothing from it. Use lehr's "
            "DataLoader with a dataset that draws from the global generators, or num_workers=0"
        )
    return (
        "train_dl cannot be entered in the middle: the batches of this epoch that were trained on "
        f"({manifest['batch'] + 1}) are read once more and left out. Going on is exact only if "
        "they come as they did. Use lehr's DataLoader, or a loader with state_dict and "
        "load_state_dict"
    )


def _other_model(run: Any, saved: Checkpoint) -> ValueError | None:
    """The error that says how what was saved differs from the model, if it does."""
    for name, one in run.state_entries().items():
        state = saved.snapshot.get(name)
        if not isinstance(one, ModelState) or not is_mapping(state):
            continue
        if unlike := weights.differences(one, state):
            what = name.replace("_", " ")
            return ValueError(
                f"{saved.path} is of a fit with another {what}; nothing was restored.\n{unlike}\n"
                f"Make the {what} as for that fit. Or make a fresh Learner, and take only the "
                "weights that fit: learn.load(…, strict=False)."
            )
    return None


def _check_optimizer(run: Any, saved: Checkpoint) -> None:
    """See that the optimizer is of the kind whose settings and state were saved, or as good."""
    then, now = saved.manifest["settings"].get("optimizer"), settings(run)["optimizer"]
    state, defaults = saved.snapshot.get("opt"), getattr(run.opt, "defaults", {})
    groups = state.get("param_groups") if is_mapping(state) else None
    if then == now or not is_sequence(groups):
        return
    lost = sorted(key for key in defaults if any(key not in group for group in groups))
    if lost:
        raise ValueError(
            f"{saved.path} is of a fit with {then}, and the Learner has {now}, whose settings "
            f"{', '.join(lost)} are not in it. Make the optimizer as for that fit; or make a fresh "
            "Learner, and take only the weights: learn.load(…). Nothing was restored."
        )


def _check_order(run: Any, saved: Checkpoint) -> None:
    """See that no callback would get the state of another of its class.

    Those of one class are told apart by a number, in the order of the list.
    """
    then, now = saved.manifest.get("attached", {}), attached(run)
    for name, shown in then.items():
        of_class = name.partition("#")[0]
        others = {o: other for o, other in now.items() if o.partition("#")[0] == of_class}
        moved = [o for o, other in others.items() if other == shown and then.get(o) != shown]
        if moved and now.get(name, shown) != shown and saved.snapshot.get(name):
            order = [then[o] for o in then if o.partition("#")[0] == of_class]
            raise ValueError(
                f"{saved.path} is of a fit with {', '.join(order)}, in this order, and now "
                f"{now[name]} would get the state of {shown}: callbacks of one class are told "
                "apart by their order. Attach them as they were. Nothing was restored. In a later "
                "fit, a name of its own for each (callback.name) tells them apart in any order."
            )


def _check_states(run: Any, saved: Checkpoint) -> None:
    """See that no callback lacks something that it declares, of another version, say."""
    for name, callback in of_callbacks(run.callbacks).items():
        state = saved.snapshot.get(name)
        if is_mapping(state):
            lost = [key for key in callback.state_dict() if key not in state]
            if lost and type(callback).state_dict is Callback.state_dict:
                raise KeyError(
                    f"{saved.path} has no {', '.join(map(repr, lost))} of {name}. Was it saved by "
                    "another version of this callback? Nothing was restored."
                )


def differences(
    manifest: Mapping[str, Any], run: Any, *, without: Container[str] = ()
) -> list[str]:
    """What is not as it was when the checkpoint was written and may change bits.

    Args:
        manifest: of the checkpoint.
        run: the run that goes on from it.
        without: names that are not compared.
    """
    then = {**manifest.get("environment", {}), **manifest.get("settings", {})}
    now = {**environment(), **settings(run)}
    names = [*then, *(name for name in now if name not in then)]
    pairs = [(name, then.get(name), now.get(name)) for name in names if name not in without]
    if not _goes_by_length(run, then):
        pairs = [pair for pair in pairs if pair[0] != "epochs"]
    return [_change(name, old, new) for name, old, new in pairs if old != new]


def _goes_by_length(run: Any, then: Mapping[str, Any]) -> bool:
    """Whether what was trained before may depend on how many epochs were planned.

    Validations that do not come with every epoch do, for there is one at the end; a callback does
    that declares ``by_length``, and a weight function of the user's own may.
    """
    plan = run.plan
    in_epochs = plan.steps is None and then.get("steps") is None
    if not in_epochs or (plan.valid and plan.validate_every != EVERY_EPOCH):
        return True
    return plan.weight is not count_items or any(
        callback.replays and callback.by_length for callback in run.callbacks
    )


def _change(name: str, old: Any, new: Any) -> str:
    if not (is_sequence(old) and is_sequence(new)):
        return f"{name} {old} → {new}"
    gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
    parts = [f"{word} {', '.join(some)}" for word, some in (("no", gone), ("new:", come)) if some]
    return f"{name}: {', '.join(parts) or 'in another order'}"
