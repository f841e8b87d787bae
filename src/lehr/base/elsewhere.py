"""Names that other libraries have, and how the same is written here."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from importlib.util import find_spec
from typing import Any, ParamSpec, TypeVar

from lehr.errors import did_you_mean

P = ParamSpec("P")
T = TypeVar("T")

_ONE_CYCLE = 'learn.fit(epochs, callbacks=[ParamScheduler("lr", one_cycle(lr))])'
_LOOK = "learn.find_lr().suggestion"

OF_A_LEARNER = {
    "fit_one_cycle": _ONE_CYCLE,
    "fit_flat_cos": 'learn.fit(epochs, callbacks=[ParamScheduler("lr", …)]), with a schedule',
    "fine_tune": "lehr.fine_tune(learn, epochs)",
    "freeze": "learn.fit(epochs, callbacks=[Freeze(…)])",
    "unfreeze": "learn.fit(epochs) without Freeze: it thaws what it froze when the fit ends",
    "lr_find": _LOOK,
    "lr_finder": _LOOK,
    "get_preds": "learn.predict(data, targets=True)",
    "tta": "a Callback whose predict calls proceed() for each view, as docs/tasks/images.md shows",
    "predict_proba": "learn.predict(data).softmax(1)",
    "evaluate": "learn.validate(data)",
    "test": "learn.validate(data)",
    "score": "learn.validate(data)",
    "train": "learn.fit(epochs)",
    "fit_generator": "learn.fit(epochs): data are any iterable of batches",
    "compile": "Learner(model, opt, loss_func, data, metrics=[…]): it is given the optimizer",
    "add_cb": "learn.callbacks.append(callback)",
    "add_callback": "learn.callbacks.append(callback)",
    "recorder": "learn.run.recorder, once there was a fit",
    "history": "learn.run.history, once there was a fit",
    "history_": "learn.run.history, once there was a fit",
    "dls": "learn.data",
    "cbs": "learn.callbacks",
    "optimizer": "learn.opt",
    "save_model": "learn.save(path)",
    "load_model": "learn.load(path)",
    "save_weights": "learn.save(path)",
    "load_weights": "learn.load(path)",
    "load_checkpoint": 'learn.fit(epochs, resume="auto"), with a Checkpoint',
    "state_dict": "learn.save(path), or learn.model.state_dict()",
    "load_state_dict": "learn.load(path), or learn.model.load_state_dict(…)",
    "parameters": "learn.model.parameters()",
    "show_batch": "learn.data.show_batch()",
    "to_fp16": 'learn.fit(epochs, callbacks=[MixedPrecision("fp16")])',
    "to_bf16": 'learn.fit(epochs, callbacks=[MixedPrecision("bf16")])',
    **dict.fromkeys(("to", "cuda", "cpu"), "learn.fit(epochs, callbacks=[Device(…)])"),
    "loss": "learn.run.loss, once there was a fit",
}
"""Attributes of what other libraries have in the place of a Learner."""

OF_THE_PACKAGE = {
    "Trainer": "lehr.Learner(model, opt, loss_func, data).fit(epochs)",
    "NeuralNetClassifier": "lehr.Learner(model, opt, loss_func, data).fit(epochs)",
    "LightningModule": "any torch.nn.Module, in lehr.Learner(model, opt, loss_func, data)",
    "LightningDataModule": "lehr.DataBunch(train_dl, valid_dl)",
    "DataLoaders": "lehr.DataBunch(train_dl, valid_dl)",
    "ImageDataLoaders": "lehr.data.image_folder(path)",
    "TabularDataLoaders": "lehr.data.table(path, target)",
    "vision_learner": "lehr.Learner(model, opt, loss_func, data)",
    "cnn_learner": "lehr.Learner(model, opt, loss_func, data)",
    "seed_everything": "lehr.seed(0)",
    "set_seed": "lehr.seed(0)",
    "Recorder": "lehr.callbacks.Recorder",
    "EarlyStopping": "lehr.callbacks.EarlyStopping",
    "ModelCheckpoint": "lehr.callbacks.Checkpoint(folder)",
    "Checkpoint": "lehr.callbacks.Checkpoint(folder)",
    "DataLoader": "lehr.data.DataLoader",
    "Dataset": "lehr.data.Dataset",
    **{name: said for name, said in OF_A_LEARNER.items() if name in ("fit_one_cycle", "lr_find")},
}
"""Names of other libraries' packages."""

_PARTS = {"report": "import lehr.report; a page is lehr.report.RunFolder.create(path).write(learn)"}

_BUNCH = "lehr.DataBunch(train_dl, valid_dl)"
_LISTED = "callbacks=[…]"
_SCHEDULED = 'callbacks=[ParamScheduler("lr", …)], with a schedule'

OF_THE_CALLBACKS = {
    "EarlyStoppingCallback": "EarlyStopping()",
    "SaveModelCallback": "EarlyStopping(patience=None, restore_best=True)",
    "ModelCheckpoint": 'Checkpoint(folder, monitor="valid_loss")',
    "BackupAndRestore": 'Checkpoint(folder), and learn.fit(epochs, resume="auto")',
    "LearningRateMonitor": "nothing: the learning rate is always recorded",
    "LearningRateScheduler": 'ParamScheduler("lr", …), with a schedule',
    "LRScheduler": 'ParamScheduler("lr", …), with a schedule',
    "ReduceLROnPlateau": "ReduceOnPlateau()",
    "StochasticWeightAveraging": "SWA()",
    "GradientAccumulation": "Accumulate(4)",
    "GradientAccumulationScheduler": "Accumulate(4)",
    "GradientClip": "ClipGradients(1.0)",
    "GradientClipping": "ClipGradients(1.0)",
    "TerminateOnNaN": "StopOnNonFinite()",
    "CSVLogger": "CSVLog(path)",
    "TensorBoard": "TensorBoardLog(folder)",
    "TensorBoardLogger": "TensorBoardLog(folder)",
    "WandbLogger": "WandbLog()",
    "MLFlowLogger": "MLflowLog()",
    "ProgressBar": "Progress()",
    "RichProgressBar": "Progress()",
    "TQDMProgressBar": "Progress()",
    "BackboneFinetuning": "lehr.fine_tune(learn, epochs)",
}
"""Names of other libraries' callbacks."""

OF_MAKING_A_LEARNER = {
    "cbs": _LISTED,
    "callback": _LISTED,
    "opt_func": "Learner(model, opt, loss_func, data): opt may be a function that makes one",
    "optimizer": "Learner(model, opt, loss_func, data)",
    "optimizers": "Learner(model, opt, loss_func, data)",
    "loss": "Learner(model, opt, loss_func, data)",
    "loss_fn": "Learner(model, opt, loss_func, data)",
    "criterion": "Learner(model, opt, loss_func, data)",
    "module": "Learner(model, opt, loss_func, data)",
    "dls": "Learner(model, opt, loss_func, data)",
    "train_dl": _BUNCH,
    "train_loader": _BUNCH,
    "train_dataloader": _BUNCH,
    "train_dataloaders": _BUNCH,
    "val_dataloaders": _BUNCH,
    "iterator_train": _BUNCH,
    "train_dataset": f"{_BUNCH}, where each is a DataLoader of its data set",
    "eval_dataset": f"{_BUNCH}, where each is a DataLoader of its data set",
    "batch_size": "DataLoader(dataset, batch_size=64): batches are made by the data",
    "lr": "opt=optim.SGD(model.parameters(), lr=0.1)",
    "learning_rate": "opt=optim.SGD(model.parameters(), lr=0.1)",
    "wd": "opt=optim.AdamW(model.parameters(), weight_decay=0.01)",
    "weight_decay": "opt=optim.AdamW(model.parameters(), weight_decay=0.01)",
    "scheduler": _SCHEDULED,
    "lr_scheduler": _SCHEDULED,
    "splitter": "opt=optim.SGD(lehr.optim.layer_groups(model, …), lr=0.1)",
    "compute_metrics": "metrics=[…]",
    "epochs": "learn.fit(epochs)",
    "max_epochs": "learn.fit(epochs)",
    "max_steps": "learn.fit(steps=1000)",
    "val_check_interval": 'learn.fit(epochs, validate_every="100 steps")',
    "device": "callbacks=[Device()]",
    "devices": "engine=Distributed(), under torchrun",
    "accelerator": "callbacks=[Device()]",
    "strategy": "engine=Distributed(), under torchrun",
    "precision": 'callbacks=[MixedPrecision("bf16")]',
    "accumulate_grad_batches": "callbacks=[Accumulate(4)]",
    "gradient_clip_val": "callbacks=[ClipGradients(1.0)]",
    "logger": "callbacks=[TensorBoardLog(folder)]",
    "verbose": "progress=False",
    "enable_progress_bar": "progress=False",
    "path": "callbacks=[Checkpoint(folder)]",
    "model_dir": "callbacks=[Checkpoint(folder)]",
    "default_root_dir": "callbacks=[Checkpoint(folder)]",
    "profiler": "learn.profile()",
    "fast_dev_run": "learn.rehearse(1)",
}
"""Arguments of what other libraries have in the place of a Learner."""

_IN_THE_LEARNER = "learn.fit(epochs): the data are in the Learner"

OF_A_FIT = {
    **dict.fromkeys(("max_epochs", "num_epochs", "n_epochs", "n_epoch"), "learn.fit(epochs)"),
    **dict.fromkeys(("nb_epoch", "num_train_epochs"), "learn.fit(epochs)"),
    **dict.fromkeys(("x", "y", "X", "data", "dls", "validation_data"), _IN_THE_LEARNER),
    **dict.fromkeys(("train_dataloaders", "val_dataloaders", "datamodule"), _IN_THE_LEARNER),
    "model": "Learner(model, opt, loss_func, data).fit(epochs)",
    "max_steps": "learn.fit(steps=1000)",
    "cbs": _LISTED,
    "callback": _LISTED,
    "lr": "optim.SGD(model.parameters(), lr=0.1) in the Learner, or ParamScheduler",
    "lr_max": 'callbacks=[ParamScheduler("lr", one_cycle(lr))]',
    "wd": "optim.AdamW(model.parameters(), weight_decay=0.01) in the Learner",
    "batch_size": "DataLoader(dataset, batch_size=64): batches are made by the data",
    "shuffle": "DataLoader(dataset, shuffle=True): the order is made by the data",
    "validation_split": "lehr.data.arrays(x, y, valid_share=0.2), in the Learner",
    "class_weight": "nn.CrossEntropyLoss(weight=…) in the Learner",
    "sample_weight": "Learner(…, weight=…), or a loss with weights",
    "validation_freq": 'validate_every="2 epochs"',
    "check_val_every_n_epoch": 'validate_every="2 epochs"',
    "val_check_interval": 'validate_every="100 steps"',
    "ckpt_path": 'resume="auto"',
    "initial_epoch": 'resume="auto"',
    "start_epoch": 'resume="auto"',
    "verbose": "Learner(…, progress=False)",
}
"""Arguments of what other libraries have in the place of ``learn.fit``."""


def missing(
    owner: str, name: str, elsewhere: Mapping[str, str], known: Collection[str]
) -> AttributeError:
    """The error for an attribute that is not there, with what to write in its place.

    Args:
        owner: what the message calls the object.
        name: of the attribute.
        elsewhere: what is written here for names of other libraries.
        known: the attributes that there are. They are not named if ``name`` begins with ``_``.

    Example:
        >>> missing("a Learner", "lr_find", OF_A_LEARNER, ["fit"])
        AttributeError('a Learner has no lr_find. Write learn.find_lr().suggestion.')
        >>> missing("a Learner", "fitt", OF_A_LEARNER, ["fit", "find_lr"])
        AttributeError('a Learner has no fitt. Did you mean fit?')
    """
    if name.startswith("_"):  # what Python and other libraries look for
        return AttributeError(f"{owner} has no {name}.")
    error = AttributeError(f"{owner} has no {name}. {_todo(name, elsewhere, known)}")
    error.name = name
    return error


def missing_in(
    module: str, name: str, elsewhere: Mapping[str, str], known: Collection[str]
) -> AttributeError | ImportError:
    """The error of a module's ``__getattr__``; for ``from module import name``, one that is shown.

    Python drops an AttributeError there, and says only that the name cannot be imported. So this
    must be called by the ``__getattr__`` itself. A part of the package that is still to be imported
    is left to Python.

    Args:
        module: name of the module.
        name: that it does not have.
        elsewhere: as for `missing`.
        known: as for `missing`.

    Example:
        >>> missing_in("lehr", "Trainer", OF_THE_PACKAGE, [])
        AttributeError("module 'lehr' has no Trainer. Write lehr.Learner(model, ...).fit(epochs).")
        >>> from lehr import Trainer
        Traceback (most recent call last):
        ImportError: module 'lehr' has no Trainer. Write ...
    """
    part = name not in elsewhere and not name.startswith("_") and find_spec(f"{module}.{name}")
    elsewhere = {name: _PARTS.get(name, f"import {module}.{name}")} if part else elsewhere
    error = missing(f"module {module!r}", name, elsewhere, known)
    frame = inspect.currentframe()
    asks = frame and frame.f_back and frame.f_back.f_back  # who asks the module for the name
    imported = asks is not None and asks.f_code.co_name == "_handle_fromlist"
    if part or name.startswith("_") or not imported:
        return error
    return ImportError(str(error), name=module)


def refuse_others(
    function: Callable[..., Any], given: Iterable[str], elsewhere: Mapping[str, str]
) -> None:
    """Refuse arguments that a function does not have, and say what to write in their place.

    Args:
        function: what is called; ``**others`` is no argument of it.
        given: names, of which it must have none.
        elsewhere: what is written here for names of other libraries.

    Raises:
        TypeError: one is given.

    Example:
        >>> def fit(epochs): ...
        >>> refuse_others(fit, ["max_epochs"], OF_A_FIT)
        Traceback (most recent call last):
        TypeError: fit has no argument max_epochs. Write learn.fit(epochs).
    """
    for name in given:
        parameters = inspect.signature(function).parameters.values()
        known = [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]
        shown = function.__qualname__.rpartition("<locals>.")[2].removesuffix(".__init__")
        raise TypeError(f"{shown} has no argument {name}. {_todo(name, elsewhere, known)}")


def refusing_others(
    elsewhere: Mapping[str, str],
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator for an ``__init__``: what it has no argument for is refused first.

    Args:
        elsewhere: as for `refuse_others`.

    Example:
        >>> class Oven:
        ...     @refusing_others({"temp": "Oven(heat)"})
        ...     def __init__(self, heat): ...
        >>> Oven(temp=3)
        Traceback (most recent call last):
        TypeError: Oven has no argument temp. Write Oven(heat).
    """

    def decorate(init: Callable[P, T]) -> Callable[P, T]:
        known = inspect.signature(init).parameters

        @wraps(init)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            refuse_others(init, [name for name in kwargs if name not in known], elsewhere)
            return init(*args, **kwargs)

        return checked

    return decorate


def _todo(name: str, elsewhere: Mapping[str, str], known: Collection[str]) -> str:
    return f"Write {elsewhere[name]}." if name in elsewhere else did_you_mean(name, known)
