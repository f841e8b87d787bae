"""Arrays in memory or in a file, ready to train on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lehr.base.values import check_default_device
from lehr.data.array_sets.files import read_npz
from lehr.data.array_sets.labels import numbered
from lehr.data.array_sets.preparation import ArrayPreparation, work_out_arrays
from lehr.data.array_sets.values import as_inputs, as_targets, class_names
from lehr.data.bunch import DataBunch, get_dls
from lehr.data.loading.dataset import Dataset
from lehr.data.split import check_split, random_split
from lehr.types import is_sequence


def arrays(
    x: Any,
    y: Any,
    batch_size: int = 64,
    *,
    valid: tuple[Any, Any] | None = None,
    valid_share: float = 0.2,
    split_seed: int = 0,
    normalize: bool = True,
    classes: Sequence[str] | None = None,
    preparation: ArrayPreparation | None = None,
    drop_last: bool = False,
    seed: int | None = None,
) -> DataBunch:
    """Tensors or NumPy arrays: inputs, and the labels or numbers to predict.

    Args:
        x: ``(n, features)``, or images ``(n, height, width)`` or ``(n, channels, height, width)``;
            uint8 is divided by 255.
        y: labels 0 to c-1, whole numbers ``(n,)``; or texts ``(n,)``, each of which is a class; or
            numbers to predict, floats ``(n,)`` or ``(n, outputs)``.
        batch_size: of training; validation has twice that.
        valid: a pair (x, y) to validate on; by default some of the items.
        valid_share: share of the items kept for validation if there is no ``valid``.
        split_seed: decides which.
        normalize: bring each feature, or each channel, and each number to predict to mean 0 and
            standard deviation 1 over the training items. The loss is then in units of that
            deviation; ``preparation.answers(pred)`` brings predictions back into those of ``y``.
        classes: the names of the classes, by label; by default "0", "1" and so on, or the texts
            in ``y``, in alphabetical order.
        preparation: an earlier training's, instead of working one out; ``normalize`` and
            ``classes`` are then its own.
        drop_last: leave out a last training batch that is not full.
        seed: see `lehr.data.DataLoader`.

    Returns:
        A DataBunch in memory; ``xb`` is float32, images ``(batch, channels, height, width)``;
        ``yb`` int64 ``(batch,)`` with ``c`` classes, or float32 ``(batch, outputs)`` with
        ``c = None``.

    Raises:
        TypeError: x or y holds something else than numbers.
        ValueError: shapes, lengths or labels are not as said above, or a number is nan.

    Example:
        >>> bunch = arrays(torch.rand(100, 8, 8), torch.arange(100) % 3)
        >>> bunch.c, bunch.train_ds.x.shape
        (3, torch.Size([80, 1, 8, 8]))
    """
    check_default_device("loaded")
    if preparation is not None and preparation.classes and classes is None:
        classes = preparation.classes
    ys = [y] if valid is None else [y, _checked_pair(valid)[1]]
    ys, classes = numbered(ys, classes)
    if valid is not None:
        valid = valid[0], ys[1]
    train_x, train_y = _pair(x, ys[0])
    valid_x, valid_y = (train_x, train_y) if valid is None else _valid_pair(valid, train_y)
    if preparation is None:
        names = class_names(torch.cat([train_y, valid_y]), classes)
    else:
        names = _known_names(train_y, valid_y, classes, preparation)
    if valid is None:
        kept, held = random_split(len(train_x), valid_share, split_seed)
        train_x, train_y = train_x[kept], train_y[kept]
        valid_x, valid_y = valid_x[held], valid_y[held]
    if preparation is None:
        preparation = work_out_arrays(train_x, names, train_y, normalize=normalize)
    train_ds = Dataset(preparation.encode(train_x), preparation.targets(train_y))
    valid_ds = Dataset(preparation.encode(valid_x), preparation.targets(valid_y))
    loaders = get_dls(train_ds, valid_ds, batch_size, drop_last=drop_last, seed=seed)
    return DataBunch(*loaders, c=len(names) or None, preparation=preparation)


def arrays_file(
    path: str | Path,
    batch_size: int = 64,
    *,
    split: str = "valid",
    valid_share: float = 0.2,
    split_seed: int = 0,
    normalize: bool = True,
    classes: Sequence[str] | None = None,
    preparation: ArrayPreparation | None = None,
    drop_last: bool = False,
    seed: int | None = None,
) -> DataBunch:
    """An .npz file with the arrays x and y (or x_train and y_train); otherwise like `arrays`.

    It is read whole. Arrays larger than the memory stay in files of their own: see
    `lehr.data.Dataset`.

    Args:
        path: the file. It may also hold x_valid and y_valid, x_test and y_test, and the names of
            the classes as the array of texts ``classes``.
        batch_size: of training; validation has twice that.
        split: "valid" validates on x_valid and y_valid, or on some of x and y if there are none;
            "test" trains on all of these and validates on x_test and y_test; "all", with a
            ``preparation`` only, evaluates on every item, and both loaders have all of them.
        valid_share: see `arrays`, as for the others.
        split_seed: as above.
        normalize: as above.
        classes: as above; by default those in the file.
        preparation: as above.
        drop_last: as above.
        seed: as above.

    Returns:
        A DataBunch, as from `arrays`.

    Raises:
        FileNotFoundError: the file is not there.
        TypeError: an array holds something else than numbers.
        ValueError: the file is damaged or lacks an array, or an array is not as `arrays` wants it.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder, "a.npz"), x=np.random.rand(50, 4), y=np.arange(50) % 2)
        ...     bunch = arrays_file(Path(folder, "a.npz"))
        >>> bunch
        DataBunch(train: 1 batches, valid: 1 batches, c=2)
    """
    check_split(split, preparation, ("valid", "test", "all"))
    stored = read_npz(path)
    x, y = _parts(path, stored, "" if "x" in stored else "_train")
    valid = None
    if "x_valid" in stored or "y_valid" in stored:
        valid = _parts(path, stored, "_valid")
    if split != "valid" and valid is not None:
        x, y = _joined("x", "_valid", x, valid[0]), _joined("y", "_valid", y, valid[1])
    if split == "test":
        valid = _parts(path, stored, "_test")
    if split == "all":
        if "x_test" in stored or "y_test" in stored:
            test = _parts(path, stored, "_test")
            x, y = _joined("x", "_test", x, test[0]), _joined("y", "_test", y, test[1])
        valid = x, y
    if classes is None and preparation is None and "classes" in stored:
        classes = [str(name) for name in stored["classes"].flatten()]
    return arrays(
        x,
        y,
        batch_size,
        valid=valid,
        valid_share=valid_share,
        split_seed=split_seed,
        normalize=normalize,
        classes=classes,
        preparation=preparation,
        drop_last=drop_last,
        seed=seed,
    )


def _pair(x: Any, y: Any, owner: str = "") -> tuple[Tensor, Tensor]:
    inputs, targets = as_inputs(f"{owner}x", x), as_targets(f"{owner}y", y)
    if len(inputs) != len(targets):
        raise ValueError(
            f"{owner}x and {owner}y must be equally long; got {len(inputs)} and {len(targets)} "
            "items. Give one target for each input."
        )
    return inputs, targets


def _checked_pair(valid: Any) -> tuple[Any, Any]:
    if not is_sequence(valid) or len(valid) != 2:
        raise TypeError(
            f"valid must be a pair (x, y); got {type(valid).__name__}. Give valid=(x, y)."
        )
    return valid[0], valid[1]


def _valid_pair(valid: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    inputs, targets = _pair(*valid, owner="valid's ")
    if targets.dtype != y.dtype or targets.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"valid's y must be like y, {y.dtype} of shape (n, ...) {tuple(y.shape)}; got "
            f"{targets.dtype} of shape {tuple(targets.shape)}. Convert one of them."
        )
    return inputs, targets


def _known_names(
    train_y: Tensor, valid_y: Tensor, classes: Sequence[str] | None, preparation: ArrayPreparation
) -> tuple[str, ...]:
    own = preparation.classes
    if classes is not None and tuple(classes) != own:
        raise ValueError(
            f"classes must be the preparation's, {own}; got {tuple(classes)}. Leave classes= out."
        )
    if bool(own) == train_y.is_floating_point():
        wanted = "labels, whole numbers" if own else "floats, numbers to predict"
        raise ValueError(
            f"y must be {wanted}, as for the preparation; got {train_y.dtype}. Convert y, or leave "
            "preparation= out."
        )
    return class_names(torch.cat([train_y, valid_y]), own or None)


def _parts(path: str | Path, stored: dict[str, Any], suffix: str) -> tuple[Any, Any]:
    for name in (f"x{suffix}", f"y{suffix}"):
        if name not in stored:
            name = name.removesuffix("_train")
            raise ValueError(
                f"{path} must have an array {name}; it has {', '.join(stored) or 'none'}. Write it "
                "with numpy.savez(path, x=x, y=y)."
            )
    return stored[f"x{suffix}"], stored[f"y{suffix}"]


def _joined(name: str, suffix: str, first: Any, second: Any) -> Any:
    import numpy as np

    if first.dtype != second.dtype or first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"{name} and {name}{suffix} must be alike to be used together; got {first.dtype} "
            f"{first.shape} and {second.dtype} {second.shape}. Convert one of them."
        )
    return np.concatenate([first, second])
