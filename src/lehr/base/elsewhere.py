"""Names that other libraries have, and how the same is written here."""

from lehr.errors import did_you_mean

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


def missing(owner: str, name: str, elsewhere: dict[str, str], known: list[str]) -> AttributeError:
    """The error for an attribute that is not there, with what to write in its place.

    Args:
        owner: what the message calls the object.
        name: of the attribute.
        elsewhere: what is written here for names of other libraries.
        known: the attributes that there are.

    Example:
        >>> missing("a Learner", "lr_find", OF_A_LEARNER, ["fit"])
        AttributeError('a Learner has no lr_find. Write learn.find_lr().suggestion.')
        >>> missing("a Learner", "fitt", OF_A_LEARNER, ["fit", "find_lr"])
        AttributeError('a Learner has no fitt. Did you mean fit?')
    """
    todo = f"Write {elsewhere[name]}." if name in elsewhere else did_you_mean(name, known)
    error = AttributeError(f"{owner} has no {name}. {todo}")
    error.name = name
    return error
