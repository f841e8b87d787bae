"""From settings to a Learner: what every command that trains or looks at a model shares."""

import inspect
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import nn

from lehr import Callback, DataBunch, Learner, accuracy, data
from lehr.base.intervals import every as interval
from lehr.base.paths import path_of
from lehr.callbacks import (
    ActivationStats,
    Device,
    EarlyStopping,
    GradientStats,
    ParamScheduler,
    StopOnNonFinite,
    Timer,
)
from lehr.cli import pretrained
from lehr.cli.recipes import OPTIMIZERS, recipe_for
from lehr.cli.words import flag
from lehr.data.published.catalog import SOURCES, reader_for
from lehr.engine import ALONE, Engine
from lehr.errors import did_you_mean, real_number
from lehr.models import MODELS, is_import_path, is_packaged
from lehr.schedules import Schedule
from lehr.schedules.text import parse_schedule
from lehr.state import streams
from lehr.transfer import HEAD, groups_by_depth, tuning


@dataclass(frozen=True)
class Job:
    """One training as it was asked for: a Learner, its settings and what runs along.

    Attributes:
        settings: all that decides the training, as the run folder keeps it.
        learn: ready to fit.
    """

    settings: dict[str, Any]
    learn: Learner

    @cached_property
    def callbacks(self) -> list[Callback]:
        """Those for the fit, once it is settled what lr does."""
        return _callbacks(self.settings)

    def take_lr(self, lr: float) -> None:
        """Train with this learning rate, which is the highest.

        Raises:
            ValueError: it cannot be used.
        """
        self.settings["lr"] = lr
        if "freeze_epochs" not in self.settings:
            self.settings["schedule"] = check_schedule(self.settings["schedule"], lr)
            return
        groups: list[dict[str, Any]] = cast(Any, self.learn.opt).param_groups
        factor = lr / groups[-1]["lr"]
        for group in groups:
            group["lr"] *= factor


_SETTINGS = (
    *("model", "epochs", "batch_size", "lr", "schedule", "opt", "weight_decay"),
    *("label_smoothing", "patience", "seed", "device", "checkpoint_every"),
    *("layer_stats", "weights", "freeze_epochs"),
)
_USUAL = {"schedule": "one_cycle", "checkpoint_every": "1 epoch"}
_DATA_OPTIONS = (
    *("size", "augment", "valid_share", "target", "columns", "exclude", "regression", "missing"),
    *("skip_broken", "num_workers", "cache"),
)


def prepare(given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the settings from the recipe, and refuse what contradicts itself.

    Nothing is read yet; a seed is drawn if none is given.

    Args:
        given: what was asked for on the command line, by name of the option; None, or left out,
            where nothing was.

    Raises:
        ValueError: a name is unknown, a number out of range, or two settings contradict.
    """
    source = resolved(given["source"])
    recipe = recipe_for(source)
    given = {**dict.fromkeys(_SETTINGS), **given}
    options = {name: given[name] for name in _DATA_OPTIONS if given.get(name) is not None}
    for name in ("columns", "exclude"):
        if name in options:
            options[name] = [column.strip() for column in options[name].split(",")]
    _check_options(source, options)
    model = given["model"] and resolved_model(given["model"])
    named = model if is_packaged(model or "") else given["model"]
    start = pretrained.start(source, named, given["weights"])
    tuned = start.weights is not None
    if given["freeze_epochs"] is not None and not tuned:
        raise ValueError(
            "--freeze-epochs is for trainings that begin with --weights. Leave it out."
        )
    opt = known("optimizer", given["opt"] or "adamw", OPTIMIZERS)
    decay, usual_lr = OPTIMIZERS[opt].weight_decay, recipe.lr
    usual_decay = pretrained.WEIGHT_DECAY if tuned else recipe.weight_decay
    if tuned:
        usual_lr = OPTIMIZERS[opt].lr
    schedule = _USUAL["schedule"] if given["schedule"] is None else given["schedule"]
    settings: dict[str, Any] = {
        "data": source,
        "data_options": {**recipe.data, **start.data_options, **options},
        "model": start.model or recipe.model,
        "epochs": given["epochs"] or (pretrained.EPOCHS if tuned else recipe.epochs),
        "batch_size": given["batch_size"] or recipe.batch_size,
        "opt": opt,
        "weight_decay": usual_decay if decay is None else decay,
        "label_smoothing": recipe.label_smoothing,
        "lr": _lr(given["lr"], usual_lr, schedule),
        "schedule": schedule,
        "patience": given["patience"],
        "device": check_device(given["device"]),
        "checkpoint_every": check_interval(given["checkpoint_every"] or _USUAL["checkpoint_every"]),
        "layer_stats": bool(given["layer_stats"]),
        "seed": streams.draw_seed() if given["seed"] is None else given["seed"],
    }
    if settings["data_options"].get("augment") == "none":
        settings["data_options"]["augment"] = None
    for name, most in (("weight_decay", math.inf), ("label_smoothing", 1.0)):
        if given[name] is not None:
            settings[name] = _within(name, given[name], most)
    name = settings["model"]
    if name is not None and not is_import_path(name) and not is_packaged(name):
        known("model", settings["model"], MODELS)
    check_schedule(settings["schedule"], 0.1 if settings["lr"] == "auto" else settings["lr"])
    if start.config is not None:
        settings["architecture"] = start.config
    if tuned:
        settings |= {"weights": start.weights, **pretrained.tuning_settings(settings, given)}
    weights = start.weights if given["weights"] not in (None, pretrained.NONE) else given["weights"]
    words = {**given, "source": source, "model": model, "weights": weights}
    settings["command"] = _command(words, settings["seed"])
    return settings


def resolved(source: str) -> str:
    """Data that are somewhere, under a path that leads there from everywhere."""
    path = path_of(source)
    return str(path.resolve()) if source not in SOURCES and path.exists() else source


def resolved_model(name: str) -> str:
    """A model's name, or its import path; a file in that leads there from everywhere.

    Example:
        >>> resolved_model("mlp"), resolved_model("nets:Net")
        ('mlp', 'nets:Net')
    """
    if name.startswith("hf:"):
        folder = path_of(name.removeprefix("hf:"))
        return f"hf:{folder.resolve()}" if folder.is_dir() else name
    file, colon, attribute = name.rpartition(":")
    path = path_of(file)
    return f"{path.resolve()}{colon}{attribute}" if colon and path.is_file() else name


def open_job(settings: dict[str, Any], engine: Engine = ALONE, *, fresh: bool = True) -> Job:
    """Read the data, build the model and everything around it.

    A model that was left open in the settings is decided and written into them; a learning rate
    that is to be found stays ``"auto"`` (see `lehr.cli.sweep`).

    Args:
        settings: as `prepare` returns them.
        engine: the processes that train together.
        fresh: read the weights that the training is to begin with, if it has some; else its own
            will be loaded.
    """
    recipe = recipe_for(settings["data"])
    torch.set_num_threads(min(torch.get_num_threads(), recipe.threads or torch.get_num_threads()))
    bunch = data.open_data(settings["data"], settings["batch_size"], **settings["data_options"])
    xb, yb = bunch.train_ds[:1] if isinstance(bunch.train_ds, data.Dataset) else _first(bunch)
    shape = tuple(xb.shape[1:])
    settings["model"] = settings["model"] or ("resnet" if len(shape) == 3 else "mlp")
    settings["outputs"] = yb.shape[1] if bunch.c is None else bunch.c
    settings["items"] = [len(bunch.train_ds), len(bunch.valid_ds)]
    if bunch.c is None:
        if settings["label_smoothing"] not in (None, recipe.label_smoothing):
            raise ValueError(
                f"label_smoothing is for classes, but the target of {settings['data']} is a "
                "number. Leave --label-smoothing out."
            )
        settings["label_smoothing"] = None
    with streams.forked(streams.mix(settings["seed"])):  # the weights that lehr.seed would give
        model = pretrained.build_model(settings, shape, fresh=fresh)
    learn = learner(settings, model, bunch, engine)
    if "freeze_epochs" in settings:
        settings["schedule"] = pretrained.schedule_of(settings)
    elif settings["lr"] != "auto":
        settings["schedule"] = check_schedule(settings["schedule"], settings["lr"])
    return Job(settings, learn)


def learner(
    settings: Mapping[str, Any], model: nn.Module, bunch: DataBunch, engine: Engine = ALONE
) -> Learner:
    """A Learner with the optimizer, loss and metrics that the settings name."""
    cast(Any, model).to(memory_format=torch.channels_last)  # convolutions are a third faster so
    choice = OPTIMIZERS[settings["opt"]]
    lr = settings["lr"] if isinstance(settings["lr"], float) else 1e-3
    tuned = "freeze_epochs" in settings and settings["lr"] is not None
    parameters = groups_by_depth(model, lr=lr) if tuned else model.parameters()
    opt: Any = choice.make
    opt = opt(parameters, lr=lr, weight_decay=settings["weight_decay"], **choice.options)
    smoothing = settings["label_smoothing"]
    numbers = smoothing is None  # to predict, instead of classes
    loss = nn.MSELoss() if numbers else nn.CrossEntropyLoss(label_smoothing=smoothing)
    metrics = [] if numbers else [accuracy]
    accelerated = settings["device"] or torch.accelerator.is_available()
    device = [Device(settings["device"])] if accelerated else []
    seed = settings["seed"]
    return Learner(model, opt, loss, bunch, device, metrics, seed=seed, engine=engine)


def check_schedule(text: Any, lr: float | None) -> Schedule:
    """The schedule of the learning rate: an expression, or a name to be used with ``lr``.

    Raises:
        ValueError: it cannot be read, contradicts ``lr``, or falls below 0.
    """
    if lr is not None and not 0 < lr < float("inf"):
        raise ValueError(f"lr must be a number above 0; got {lr}. Give e.g. --lr 0.01.")
    schedule = parse_schedule(text, peak=lr)
    if (lowest := min(schedule(i / 1000) for i in range(1001))) < 0:
        raise ValueError(f"schedule must not go below 0; {text} falls to {lowest:g}. Change it.")
    return schedule


def check_device(name: str | None) -> str | None:
    """The device of that name, if there is one here; None leaves the choice.

    Raises:
        ValueError: there is none.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        names = ["cpu", *([here.type] if here else [])]
        raise ValueError(
            f"device must be one that is here; got {name!r}. Use --device {' or '.join(names)}."
        ) from error
    return name


def check_interval(text: str) -> str:
    """How often to save a checkpoint, or ``"never"``.

    Raises:
        ValueError: it is no such text.

    Example:
        >>> check_interval("500 steps")
        '500 steps'
    """
    if text != "never":
        units = ("steps", "epochs", "minutes", "seconds")
        interval(text, argument="checkpoint_every", units=units)
    return text


def _check_options(source: str, options: Mapping[str, Any]) -> None:
    read, what = reader_for(source)
    taken = inspect.signature(read).parameters
    for name in options:
        if name not in taken:
            able = [flag(other) for other in _DATA_OPTIONS if other in taken]
            given = "--classification" if options[name] is False else flag(name)
            raise ValueError(
                f"{given} is not for {what.rstrip(',')}. Leave it out; it takes {', '.join(able)}."
            )
    if "target" in taken and "target" not in options:
        raise ValueError(f"{what} needs --target, the name of the column to predict. Give it.")


def _command(given: Mapping[str, Any], seed: int) -> str:
    """The command that repeats this training."""
    words = ["lehr", "train", given["source"]]
    for name in (*_SETTINGS, *_DATA_OPTIONS):
        value = seed if name == "seed" else given.get(name)
        if value is not None and value != _USUAL.get(name):
            no = "classification" if name == "regression" else f"no_{name}"
            said = {True: [flag(name)], False: [flag(no)]}
            words += said[value] if isinstance(value, bool) else [flag(name), str(value)]
    return shlex.join(words)


def _lr(given: str | None, usual: float | None, schedule: str) -> float | str | None:
    """A number, ``"auto"``, or None where the schedule says all."""
    says_all = "(" in schedule
    if given is None and says_all:
        return None
    if given is None:
        return "auto" if usual is None else usual
    if says_all:
        raise ValueError(f"lr {given} has no place beside {schedule}, which says all. Give one.")
    if given == "auto":
        return given
    try:
        return float(given)
    except ValueError:
        raise ValueError(f"lr must be a number or auto; got {given!r}. Give e.g. 0.01.") from None


def _first(bunch: DataBunch) -> tuple[Any, Any]:
    return next(bunch.valid_dl.batches(seed=0, epoch=0))


def _callbacks(settings: Mapping[str, Any]) -> list[Callback]:
    waits = settings["device"] not in (None, "cpu") or torch.accelerator.is_available()
    course: list[Callback] = [ParamScheduler("lr", settings["schedule"])]
    if "freeze_epochs" in settings:
        course = tuning([HEAD], settings["freeze_epochs"], settings["schedule"])
    callbacks: list[Callback] = [
        *course,
        StopOnNonFinite(every=50 if waits else 1),
        EarlyStopping(patience=settings["patience"], restore_best=True),
        Timer(),
    ]
    if settings.get("layer_stats"):  # folders of earlier versions do not say
        callbacks += [ActivationStats(every=5), GradientStats(every=5)]
    return callbacks


def known(kind: str, name: str, allowed: Mapping[str, Any]) -> str:
    """``name`` if it is one of those allowed.

    Raises:
        ValueError: it is not; the message guesses which was meant.
    """
    if name not in allowed:
        raise ValueError(f"there is no {kind} {name!r}. {did_you_mean(name, allowed)}")
    return name


def _within(name: str, value: float, most: float) -> float:
    if not 0 <= real_number(name, value) <= most:
        allowed = "at least 0" if most == math.inf else f"from 0 to {most:g}"
        raise ValueError(f"{name} must be {allowed}; got {value:g}. Give e.g. 0.05.")
    return value
